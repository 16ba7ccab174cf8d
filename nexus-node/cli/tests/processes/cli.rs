//! The commands as scripts see them: exit codes, JSON fields, and the two streams.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{self, Home, pair, until};
use serde_json::{Value, json};

/// Every command that needs a node, with good arguments.
const NEED_A_NODE: &[&[&str]] = &[
    &["status"],
    &["peers"],
    &["members"],
    &["invite"],
    &["offline"],
    &["online"],
    &["stop"],
    &["remember", "x"],
    &["get", "x"],
    &["list"],
    &["edit", "x", "y"],
    &["forget", "xxxxxxxx"],
    &["forget", "--undo", "xxxxxxxx"],
    &["history", "x"],
    &["watch"],
    &["import", "-"],
    &["export"],
    &["space", "create", "x"],
    &["space", "list"],
    &["kv", "get", "x"],
    &["kv", "put", "x", "y"],
    &["kv", "delete", "x"],
    &["kv", "cas", "x", "--absent", "y"],
    &["kv", "list"],
    &["kv", "watch", "x"],
    &["lock", "acquire", "x"],
    &["lock", "renew", "x", "--token", "1"],
    &["lock", "release", "x", "--token", "1"],
    &["lock", "list"],
    &["lock", "steal", "x"],
    &["coordinator"],
    &["coordinator", "voters", "add", "x"],
    &["coordinator", "voters", "remove", "x"],
    &["coordinator", "step-down"],
    &["coordinator", "recover", "--i-understand"],
    &["space", "export", "x", "--automerge", "x"],
    &["space", "import", "--automerge", "."],
    &["config", "show"],
    &["config", "set", "log", "info"],
    &["root", "export", "x"],
    &["root", "remove"],
    &["root", "import", "x"],
];

#[track_caller]
fn has_fields(document: &Value, fields: &[&str]) {
    let object = document.as_object().unwrap_or_else(|| panic!("not an object: {document}"));
    for field in fields {
        assert!(object.contains_key(*field), "{field} is missing: {document}");
    }
}

/// promise: Commands and API | Without a node, every command that needs one exits 3
#[test]
fn without_a_node_every_command_that_needs_one_exits_3() {
    let empty = Home::new();
    let stopped = Home::new();
    drop(stopped.up());
    for home in [&empty, &stopped] {
        for command in NEED_A_NODE {
            let (code, error) = home.error(command);
            assert_eq!((code, &error["code"]), (3, &json!("no_node")), "{command:?}: {error}");
            assert!(error["hint"].as_str().unwrap().contains("nexus-node up"), "{error}");
        }
    }
}

/// promise: Commands and API | `init` makes a node once
#[test]
fn init_makes_a_node_once() {
    let home = Home::new();
    let made = home.json(&["init", "--name", "laptop"]);
    has_fields(&made, &["did", "peer_id", "mesh_did", "name", "data_dir"]);
    assert_eq!(made["name"], "laptop");
    let before = support::files(&home.path());
    let (code, error) = home.error(&["init"]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "{error}");
    assert_eq!(support::files(&home.path()), before, "nothing has changed");
    let node = home.up();
    for field in ["did", "peer_id", "name"] {
        assert_eq!(node.ready[field], made[field]);
    }
}

/// promise: Commands and API | `up` says that it is ready in one line and stops cleanly
#[test]
fn up_says_that_it_is_ready_in_one_line_and_stops_cleanly() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop", "--label", "place=desk"]);
    has_fields(&node.ready, &["ready", "api", "dashboard", "metrics", "did", "peer_id", "name", "listen"]);
    assert_eq!(node.ready["name"], "laptop");
    assert_eq!(node.text("dashboard"), format!("{}/", node.text("api")));
    let listen = node.ready["listen"].as_array().unwrap();
    assert!(!listen.is_empty());
    for address in listen {
        assert!(address.as_str().unwrap().ends_with(&format!("/p2p/{}", node.text("peer_id"))), "{address}");
    }
    let (code, rest) = node.terminate();
    assert_eq!((code, rest.as_str()), (Some(0), ""), "{}", home.log());
}

#[test]
fn token_address_and_ports_are_the_same_after_a_restart() {
    let home = Home::new();
    let node = home.up();
    let (api, listen, token) = (node.text("api"), node.ready["listen"].clone(), node.token());
    node.kill_9();
    let node = home.up();
    assert_eq!((node.text("api"), &node.ready["listen"], node.token()), (api.clone(), &listen, token));
    assert_eq!(std::fs::read_to_string(home.path().join("api-url")).unwrap(), format!("{api}\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home.path()), 0o700);
        // Deeper files belong to the search index, which is derived; nobody else can enter its directory.
        for file in
            std::fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file())
        {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

/// promise: Commands and API | Every answer has the fields of the contract
#[test]
fn every_answer_has_the_fields_of_the_contract() {
    let home = Home::new();
    let _node = home.up_with(&["--name", "laptop"]);
    let status = home.json(&["status"]);
    let fields = "did peer_id name mesh_did version uptime_s membership offline mode coordinator role peers behind warnings rss_bytes";
    has_fields(&status, &fields.split(' ').collect::<Vec<_>>());
    assert_eq!((&status["membership"], &status["offline"]), (&json!("member"), &json!(false)));
    assert_eq!((&status["mode"], &status["role"]), (&json!("full"), &json!("leader")));
    assert_eq!(status["coordinator"], status["did"]);
    assert_eq!(home.json(&["peers"]), json!([]));
    let members = home.json(&["members"]);
    has_fields(&members[0], &["did", "name", "roles", "admitted_by", "expires_at", "revoked"]);
    assert_eq!((&members[0]["name"], &members[0]["roles"]), (&json!("laptop"), &json!(["admin"])));
    let invitation = home.json(&["invite", "--role", "reader", "--uses", "2", "--ttl", "5m", "--valid", "90d"]);
    has_fields(&invitation, &["ticket", "join", "expires_at"]);
    assert_eq!(invitation["join"], format!("nexus-node join {}", invitation["ticket"].as_str().unwrap()));

    let written = home.json(&[
        "remember", "the text", "--kind", "fact", "--tag", "a", "--tag", "b", "--meta", "k=v=w", "--ttl", "1h",
    ]);
    has_fields(&written, &["id", "space", "author", "seq", "created_at", "durability"]);
    assert_eq!(written["durability"], json!({"local": true, "replicated": 0}));
    let id = written["id"].as_str().unwrap();
    let memory = home.json(&["get", id]);
    let fields = "id was space text kind tags meta author author_name agent source edited_by created_at updated_at \
                  expires_at version fields conflicts";
    has_fields(&memory, &fields.split(' ').collect::<Vec<_>>());
    assert_eq!(
        (&memory["text"], &memory["kind"], &memory["tags"]),
        (&json!("the text"), &json!("fact"), &json!(["a", "b"]))
    );
    assert_eq!((&memory["meta"], &memory["author_name"]), (&json!({"k": "v=w"}), &json!("laptop")));
    assert_eq!((&memory["agent"], &memory["source"]), (&json!("nexus-node"), &json!("user")));
    assert!(memory["expires_at"].is_string() && memory["was"].is_null() && memory["version"].is_string());
    let listing = home.json(&["list", "--limit", "1"]);
    assert_eq!(listing, json!({"items": [memory], "next": null}));
    let edited = home.json(&["edit", id, "another text"]);
    assert_eq!(edited["text"], "another text");
    let history = home.json(&["history", id]);
    has_fields(&history[0], &["version", "at", "by", "changed"]);
    assert_eq!(history.as_array().unwrap().len(), 2);
    let (code, error) = home.error(&["forget", &id[..7]]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    let forgotten = home.json(&["forget", id]);
    has_fields(&forgotten, &["id", "forgotten", "text", "author"]);
    assert_eq!((&forgotten["text"], &forgotten["author"]), (&edited["text"], &edited["author"]));
    assert_eq!(home.error(&["get", id]).0, 5);

    let space = home.json(&["space", "create", "ops"]);
    has_fields(&space, &["space", "id", "readers", "writers", "records", "entries", "bytes"]);
    assert_eq!(home.json(&["space", "list"]).as_array().unwrap().len(), 3, "default, tasks and ops");
    home.json(&["remember", "in ops", "--space", "ops"]);
    let pages = home.beside("pages");
    let exported = home.json(&["space", "export", "ops", "--automerge", pages.to_str().unwrap()]);
    assert_eq!(exported["pages"], 1);
    let (_, page) = support::files(&pages).pop().unwrap();
    automerge::AutoCommit::load(&page).unwrap();

    for setting in home.json(&["config", "show"]).as_array().unwrap() {
        has_fields(setting, &["key", "value", "origin", "live"]);
    }
    for check in home.json(&["doctor"]).as_array().unwrap() {
        has_fields(check, &["check", "ok", "detail", "fix"]);
        assert!(check["ok"] == true || check["fix"].is_string(), "{check}");
    }
    assert_eq!(home.json(&["offline"]), json!({"offline": true}));
    assert_eq!(home.json(&["status"])["offline"], true);
    assert_eq!(home.json(&["online"]), json!({"offline": false}));
}

#[test]
fn the_same_key_answers_as_the_first_time_or_edits() {
    let home = Home::new();
    let _node = home.up();
    let first = home.json(&["remember", "one", "--id", "key"]);
    let again = home.json(&["remember", "one", "--id", "key"]);
    assert_eq!(
        (&again["id"], &again["seq"], &again["created_at"]),
        (&first["id"], &first["seq"], &first["created_at"])
    );
    let edited = home.json(&["remember", "two", "--id", "key"]);
    assert_eq!(edited["id"], first["id"]);
    assert_eq!(home.json(&["get", first["id"].as_str().unwrap()])["text"], "two");
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
}

/// promise: Commands and API | A watch goes on from its cursor, a list where a page ended
#[test]
fn a_list_goes_on_where_a_page_ended() {
    let home = Home::new();
    let _node = home.up();
    let lines: String = (0..25).map(|n| format!("{{\"text\":\"{n}\"}}\n")).collect();
    assert_eq!(home.run_with(&["import", "-", "--json"], lines.as_bytes()).json()["imported"], 25);
    let (mut texts, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["list", "--limit", "10"];
        arguments.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
        let page = home.json(&arguments);
        texts
            .extend(page["items"].as_array().unwrap().iter().map(|memory| memory["text"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    texts.sort_by_key(|text| text.parse::<u8>().unwrap());
    assert_eq!(texts, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(home.error(&["list", "--limit", "1001"]).0, 2);
    assert_eq!(home.error(&["list", "--after", "nonsense"]).0, 2);
}

#[test]
fn the_ids_of_a_list_are_enough_to_get_each_memory() {
    let home = Home::new();
    let _node = home.up();
    // Memories of one entry differ in the end of their ids alone.
    home.run_with(&["import", "-"], b"{\"text\":\"one\"}\n{\"text\":\"two\"}\n{\"text\":\"three\"}\n").ok();
    let table = home.run(&["list"]).ok().stdout;
    for line in table.lines().skip(1) {
        let (id, text) = (line.split_whitespace().next().unwrap(), line.split_whitespace().last().unwrap());
        assert_eq!(home.json(&["get", id])["text"], text, "{table}");
    }
    assert_eq!(table.lines().count(), 4, "{table}");
}

/// promise: Bad input | Names that fit several spaces
#[test]
fn a_space_name_that_fits_several_exits_2_and_lists_them() {
    let ((laptop, _first), (cloud, _second)) = pair();
    laptop.json(&["offline"]);
    let ids = [&laptop, &cloud].map(|home| home.json(&["space", "create", "ops"])["id"].as_str().unwrap().to_owned());
    laptop.json(&["online"]);
    until("both spaces are known", || (laptop.json(&["space", "list"]).as_array().unwrap().len() == 4).then_some(()));
    // whoever has used one of them means that one
    assert_eq!(laptop.json(&["remember", "x", "--space", "ops"])["space"], ids[0].as_str());
    assert_eq!(cloud.json(&["remember", "x", "--space", "ops"])["space"], ids[1].as_str());
    let newcomer = Home::new();
    newcomer.json(&["join", laptop.json(&["invite"])["ticket"].as_str().unwrap()]);
    let _third = newcomer.up();
    until("both are known there", || (newcomer.json(&["space", "list"]).as_array().unwrap().len() == 4).then_some(()));
    let (code, error) = newcomer.error(&["remember", "x", "--space", "ops"]);
    assert_eq!((code, &error["code"]), (2, &json!("ambiguous")), "{error}");
    assert!(ids.iter().all(|id| error["message"].as_str().unwrap().contains(id)), "{error}");
    newcomer.json(&["remember", "x", "--space", &ids[0]]);
    assert_eq!(newcomer.json(&["list", "--space", "ops"])["items"].as_array().unwrap().len(), 2);
}

/// promise: Bad input | A name that fits several members exits 2 and lists their ids, and the name with the end of an id is one
#[test]
fn a_name_that_fits_several_members_exits_2_and_lists_their_ids() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let _first = laptop.up_with(&["--name", "laptop"]);
    cloud.json(&["join", laptop.json(&["invite"])["ticket"].as_str().unwrap(), "--name", "cloud"]);
    // it says another name of itself, which is equal but for case and form
    let _second = cloud.up_with(&["--name", "ＬＡＰＴＯＰ"]);
    let members = until("both are told apart", || {
        let members = laptop.json(&["members"]).as_array().unwrap().clone();
        let apart = members.iter().filter(|member| member["name"].as_str().unwrap().ends_with(')')).count();
        (apart == 2).then_some(members)
    });
    let of = |field: &str| members.iter().map(|member| member[field].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let file = laptop.beside("AGENTS.md");
    let file = file.to_str().unwrap();
    for name in ["laptop", "LAPTOP", "ＬＡＰＴＯＰ"] {
        for arguments in [
            ["revoke", name, "--yes"].as_slice(),
            &["key", "rotate", "--for", name, "--yes"],
            &["invite", "--replace", name],
            &["task", "submit", "x", "--input", "1", "--to", name],
            &["mirror", file, "--project", "shop", "--by", name],
        ] {
            let (code, error) = laptop.error(arguments);
            assert_eq!((code, &error["code"]), (2, &json!("ambiguous")), "{arguments:?}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(of("did").iter().all(|did| message.contains(did)), "{arguments:?}: {message}");
        }
    }
    assert_eq!(laptop.json(&["members"]).as_array().unwrap().len(), 2, "nothing changed");
    for one in of("name").iter().chain(&of("did")) {
        laptop.json(&["mirror", file, "--project", "shop", "--by", one]);
    }
    assert_eq!(laptop.error(&["mirror", file, "--project", "shop", "--by", "nobody"]).1["code"], "not_found");
}

/// promise: Commands and API | Exported memories are imported whole and only once
#[test]
fn what_is_exported_is_imported_whole_and_only_once() {
    let (from, to) = (Home::new(), Home::new());
    let (_a, _b) = (from.up(), to.up());
    from.json(&["remember", "plain \u{1f980}\nsecond line"]);
    from.json(&["remember", "full", "--kind", "fact", "--tag", "x", "--meta", "k=v", "--id", "key", "--ttl", "1h"]);
    let file = from.beside("export.jsonl");
    let exported = from.run(&["export"]).ok().stdout;
    std::fs::write(&file, &exported).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(
        to.json(&["import", file]),
        json!({"imported": 2, "known": 0, "forgotten": 0, "expired": 0, "refused": 0, "masked": 0})
    );
    assert_eq!(
        to.json(&["import", file]),
        json!({"imported": 0, "known": 2, "forgotten": 0, "expired": 0, "refused": 0, "masked": 0})
    );
    assert_eq!(from.json(&["import", file])["known"], 2);
    for line in exported.lines() {
        let old: Value = serde_json::from_str(line).unwrap();
        let new = to.json(&["get", old["id"].as_str().unwrap()]);
        for field in ["text", "kind", "tags", "meta"] {
            assert_eq!(new[field], old[field]);
        }
        assert_eq!(new["was"], old["id"]);
        assert_eq!(new["expires_at"].is_string(), old["expires_at"].is_string());
    }
    to.json(&["remember", "edited through its key", "--id", "key"]);
    assert_eq!(to.json(&["list"])["items"].as_array().unwrap().len(), 2, "the key came along");
}

/// promise: Bad input | Bad lines of an import: told by number, the rest is imported
#[test]
fn bad_lines_of_an_import_are_told_by_number_and_the_rest_is_imported() {
    let home = Home::new();
    let _node = home.up();
    let ran = home.run_with(
        &["import", "-", "--json"],
        b"{\"text\":\"a\"}\nnonsense\n{\"text\":\"b\",\"x\":1}\n{\"text\":\"c\"}",
    );
    let error = ran.error();
    assert_eq!((ran.code, &error["code"]), (2, &json!("invalid")), "{ran:?}");
    assert!(ran.stderr.contains("line 2:") && ran.stderr.contains("line 3:"), "{ran:?}");
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 2);
    assert_eq!(home.error(&["import", "/no/such/file"]).0, 5);
}

/// promise: Commands and API | A command of another program is answered with the one that does that here
#[test]
fn words_of_other_programs_are_answered_with_the_command_that_does_that() {
    let home = Home::new();
    let meant = |arguments: &[&str]| {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.stderr.lines().last().unwrap_or_default().to_owned()
    };
    for (given, command) in [
        (&["search", "x"][..], "recall"),
        (&["ls"], "list"),
        (&["delete", "x"], "forget"),
        (&["kv", "ls"], "kv list"),
        (&["lock", "get", "x"], "lock acquire"),
    ] {
        assert!(meant(given).starts_with(&format!("hint: `nexus-node {command}` does that here")), "{given:?}");
        let told = home.error(given).1;
        assert!(told["hint"].as_str().unwrap().contains(&format!("`nexus-node {command}`")), "{told}");
    }
    for (given, program) in
        [(&["bench", "sync"][..], "nexus-bench"), (&["maelstrom", "lin-kv"], "nexus-bench maelstrom")]
    {
        assert!(meant(given).starts_with(&format!("hint: `{program}` does that, a program of its own")), "{given:?}");
    }
    assert!(!meant(&["no-such-thing"]).starts_with("hint: "));
}

/// promise: Secrets | Commands, API and tools refuse a secret; a person may allow one, and an import may mask it
#[test]
fn a_secret_is_not_written_unless_a_person_insists() {
    let home = Home::new();
    let node = home.up();
    // of the right form, and issued by nobody
    let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
    let text = format!("the deploy token is {token}");
    let plain = home.json(&["remember", "the deploy token is in the vault"])["id"].as_str().unwrap().to_owned();
    let refused: [&[&str]; 5] = [
        &["remember", &text],
        &["remember", "plain", "--meta", &format!("token={token}")],
        &["edit", &plain, &text],
        &["kv", "put", "deploy/token", &token],
        &["kv", "cas", "deploy/token", "--absent", &token],
    ];
    for command in refused {
        let (code, error) = home.error(command);
        assert_eq!((code, &error["code"]), (2, &json!("secret_found")), "{command:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("GitHub token") && !error.to_string().contains(&token), "{error}");
    }
    assert_eq!(home.json(&["list"])["items"].as_array().unwrap().len(), 1);
    // a program cannot allow it
    let body = json!({ "text": text, "allow_secret": true }).to_string();
    assert_eq!(node.http("POST", "/v1/memories", &body).problem(), "refused");
    let body = json!({ "text": text }).to_string();
    assert_eq!(node.http("POST", "/v1/memories", &body).problem(), "secret_found");
    assert_eq!(node.http("POST", "/v1/import?secrets=allow", &body).problem(), "refused");
    assert_eq!(node.http("POST", "/v1/import?secrets=some", &body).problem(), "invalid");
    let txn = json!({ "then": [{ "put": { "key": "deploy/token", "value": token } }] }).to_string();
    assert_eq!(node.http("POST", "/v1/kv", &txn).problem(), "secret_found");
    // a person can
    home.json(&["remember", &text, "--allow-secret"]);
    assert_eq!(home.json(&["edit", &plain, &text, "--allow-secret"])["text"], text.as_str());
    home.json(&["kv", "put", "deploy/token", &token, "--allow-secret"]);
    // an import says which lines have one
    let lines = format!("{body}\n{}\n", json!({ "text": "nothing of the kind" }));
    let ran = home.run_with(&["import", "-", "--json"], lines.as_bytes());
    assert!(ran.code == 2 && ran.stderr.contains("line 1: this looks like a secret"), "{ran:?}");
    let import = |way: &str| home.run_with(&["import", "-", "--json", "--secrets", way], lines.as_bytes()).json();
    assert_eq!(
        import("mask"),
        json!({"imported": 2, "known": 0, "forgotten": 0, "expired": 0, "refused": 0, "masked": 1})
    );
    let texts = home.run(&["export"]).ok().stdout;
    assert!(texts.contains("the deploy token is [GitHub token removed]"), "{texts}");
    assert_eq!(import("allow")["masked"], 0);
}

#[test]
fn settings_say_where_they_come_from_and_change_at_once_where_they_can() {
    let home = Home::new();
    let node = home.up();
    let setting = |key: &str| -> Value {
        let settings = home.json(&["config", "show"]);
        settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!((&setting("mdns")["origin"], &setting("mdns")["value"]), (&json!("flag"), &json!(false)));
    assert_eq!(setting("heartbeat_ms")["origin"], "default");
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(20 << 10));
    assert_eq!(node.http("POST", "/v1/memories", &body).status, 201);
    home.json(&["config", "set", "text_bytes_max", "1024"]);
    let changed = home.json(&["config", "set", "http_body_bytes_max", "8192"]);
    assert_eq!(
        (&changed[0]["value"], &changed[0]["origin"], &changed[0]["live"]),
        (&json!(8192), &json!("file"), &json!(true))
    );
    assert_eq!(node.http("POST", "/v1/memories", &body).problem(), "too_large");
    for (key, value) in [("colour", "red"), ("heartbeat_ms", "soon"), ("log", "=,="), ("heartbeat_ms", "1")] {
        let (code, error) = home.error(&["config", "set", key, value]);
        assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{key}={value}: {error}");
    }
}

/// promise: Commands and API | The root key goes out, sealed by a passphrase, and comes back
#[test]
fn the_root_key_goes_out_and_comes_back() {
    let home = Home::new();
    let _node = home.up();
    let root_check = || -> Value {
        let checks = home.json(&["doctor"]);
        checks.as_array().unwrap().iter().find(|check| check["check"] == "root key").unwrap().clone()
    };
    assert_eq!(root_check()["ok"], false);
    let file = home.beside("root.txt");
    let path = file.to_str().unwrap();
    let ran = home.run(&["root", "export", path, "--json"]);
    assert!(ran.stderr.contains("unsealed"), "{ran:?}");
    has_fields(&ran.json(), &["mesh_did", "path"]);
    assert_eq!(home.error(&["root", "export", path]).0, 7);
    home.json(&["root", "remove"]);
    assert_eq!(root_check()["ok"], true);
    assert_eq!(home.error(&["root", "remove"]).0, 5);
    home.json(&["root", "import", path]);
    assert_eq!(root_check()["ok"], false);
    let stranger = Home::new();
    let _stranger = stranger.up();
    assert_eq!(stranger.error(&["root", "import", path]).0, 7);
}

/// promise: Commands and API | A watch goes on from its cursor, a list where a page ended
#[test]
fn a_watch_shows_changes_as_they_come_and_goes_on_from_its_cursor() {
    let home = Home::new();
    let node = home.up();
    let watch = |arguments: &[&str]| {
        let mut child = home.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()))
    };
    let first = home.json(&["remember", "first"]);
    let listing = home.json(&["list"]);
    assert_eq!(listing["items"].as_array().unwrap().len(), 1);
    let (mut child, mut lines) = watch(&["watch", "--json"]);
    // The watch begins at some moment after its start: write until it shows a change.
    let change = std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let home = &home;
        scope.spawn(move || {
            while is_done.try_recv().is_err() {
                home.json(&["remember", "again"]);
            }
        });
        let change = lines.next().unwrap();
        done.send(()).unwrap();
        change
    });
    has_fields(&change, &["cursor", "kind", "id", "space", "author", "seq"]);
    assert_eq!(change["kind"], "remembered");
    child.kill().unwrap();
    child.wait().unwrap();
    node.kill_9();
    let _node = home.up();
    home.json(&["forget", first["id"].as_str().unwrap()]);
    let (mut child, mut lines) = watch(&["watch", "--json", "--from", change["cursor"].as_str().unwrap()]);
    let forgotten = lines.find(|change| change["kind"] == "forgotten").unwrap();
    assert_eq!(forgotten["id"], first["id"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// promise: Nodes | A node alone in its mesh joins another while it runs, and its memories come along
#[test]
fn a_running_node_alone_in_its_mesh_joins_another_and_takes_its_memories_along() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let (_first, second) = (laptop.up_with(&["--name", "laptop"]), cloud.up_with(&["--name", "cloud"]));
    let old = cloud.json(&["remember", "from before", "--tag", "t"]);
    let ticket = laptop.json(&["invite", "--uses", "2"])["ticket"].as_str().unwrap().to_owned();
    let joined = cloud.json(&["join", &ticket]);
    has_fields(&joined, &["did", "peer_id", "mesh_did", "name", "inviter"]);
    assert_eq!(joined["did"], second.ready["did"], "it keeps its key");
    let status = cloud.json(&["status"]);
    assert_eq!(status["mesh_did"], joined["mesh_did"]);
    assert_eq!(status["mesh_did"], laptop.json(&["status"])["mesh_did"]);
    let id = old["id"].as_str().unwrap();
    let now = cloud.json(&["get", id])["id"].as_str().unwrap().to_owned();
    let read = until("laptop reads what cloud remembered", || {
        let ran = laptop.run(&["get", &now, "--json"]);
        (ran.code == 0).then(|| ran.json())
    });
    // a former id is one by its own node's word alone
    assert_eq!(laptop.error(&["get", id]).0, 5);
    assert_eq!((&read["text"], &read["was"], &read["tags"]), (&json!("from before"), &json!(id), &json!(["t"])));
    let (code, error) = cloud.error(&["join", &ticket]);
    assert_eq!((code, &error["code"]), (7, &json!("conflict")), "a mesh with other members is not left: {error}");
}

#[test]
fn a_stopped_node_alone_in_its_mesh_joins_another_and_takes_its_memories_along() {
    let (laptop, cloud) = (Home::new(), Home::new());
    let _first = laptop.up();
    let second = cloud.up();
    let old = cloud.json(&["remember", "from before", "--id", "key"]);
    let did = second.ready["did"].clone();
    assert_eq!(second.terminate().0, Some(0));
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    let joined = cloud.run_with(&["join", "-", "--json"], format!("  {ticket}\n").as_bytes());
    assert_eq!((joined.code, &joined.json()["did"]), (0, &did), "it keeps its key");
    let _second = cloud.up();
    let id = old["id"].as_str().unwrap();
    let now = cloud.json(&["get", id]);
    assert_eq!(now["text"], "from before");
    until("laptop reads it", || (laptop.run(&["get", now["id"].as_str().unwrap()]).code == 0).then_some(()));
}

#[test]
fn another_directory_talks_to_a_node_by_address_and_token() {
    let (home, elsewhere) = (Home::new(), Home::new());
    let node = home.up();
    let with = |token: Option<&str>| {
        let mut command = elsewhere.command(&["status", "--json", "--api", &node.text("api")]);
        if let Some(token) = token {
            command.env("NEXUS_TOKEN", token);
        }
        command.output().unwrap()
    };
    assert!(with(Some(&node.token())).status.success());
    assert_eq!(with(Some("wrong")).status.code(), Some(4));
    assert_eq!(with(None).status.code(), Some(4));
    assert_eq!(elsewhere.error(&["status", "--api", "ftp://x"]).0, 2);
    assert_eq!(
        elsewhere.run_with(&["status", "--api", "http://127.0.0.1:1", "--json"], b"").code,
        4,
        "no token, nothing is sent"
    );
}

/// promise: Commands and API | A data directory's token goes to this machine and to its own node alone
#[test]
fn the_token_of_a_directory_goes_to_this_machine_and_to_its_own_node_alone() {
    let home = Home::new();
    home.up().terminate();
    let status = |api: &str| home.error(&["status", "--api", api]).0;
    assert_eq!(status("http://127.0.0.1:1"), 3, "nobody is there");
    assert_eq!(status("http://127.0.0.1:1@evil.example"), 2, "that is no address of this machine");
    assert_eq!(status("http://0.0.0.0:1"), 4, "no token, nothing is sent");
    std::fs::write(home.path().join("api-url"), "http://0.0.0.0:1\n").unwrap();
    assert_eq!(status("http://0.0.0.0:1"), 3, "the directory's own node was there last");
    assert_eq!(status("http://0.0.0.0:2"), 4, "and not there");
}

/// promise: Commands and API | A command that is not there is absent from `--help`
#[test]
fn usage_errors_exit_2_and_help_shows_only_what_there_is() {
    let home = Home::new();
    for arguments in [&["frob"][..], &[], &["remember"], &["list", "--limit", "0"], &["remember", "x", "--ttl", "soon"]]
    {
        let (code, error) = home.error(arguments);
        assert_eq!((code, &error["code"]), (2, &json!("usage")), "{arguments:?}: {error}");
        let told = home.run(&[arguments, &["--json"]].concat());
        assert_eq!((told.stdout.as_str(), told.stderr.lines().count()), ("", 1), "a program gets JSON alone: {told:?}");
    }
    let help = home.run(&["--help"]).ok().stdout;
    for variable in ["NEXUS_DATA_DIR", "NO_COLOR"] {
        let bare = home.command(&[]).env_remove(variable).output().unwrap();
        let shown = String::from_utf8(bare.stderr).unwrap();
        assert_eq!(bare.status.code(), Some(2), "{shown}");
        assert!(["\nMemory:\n", "\nOptions:\n"].iter().all(|group| help.contains(group) && shown.contains(group)));
        assert!(!shown.contains("\nCommands:\n"), "{shown}");
    }
    for absent in ["topic", "vault", "handover", "--restricted"] {
        assert!(!help.split_whitespace().any(|word| word == absent), "{absent}");
    }
    assert!(!home.run(&["space", "--help"]).ok().stdout.contains("grant"));
    assert!(home.run(&["--version"]).ok().stdout.starts_with("nexus-node 0."));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.run(&["completions", shell]).ok().stdout.contains("nexus-node"));
    }
    assert!(home.run(&["man"]).ok().stdout.contains(".TH nexus-node"));
    assert!(home.run(&["man", "remember"]).ok().stdout.contains("remember"));
    assert_eq!(home.run(&["man", "frob"]).code, 2);
}

#[test]
fn people_get_plain_text_with_hints_and_no_escapes_off_a_terminal() {
    let home = Home::new();
    let ran = home.run(&["status"]);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("error: ") && ran.stderr.contains("\nhint: "), "{ran:?}");
    let _node = home.up();
    home.json(&["remember", "a\u{1b}[2Jb"]);
    for command in
        [&["status"][..], &["list"], &["members"], &["peers"], &["doctor"], &["config", "show"], &["space", "list"]]
    {
        let ran = home.run(command).ok();
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.is_empty(), "{ran:?}");
    }
    let written = home.run(&["remember", "x"]).ok();
    assert_eq!(written.stdout.lines().count(), 1, "the id alone: {written:?}");
    assert!(home.run(&["remember", "x", "--quiet"]).ok().stderr.is_empty());
}

/// promise: Commands and API | Hints are for the same node: they repeat `--data-dir`
#[test]
fn hints_repeat_the_data_directory() {
    let home = Home::new();
    let node = home.up();
    let directory = home.path();
    let directory = directory.to_str().unwrap();
    // as a person gives it: by a flag, and not in the environment
    let told = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        let ran = command.env_remove("NEXUS_DATA_DIR").args(["--data-dir", directory]).output().unwrap();
        String::from_utf8(ran.stderr).unwrap() + &String::from_utf8(ran.stdout).unwrap()
    };
    let call = format!("`nexus-node --data-dir {directory} ");
    assert!(told(&["get", "aaaaaaaaaaaa"]).contains(&format!("{call}list`")));
    assert!(told(&["status"]).contains(&format!("next: {call}connect all`")));
    let json = told(&["get", "aaaaaaaaaaaa", "--json"]);
    assert!(json.contains(&format!("\"hint\":\"{call}list`")), "{json}");
    drop(node);
    let gone = told(&["status"]);
    assert!(gone.contains(&format!("start a node: {call}up`")), "{gone}");
    assert!(!gone.contains(&format!("{call}--data-dir")), "once: {gone}");
}

/// promise: Commands and API | `status` tells memories, bytes on disk, the last exchange and the next step
#[test]
fn status_answers_what_people_ask() {
    let home = Home::new();
    let node = home.up();
    let status = home.json(&["status"]);
    assert_eq!((&status["memories"], &status["last_sync"]), (&json!(0), &Value::Null));
    assert!(status["disk_bytes"].as_u64().unwrap() > 10_000, "{status}");
    assert!(status["next"].as_str().unwrap().contains("connect"), "{status}");
    home.json(&["remember", "one"]);
    let status = home.json(&["status"]);
    assert_eq!(status["memories"], 1);
    let text = home.run(&["status"]).ok().stdout;
    for expected in [home.path().to_str().unwrap(), &node.text("api"), "on disk", "memories  1"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    drop(node);
    let ((one, _first), (two, _second)) = pair();
    let last = until("both exchanged something", || one.json(&["status"])["last_sync"].as_str().map(str::to_owned));
    assert!(last.ends_with('Z'), "{last}");
    two.json(&["offline"]);
    assert!(two.json(&["status"])["next"].as_str().unwrap().contains("online"));
}

/// promise: Commands and API | Texts are whole in a pipe, and members have their names
#[test]
fn texts_are_whole_in_a_pipe_and_members_have_names() {
    let home = Home::new();
    let _node = home.up_with(&["--name", "laptop"]);
    let long = format!("{} the end", "word ".repeat(60));
    let id = home.json(&["remember", &long])["id"].as_str().unwrap().to_owned();
    home.json(&["remember", "line one\nline two"]);
    home.json(&["edit", &id, &long.replace("end", "finish")]);
    let recalled = home.run(&["recall", "finish"]).ok().stdout;
    assert!(recalled.lines().any(|line| line.ends_with("the finish")), "{recalled}");
    assert!(home.run(&["recall", "two"]).ok().stdout.contains("line one line two"));
    let listed = home.run(&["list"]).ok().stdout;
    assert!(listed.lines().any(|line| line.ends_with("the finish")), "{listed}");
    let history = home.run(&["history", &id]).ok().stdout;
    assert!(history.contains("laptop") && history.contains("the end"), "{history}");
    let shown = home.run(&["config", "show"]).ok().stdout;
    assert!(shown.contains("heartbeat_ms = ") && shown.contains("(default)\n    "), "{shown}");
    let settings = home.json(&["config", "show"]);
    assert!(settings.as_array().unwrap().iter().all(|setting| !setting["about"].as_str().unwrap().is_empty()));
}
