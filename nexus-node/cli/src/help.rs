//! The words of `--help` and of the manual: the commands in groups, examples, and global options once.

use std::fmt::Write;

use clap::Command;

/// The commands that people look for together, in the order of `--help`.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Memory",
        &[
            "remember",
            "recall",
            "get",
            "list",
            "edit",
            "supersede",
            "forget",
            "erase",
            "history",
            "watch",
            "vocabulary",
            "import",
            "export",
            "mirror",
            "space",
            "web",
        ],
    ),
    (
        "Mesh",
        &[
            "init", "join", "invite", "status", "peers", "members", "revoke", "leave", "key", "root", "offline",
            "online",
        ],
    ),
    ("Keys and locks", &["kv", "lock", "fence", "coordinator", "audit"]),
    ("Documents and files", &["doc", "blob"]),
    ("Tasks", &["task", "worker", "agents"]),
    ("Agents", &["connect", "disconnect", "token", "hook", "mcp"]),
    (
        "This machine",
        &["up", "stop", "service", "backup", "restore", "compact", "config", "model", "doctor", "completions", "man"],
    ),
    ("The program itself", &["demo"]),
];

/// An example of a command, and its effect.
type Example = (&'static str, &'static str);

/// Examples for each command, by its words. The test of this file reads each of them as the program would.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "remember",
        &[
            ("remember \"the build needs a C compiler\" --tag build", "a note with a tag"),
            ("remember \"deploys go out on Mondays\" --id deploys", "under a key; the same key replaces it later"),
            ("git log -1 | nexus-node remember - --kind commit", "from a pipe"),
        ],
    ),
    (
        "recall",
        &[
            ("recall \"how do we build\"", "memories with these words, best first"),
            ("recall deploy --tag ops --since 7d --json", "of this week, with a tag, for a program"),
            ("recall \"when do we deploy\" --valid-at 2026-01-15", "what held on that day"),
        ],
    ),
    ("get", &[("get q5orcbux2qb5", "by the beginning of its id"), ("get deploys --json", "by its key, as a document")]),
    (
        "list",
        &[
            ("list --limit 20", "the newest 20"),
            ("list --project shop --kind decision", "of one project and kind"),
            ("list --conflicts", "that wait for a decision"),
        ],
    ),
    (
        "edit",
        &[
            ("edit deploys \"deploys go out on Tuesdays\"", "a new text, by its key"),
            ("cat notes.md | nexus-node edit q5orcbux2qb5 -", "from a pipe"),
        ],
    ),
    (
        "supersede",
        &[
            (
                "supersede deploys \"deploys go out on Thursdays\"",
                "from now on; `recall --valid-at` finds what was before",
            ),
            ("supersede q5orcbux2qb5 \"two approvals\" --valid-from 2026-03-01", "from a day on"),
        ],
    ),
    (
        "forget",
        &[
            ("forget q5orcbux2qb5", "shows it, and asks on a terminal"),
            ("forget --undo q5orcbux2qb5", "writes it again, under a new id"),
            ("forget --erase q5orcbux2qb5", "takes it from the disks of all members"),
            ("forget --erase --tag trial --by laptop", "all with the tag that laptop wrote; shows how many, and asks"),
            ("forget --erase automerge:2akvofn6L1o4RMUEMQi7qzwRjKWZ", "a document, with all that was ever in it"),
        ],
    ),
    (
        "erase",
        &[
            ("erase status q5orcbux2qb5", "how far the members are with a memory or a task"),
            ("erase status automerge:2akvofn6L1o4RMUEMQi7qzwRjKWZ", "of a document"),
        ],
    ),
    (
        "erase status",
        &[
            ("erase status q5orcbux2qb5", "which members have done so, by their signed words"),
            ("erase status q5orcbux2qb5 --json", "`hidden`, `gone` and `missing`, for a script"),
        ],
    ),
    (
        "history",
        &[("history deploys", "each change, with its author"), ("history q5orcbux2qb5 --json", "as a document")],
    ),
    (
        "vocabulary",
        &[
            ("vocabulary add deploy \"ship it\" rollout", "words that mean the same here"),
            ("vocabulary list", "all groups, with their authors"),
        ],
    ),
    (
        "vocabulary add",
        &[
            ("vocabulary add deploy \"ship it\"", "a question with one finds memories with the other"),
            ("vocabulary add deploy rollout --space ops", "for questions of that space"),
        ],
    ),
    (
        "vocabulary list",
        &[
            ("vocabulary list", "all groups, with their authors"),
            ("vocabulary list --space ops --json", "as a document"),
        ],
    ),
    (
        "vocabulary remove",
        &[
            ("vocabulary remove deploy", "this node's groups with the word"),
            ("vocabulary remove \"ship it\" --space ops", "of one space"),
        ],
    ),
    (
        "watch",
        &[
            ("watch", "until Ctrl-C"),
            ("watch --space ops --json", "a document a line, for a program"),
            ("watch --kinds documents,tasks", "of these alone"),
        ],
    ),
    (
        "import",
        &[
            ("import memories.jsonl", "what `export` wrote, or lines of `{\"text\": \"…\"}`"),
            ("ssh other nexus-node export | nexus-node import - --secrets mask", "from another machine"),
            ("import --from claude", "what Claude Code keeps of you and of your projects"),
        ],
    ),
    (
        "mirror",
        &[
            ("mirror AGENTS.md", "a section with what this project's memory holds"),
            ("mirror CLAUDE.md --by desktop --watch", "also of another machine, as it changes"),
        ],
    ),
    (
        "export",
        &[
            ("export > memories.jsonl", "all of them, one a line"),
            ("export --space ops --full > ops.jsonl", "those of one space, with proofs of who wrote them"),
        ],
    ),
    ("space", &[("space create ops", "a part of its own"), ("space list", "the spaces, and their sizes")]),
    ("space create", &[("space create ops", "then: `remember … --space ops`"), ("space create ops --json", "its id")]),
    ("space list", &[("space list", "the spaces, and their sizes"), ("space list --json", "with readers and writers")]),
    (
        "backup",
        &[
            ("backup /media/stick/nexus", "to an empty directory, while the node runs"),
            (
                "backup - --without-keys | ssh other 'cat > nexus.backup'",
                "as a stream, without what makes a node this one",
            ),
        ],
    ),
    (
        "restore",
        &[
            ("restore /media/stick/nexus", "into the data directory, which is empty"),
            ("restore nexus.backup --identity identity.key", "a stream without keys, and the key from elsewhere"),
            ("restore --from-peers", "a damaged store is made anew from what can be read, and from the other members"),
        ],
    ),
    (
        "space export",
        &[
            ("space export default --automerge pages", "one file a page"),
            ("space export ops --automerge ops-pages --json", "and their number"),
        ],
    ),
    (
        "space import",
        &[
            ("space import --automerge pages", "a document for each file"),
            ("space import --automerge pages --space ops --json", "their number, in another space"),
        ],
    ),
    ("web", &[("web", "a link for one browser"), ("web --open", "opens it at once")]),
    (
        "init",
        &[
            ("init --name laptop", "an identity, and a mesh of one"),
            ("init --data-dir /srv/nexus --json", "in another place"),
        ],
    ),
    (
        "join",
        &[
            ("join nexus1… --name cloud", "with the line that `invite` printed"),
            ("pbpaste | nexus-node join -", "keeps the ticket out of the list of processes"),
        ],
    ),
    (
        "invite",
        &[
            ("invite", "for one machine, within an hour"),
            ("invite --mine", "for another machine of yours; your agents' work goes there without a word"),
            ("invite --for alice", "for the first machine of somebody else"),
            ("invite --role reader --uses 5 --ttl 1d", "for five that only read"),
            ("invite --replace cloud", "for a new machine in the place of one that is gone"),
        ],
    ),
    ("status", &[("status", "this node and its mesh at a glance"), ("status --json", "for a program")]),
    ("peers", &[("peers", "which members are up, and which lag"), ("peers --json", "for a program")]),
    ("members", &[("members", "who belongs, and by whose word"), ("members --revoked", "who does not any more")]),
    (
        "members mine",
        &[
            ("members mine desktop", "desktop is another machine of yours, and was invited from here"),
            ("members mine desktop --not", "it is somebody else's"),
        ],
    ),
    (
        "revoke",
        &[
            ("revoke laptop", "names who stays, and asks"),
            ("revoke laptop --root root.key --yes", "with the mesh's root key"),
        ],
    ),
    ("leave", &[("leave", "asks first"), ("leave --yes", "without a question")]),
    (
        "key",
        &[("key rotate", "a new key for this node"), ("key rotate --root root.key", "where no admin's node is up")],
    ),
    (
        "key rotate",
        &[
            ("key rotate", "an admin's node that is up signs it"),
            ("key rotate --root root.key", "where none is up"),
            ("key rotate --for cloud", "on an admin's node: cloud may change its key again today"),
        ],
    ),
    (
        "root",
        &[
            ("root export root.key", "to a safe place, sealed with a passphrase"),
            ("root remove", "once the copy is safe"),
        ],
    ),
    (
        "root export",
        &[
            ("root export root.key", "asks for a passphrase on a terminal"),
            ("root export /media/stick/root.key", "to a stick"),
        ],
    ),
    ("root remove", &[("root remove", "from this machine"), ("root remove --json", "for a program")]),
    (
        "root import",
        &[("root import root.key", "back to this machine"), ("root import root.key --json", "for a program")],
    ),
    (
        "compact",
        &[
            ("compact", "what was deleted leaves this disk now"),
            ("compact --json", "the bytes before and after, by part"),
        ],
    ),
    ("offline", &[("offline", "no connections from now on"), ("offline --json", "for a program")]),
    ("online", &[("online", "connections again"), ("online --json", "for a program")]),
    ("doc", &[("doc create plan", "a document that all machines change"), ("doc get plan", "as it is now")]),
    (
        "doc create",
        &[("doc create plan", "the document of a key"), ("doc create plan --space team", "in another space")],
    ),
    ("doc get", &[("doc get plan", "all of it"), ("doc get plan steps/0/text", "the value at a path")]),
    ("doc set", &[("doc set plan title '\"Release\"'", "a text"), ("doc set plan steps -", "JSON from a pipe")]),
    (
        "doc edit",
        &[
            ("doc edit plan '{\"title\":\"Release\",\"draft\":null}'", "sets one, removes the other"),
            ("doc edit plan -", "from a pipe"),
        ],
    ),
    (
        "doc text",
        &[
            ("doc text plan title --at 0 --insert \"The \"", "four letters at the beginning"),
            ("doc text plan title --at 4 --delete 7", "seven letters less"),
        ],
    ),
    (
        "doc mark",
        &[
            ("doc mark plan text --from 0 --to 4 bold true", "the first four letters"),
            (
                "doc mark plan text --from 5 --to 9 link '\"https://example.org\"' --expand none",
                "what is typed after it is no link",
            ),
        ],
    ),
    (
        "doc unmark",
        &[
            ("doc unmark plan text --from 0 --to 4 bold", "from four letters"),
            ("doc unmark plan text --from 5 --to 6 link --json", "for a program"),
        ],
    ),
    (
        "doc marks",
        &[("doc marks plan text", "each mark, with its letters"), ("doc marks plan text --json", "for a program")],
    ),
    (
        "doc history",
        &[("doc history plan", "who changed it, and when"), ("doc history plan --limit 3", "the last three")],
    ),
    (
        "doc conflicts",
        &[
            ("doc conflicts plan title", "each value, with who wrote it"),
            ("doc conflicts plan steps/0 --json", "for a program"),
        ],
    ),
    ("doc at", &[("doc at plan 1d", "as it was a day ago"), ("doc at plan 3b6b5a0f4c1f title", "a path at a version")]),
    ("doc watch", &[("doc watch plan", "until stopped"), ("doc watch plan --json", "a line for each change")]),
    ("doc list", &[("doc list", "of the default space"), ("doc list --space team", "of another one")]),
    (
        "doc export",
        &[("doc export plan plan.automerge", "into a file"), ("doc export plan - > plan.automerge", "to a pipe")],
    ),
    (
        "doc import",
        &[
            ("doc import plan.automerge --key plan", "with a key"),
            ("doc import plan.automerge --json", "for a program: with its address"),
        ],
    ),
    (
        "doc name",
        &[
            ("doc name automerge:4NMNnkMhL8jXrdJ9jamS58PAVdXu plan", "by its address"),
            ("doc name plan roadmap", "another key for it"),
        ],
    ),
    ("doc compact", &[("doc compact plan", "without its history"), ("doc compact plan --json", "for a program")]),
    ("doc url", &[("doc url plan", "for a program with automerge-repo"), ("doc url plan --json", "with its heads")]),
    ("kv", &[("kv put deploy/target blue", "decided by a quorum"), ("kv get deploy/target", "exact as of now")]),
    ("kv get", &[("kv get deploy/target", "exact as of now"), ("kv get logo --file logo.png", "bytes into a file")]),
    (
        "kv put",
        &[
            ("kv put deploy/target blue --fence 42", "only while the lock of token 42 is held"),
            ("kv put release 1.4 --request release-1.4", "done once, however often it is asked"),
        ],
    ),
    (
        "kv delete",
        &[
            ("kv delete deploy/target", "for all nodes"),
            ("kv delete deploy/target --fence 42", "only while the lock of token 42 is held"),
        ],
    ),
    (
        "kv cas",
        &[
            ("kv cas deploy/target --expect blue green", "blue to green, or exit 7"),
            ("kv cas leader --absent me --ttl 30s", "if nobody has it, for half a minute"),
        ],
    ),
    ("kv list", &[("kv list deploy/", "the keys with this prefix"), ("kv list --json", "all, as a document")]),
    (
        "kv txn",
        &[
            ("kv txn change.json", "several steps at one revision, or none"),
            ("jq -n '{then: [{delete: \"a\"}]}' | nexus-node kv txn -", "from a pipe"),
        ],
    ),
    (
        "kv outcome",
        &[
            ("kv outcome req-…", "with the id of an error `outcome_unknown`"),
            ("kv outcome req-… --json", "for a script"),
        ],
    ),
    (
        "kv watch",
        &[
            ("kv watch deploy/", "changes below this prefix"),
            ("kv watch \"\" --after 100 --json", "all changes after a revision"),
        ],
    ),
    (
        "lock",
        &[("lock acquire deploy --ttl 5m", "a lease, and a token that proves it"), ("lock list", "who holds what")],
    ),
    (
        "lock acquire",
        &[
            ("lock acquire deploy --ttl 5m --wait 1m", "waits a minute in line"),
            ("lock acquire deploy --quiet", "prints the token alone"),
        ],
    ),
    (
        "lock run",
        &[
            ("lock run deploy -- ./deploy.sh", "held and renewed while it runs"),
            ("lock run deploy --wait 10m -- make release", "waits for its turn first"),
        ],
    ),
    (
        "lock renew",
        &[
            ("lock renew deploy --token 42", "the whole time again"),
            ("lock renew deploy --token 42 --ttl 10m", "and another time"),
        ],
    ),
    (
        "lock release",
        &[
            ("lock release deploy --token 42", "for the next in line"),
            ("lock release deploy --token 42 --json", "for a script"),
        ],
    ),
    ("lock list", &[("lock list", "who holds what, and who waits"), ("lock list --json", "for a program")]),
    (
        "lock steal",
        &[
            ("lock steal deploy", "its holder's token is worth nothing then"),
            ("lock steal deploy --ttl 5m", "for five minutes"),
        ],
    ),
    (
        "fence",
        &[
            ("fence check deploy 42", "whether that lease stands"),
            ("fence check deploy 42 --quiet", "the exit code alone"),
        ],
    ),
    (
        "fence check",
        &[
            ("fence check own/did:key:z6Mk/task/did:key:z6Mk/k3v9 17", "of a task that is done once"),
            ("fence check deploy 42 --json", "for a program"),
        ],
    ),
    ("coordinator", &[("coordinator", "who votes, and who leads"), ("coordinator step-down", "lets another one lead")]),
    (
        "coordinator voters",
        &[
            ("coordinator voters add cloud", "by name or DID"),
            ("coordinator voters remove laptop", "another one takes its place"),
        ],
    ),
    (
        "coordinator voters add",
        &[("coordinator voters add cloud", "by name"), ("coordinator voters add cloud --json", "for a script")],
    ),
    (
        "coordinator voters remove",
        &[("coordinator voters remove laptop", "by name"), ("coordinator voters remove laptop --json", "for a script")],
    ),
    (
        "coordinator step-down",
        &[("coordinator step-down", "before an update of this node"), ("coordinator step-down --json", "for a script")],
    ),
    (
        "coordinator recover",
        &[
            ("coordinator recover --i-understand", "after most voters are lost for good"),
            ("coordinator recover --i-understand --json", "for a script"),
        ],
    ),
    ("audit", &[("audit --since 1d", "the requests of a day"), ("audit verify", "checks all of it")]),
    (
        "blob",
        &[
            ("blob add report.pdf", "prints the hash, by which every member gets it"),
            ("blob get 5e1b9d4f -o report.pdf", "from whoever has it"),
        ],
    ),
    (
        "blob add",
        &[
            ("blob add ./dist --tag release", "a directory, under a name that moves with the next one"),
            ("blob add report.pdf --copies 3", "two other machines keep it, too"),
            ("tar c . | nexus-node blob add -", "from a pipe"),
        ],
    ),
    (
        "blob verify",
        &[
            ("blob verify 5e1b9d4f", "reads every part of a blob, and fetches damaged ones anew"),
            ("blob verify --all", "of all that is kept here"),
        ],
    ),
    (
        "blob get",
        &[
            ("blob get release -o ./dist", "by a tag of this node"),
            ("blob get 5e1b9d4f --wait 10m > report.pdf", "as soon as somebody who has it is in reach"),
        ],
    ),
    ("blob list", &[("blob list", "with the nodes that have them now"), ("blob list --all --json", "for a program")]),
    (
        "blob pin",
        &[("blob pin 5e1b9d4f", "keeps a copy here of what another member added"), ("blob pin release", "by a tag")],
    ),
    (
        "blob unpin",
        &[("blob unpin 5e1b9d4f", "lets `blob gc` remove it"), ("blob unpin release", "by a tag, which stays")],
    ),
    (
        "blob tag",
        &[("blob tag 5e1b9d4f release", "gives it a name on this node"), ("blob tag release stable", "another one")],
    ),
    (
        "blob copies",
        &[
            ("blob copies release 3", "this node and two others"),
            ("blob copies release 1", "the others let go of theirs"),
        ],
    ),
    (
        "blob untag",
        &[("blob untag release", "takes the name away; a pin stays"), ("blob untag stable --json", "for a program")],
    ),
    ("blob rm", &[("blob rm 5e1b9d4f", "from this node alone"), ("blob rm release", "by a tag, which goes, too")]),
    ("blob gc", &[("blob gc --dry-run", "the blobs that would go"), ("blob gc --unused-for 7d", "makes room")]),
    (
        "task",
        &[
            ("task submit resize --input @cat.json --wait", "work for whoever can do it, and its result"),
            ("task list --state running", "the tasks that somebody is at"),
        ],
    ),
    (
        "task submit",
        &[
            ("task submit resize --input \"[640, 480]\" --wait", "waits for the end, and exits by it"),
            ("task submit report --input @june.json --deadline 2h --request june", "once, however often it is asked"),
            ("jq -n '{day: 4}' | nexus-node task submit report --input -", "from a pipe"),
        ],
    ),
    ("task list", &[("task list --limit 20", "the newest 20"), ("task list --state failed --json", "for a program")]),
    (
        "task show",
        &[
            ("task show q5orcbux2qb5", "and all that happened to it"),
            ("task show q5orcbux2qb5 --json", "as a document"),
        ],
    ),
    (
        "task log",
        &[
            ("task log q5orcbux2qb5", "the end of what its command wrote to stderr"),
            ("task log q5orcbux2qb5 --follow", "and what it writes from now on, until the task has ended"),
        ],
    ),
    (
        "task cancel",
        &[
            ("task cancel q5orcbux2qb5", "a worker that has it is stopped"),
            ("task cancel q5orcbux2qb5 --why \"no longer needed\"", "with a reason"),
        ],
    ),
    (
        "task retry",
        &[
            ("task retry q5orcbux2qb5", "the same again, as another task"),
            ("task retry q5orcbux2qb5 --json", "for a script"),
        ],
    ),
    (
        "task approve",
        &[
            ("task approve q5orcbux2qb5", "on the node of an admin that did not submit it"),
            ("task approve q5orcbux2qb5 --json", "for a script"),
        ],
    ),
    (
        "task reject",
        &[
            ("task reject q5orcbux2qb5 --why \"too expensive\"", "its submitter reads why"),
            ("task reject q5orcbux2qb5 --why no --json", "for a script"),
        ],
    ),
    (
        "task watch",
        &[
            ("task watch", "a line for each change, until stopped"),
            ("task watch q5orcbux2qb5", "until that one has ended"),
        ],
    ),
    (
        "worker",
        &[
            ("worker --capability resize -- ./resize.sh", "input on stdin, output from stdout"),
            (
                "worker --capability resize --capability crop --concurrency 4 -- python3 /usr/local/lib/pictures.py",
                "four at a time",
            ),
            (
                "worker --capability test --dir . --memory 2G --cpu-time 5m -- make test",
                "in this working tree, with limits",
            ),
            (
                "worker --capability deploy --approved-by other -- ./deploy.sh",
                "takes only what another person than its submitter approved",
            ),
        ],
    ),
    ("agents", &[("agents", "who waits for work, and who does some"), ("agents --json", "for a program")]),
    ("audit verify", &[("audit verify", "also against the other copies"), ("audit verify --json", "for a script")]),
    (
        "connect",
        &[("connect claude", "in your own settings"), ("connect all --print", "shows what it would write, and where")],
    ),
    (
        "disconnect",
        &[
            ("disconnect claude", "the entry and the hooks"),
            ("disconnect all --print", "shows what it would take out, and where"),
        ],
    ),
    (
        "token",
        &[
            ("token create --name ci --scope memory:read", "for a program that reads"),
            ("token list", "names and scopes"),
        ],
    ),
    (
        "token create",
        &[
            (
                "token create --name ci --scope memory:read,tasks:submit --ttl 30d",
                "reads, and hands work over, for a month",
            ),
            (
                "token create --name reviewer --scope memory,tasks:work --space work --rate 60/m",
                "in one space, not too often",
            ),
        ],
    ),
    ("token list", &[("token list", "names and scopes"), ("token list --json", "as documents")]),
    (
        "token revoke",
        &[("token revoke ci", "ends what it opened, too"), ("token revoke reviewer --json", "as a document")],
    ),
    (
        "hook",
        &[
            ("hook prompt", "before a prompt, as Claude Code calls it"),
            ("hook session-start --for gemini", "at a start, in another program's form"),
        ],
    ),
    (
        "hook session-start",
        &[("hook session-start", "prints the brief"), ("hook session-start --project blog", "of a project")],
    ),
    (
        "hook prompt",
        &[
            ("echo '{\"prompt\": \"which staging port?\"}' | nexus-node hook prompt", "as an agent's program does"),
            ("hook prompt --project blog", "without memories of other projects"),
        ],
    ),
    (
        "mcp",
        &[
            ("mcp", "what `connect` has agents run"),
            ("mcp --project blog --profile graph", "with the tools of a knowledge graph"),
        ],
    ),
    (
        "up",
        &[
            ("up --name laptop", "in the foreground, until Ctrl-C"),
            ("up --api-addr 127.0.0.1:9000 --no-mdns", "with its API on another port"),
        ],
    ),
    ("stop", &[("stop", "also a node that an agent started"), ("stop --json", "for a script")]),
    (
        "service",
        &[("service install", "the system starts the node from now on"), ("service status", "and whether it runs")],
    ),
    (
        "service install",
        &[("service install", "for this account"), ("service install --print", "shows the file, and changes nothing")],
    ),
    ("service status", &[("service status", "as the system sees it"), ("service status --json", "for a program")]),
    ("service remove", &[("service remove", "the data stays"), ("service remove --system", "that of the machine")]),
    (
        "config",
        &[("config show", "each setting, and its origin"), ("config set log debug", "at once, where that can be")],
    ),
    ("config show", &[("config show", "each setting with its meaning"), ("config show --json", "for a program")]),
    (
        "config set",
        &[("config set log debug", "for more in the log"), ("config set heartbeat_ms 2000", "for a slow network")],
    ),
    (
        "model",
        &[
            ("model add potion-base-8M", "a directory with model.safetensors and tokenizer.json"),
            ("model list", "with their dimensions"),
        ],
    ),
    (
        "model add",
        &[
            ("model add potion-base-8M", "under the name of its directory"),
            ("model add vectors.safetensors --name mine", "with the tokenizer.json beside it"),
        ],
    ),
    ("model list", &[("model list", "and which one is used"), ("model list --json", "for a program")]),
    (
        "model remove",
        &[("model remove mine", "if it is not the embedder"), ("model remove mine --json", "for a program")],
    ),
    ("doctor", &[("doctor", "faults, and how to mend each"), ("doctor --json", "for a program")]),
    (
        "completions",
        &[
            ("completions bash > /etc/bash_completion.d/nexus-node", "for all users"),
            ("completions zsh > ~/.zfunc/_nexus-node", "for yourself"),
        ],
    ),
    ("man", &[("man | man -l -", "the manual"), ("man remember | man -l -", "that of a command")]),
    (
        "demo",
        &[
            ("demo", "three nodes; keys cut, heal and kill them"),
            ("demo --nodes 5 --exit", "prints its steps and ends"),
        ],
    ),
];

/// The columns between a command and its meaning.
const GAP: usize = 2;

/// The program's commands with all words of their help, from its commands and flags.
pub(crate) fn program(mut program: Command) -> Command {
    program.build();
    let grouped = grouped(&program);
    let global: Vec<String> = program
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .map(|one| one.get_id().to_string())
        .collect();
    // each goes to the end when it is changed: the manual has them in the order of the groups
    let rank = |name: &str| GROUPS.iter().flat_map(|(_, names)| *names).position(|listed| *listed == name);
    let mut below: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    below.sort_by_key(|name| rank(name).unwrap_or(usize::MAX));
    for name in below {
        program = program.mut_subcommand(&name, |command| told(command, &name, &global));
    }
    program.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{grouped}\nOptions:\n{{options}}{{after-help}}"
    ))
}

/// The commands in groups, each with its meaning.
fn grouped(program: &Command) -> String {
    let longest = program.get_subcommands().map(|command| command.get_name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, names) in GROUPS {
        // writing to a text cannot fail
        let _ = writeln!(text, "{title}:");
        for command in names.iter().filter_map(|name| program.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:width$}{about}", command.get_name(), width = longest + GAP);
        }
        text.push('\n');
    }
    text.trim_end_matches('\n').to_owned() + "\n"
}

/// A command with its examples, and without the global options.
fn told(command: Command, path: &str, global: &[String]) -> Command {
    let below: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut command = command.mut_args(|argument| {
        let hides = global.iter().any(|name| argument.get_id() == name.as_str());
        if hides { argument.hide(true) } else { argument }
    });
    for name in below {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(&name, |command| told(command, &path, global));
    }
    let more = "Options for all commands, as --data-dir and --json: `nexus-node --help`";
    match examples(path) {
        Some(examples) => command.after_help(format!("Examples:\n{examples}\n{more}")),
        None => command.after_help(more),
    }
}

/// The examples of a command, a line each.
fn examples(path: &str) -> Option<String> {
    let (_, examples) = EXAMPLES.iter().find(|(command, _)| *command == path)?;
    let lines: Vec<(String, &str)> = examples.iter().map(|(given, effect)| (whole(given), *effect)).collect();
    let longest = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (line, effect) in lines {
        let pad = longest.saturating_sub(line.chars().count()) + GAP;
        // writing to a text cannot fail
        let _ = writeln!(text, "  {line}{}# {effect}", " ".repeat(pad));
    }
    Some(text)
}

/// An example as it is typed.
fn whole(given: &str) -> String {
    if given.contains("nexus-node ") { given.to_owned() } else { format!("nexus-node {given}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    /// The words of commands, and of commands below them.
    fn paths(command: &Command, above: &str) -> Vec<String> {
        let below = command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
        below
            .flat_map(|command| {
                let path = format!("{above} {}", command.get_name()).trim_start().to_owned();
                let further = paths(command, &path);
                std::iter::once(path).chain(further)
            })
            .collect()
    }

    #[test]
    fn each_command_is_in_one_group_and_has_two_examples() {
        let program = program(Cli::command());
        let all = paths(&program, "");
        let top: BTreeSet<&str> = all.iter().map(String::as_str).filter(|path| !path.contains(' ')).collect();
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(listed.iter().copied().collect::<BTreeSet<_>>(), top);
        assert_eq!(listed.len(), top.len(), "a command is in two groups");
        let of_manual = program.get_subcommands().map(Command::get_name).filter(|name| top.contains(name));
        assert_eq!(of_manual.collect::<Vec<_>>(), listed, "the manual has another order");
        for path in &all {
            let found = EXAMPLES.iter().filter(|(command, _)| command == path).map(|(_, examples)| examples.len());
            assert!(found.sum::<usize>() >= 2, "{path} has no two examples");
        }
        for (path, _) in EXAMPLES {
            assert!(all.iter().any(|known| known == path), "{path} is no command");
        }
    }

    #[test]
    fn each_example_is_read_by_the_program() {
        for (path, examples) in EXAMPLES {
            for (given, _) in *examples {
                let line = whole(given);
                let command = line.split("nexus-node ").last().unwrap();
                let command = command.split(['|', '>']).next().unwrap();
                let words = words(command);
                let read = program(Cli::command())
                    .try_get_matches_from(std::iter::once("nexus-node".to_owned()).chain(words.clone()));
                if let Err(error) = read {
                    panic!("{line}: {error}");
                }
                let begins: Vec<&str> = path.split(' ').collect();
                let first: Vec<&str> = begins.first().map_or(Vec::new(), |first| vec![*first]);
                assert!(words.first().map(String::as_str) == first.first().copied(), "{line} is of another command");
            }
        }
    }

    /// Words as a shell reads them, with quotes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
        for c in line.chars() {
            match c {
                '"' => (quoted, begun) = (!quoted, true),
                ' ' if !quoted => {
                    if std::mem::take(&mut begun) {
                        words.push(std::mem::take(&mut word));
                    }
                }
                c => {
                    word.push(c);
                    begun = true;
                }
            }
        }
        if begun {
            words.push(word);
        }
        words
    }
}
