//! The steps of the demo. Each returns the values that it compared.

mod files;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nexus_client::wire;
use nexus_node::api::Problem;
use serde_json::json;

use super::report::StepReport;
use super::view::{Event, Outsider};
use super::wait::until;
use super::world::{CLOUD, IDE, NOTES, SOON, StepResult, TERMINAL, World, claim};
use crate::client::escape;
use crate::output::short_did;

/// The time for which a refused stranger is watched.
const STRANGER_TRIES: Duration = Duration::from_secs(20);

pub(super) struct Step {
    pub(super) name: &'static str,
    /// Its action, in words for the audience.
    pub(super) does: &'static str,
    run: fn(&mut World) -> Result<String, Problem>,
}

impl Step {
    /// Runs the step. Returns its result, and the problem if it failed.
    pub(super) fn play(&self, world: &mut World) -> (StepReport, Option<Problem>) {
        world.lingered = Duration::ZERO;
        let began = Instant::now();
        let result = (self.run)(world);
        let took = began.elapsed().saturating_sub(world.lingered);
        let outcome = StepReport {
            step: self.name,
            ok: result.is_ok(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            detail: result.clone().unwrap_or_else(|problem| problem.message),
        };
        (outcome, result.err())
    }
}

pub(super) const STEPS: &[Step] = &[
    Step { name: "start", does: "terminal starts, and makes a mesh of its own", run: start },
    Step { name: "join", does: "ide and cloud join it, with one ticket", run: join },
    Step { name: "elect", does: "three nodes vote on a leader, for the few writes that must not conflict", run: elect },
    Step { name: "share", does: "terminal writes a memory: is it on the others, and the same?", run: share },
    Step { name: "write", does: "ide writes a key that a quorum decides: does cloud read it at once?", run: write },
    Step { name: "cut", does: "ide is cut off from the others, both ways", run: cut },
    Step {
        name: "apart",
        does: "both sides go on writing, also the same field of a memory, and into the same text",
        run: apart,
    },
    Step { name: "refuse", does: "a key is written on both sides: the minority must say no", run: refuse },
    Step { name: "heal", does: "ide is back: nothing may be lost, and the conflict must show", run: heal },
    Step { name: "agree", does: "ide is back among the voters: do all nodes hold the same keys?", run: agree },
    Step { name: "settle", does: "cloud settles the conflict with one edit", run: settle },
    Step {
        name: "hand",
        does: "terminal hands work over; the worker at cloud is killed in the middle of it",
        run: hand,
    },
    Step { name: "approve", does: "ide asks for a deploy, which somebody else has to approve", run: approve },
    Step {
        name: "fetch",
        does: "terminal puts a directory there, and is cut off when the others have half of it",
        run: files::fetch,
    },
    Step { name: "kill", does: "cloud acknowledges a memory, is killed the hard way, and starts again", run: kill },
    Step { name: "stranger", does: "a node of another mesh dials in: what does it get?", run: stranger },
    Step {
        name: "revoke",
        does: "a laptop is stolen: its membership is revoked, and what it writes counts nowhere",
        run: revoke,
    },
];

fn start(world: &mut World) -> StepResult {
    world.start_node(TERMINAL)?;
    let status = world.node(TERMINAL)?.status()?;
    let members = world.node(TERMINAL)?.members()?;
    claim(members.len() == 1, || format!("a new mesh has one member, not {}", members.len()))?;
    Ok(format!("terminal made a mesh, {}, and is its one member", short_did(&status.mesh_did)))
}

fn join(world: &mut World) -> StepResult {
    let others = world.names.len() - 1;
    let invitation: wire::Invitation =
        world.node(TERMINAL)?.client.post("/v1/invite", &json!({ "uses": others, "ttl": "10m" }))?;
    for name in world.names.clone().iter().skip(1) {
        world.stage.command(name, &["join", &invitation.ticket, "--name", name])?;
        world.start_node(name)?;
    }
    for node in world.nodes() {
        until(&format!("{} is connected with {others} others", node.name), SOON, || {
            let (members, up) = (node.members()?.len(), node.sees_up()?);
            Ok((members == others + 1 && up == others).then_some(()))
        })?;
    }
    Ok(format!(
        "{others} joined with one ticket; each of {} lists {} members and {others} peers up",
        others + 1,
        others + 1
    ))
}

/// The number of voters.
const VOTERS: usize = 3;
/// A first look that finds everything takes less than this.
const POLLED_ONCE: Duration = Duration::from_millis(50);
/// The key that both sides write.
const KEY: &str = "deploy/target";

fn elect(world: &mut World) -> StepResult {
    let mut all = Vec::new();
    let began = Instant::now();
    for node in world.nodes() {
        let seen = until(&format!("{} sees {VOTERS} voters, all up, and a leader", node.name), SOON, || {
            let seen = node.coordinator()?;
            Ok((seen.voters.len() == VOTERS && seen.mode.as_deref() == Some("full")).then_some(seen))
        })?;
        all.push(seen);
    }
    let leaders = all.iter().map(|seen| (seen.leader.clone(), seen.term));
    let same = leaders.clone().zip(leaders.skip(1)).all(|(one, other)| one == other);
    claim(same, || "they name different leaders of one election".to_owned())?;
    let leader = all.first().and_then(|seen| seen.voters.iter().find(|seat| Some(&seat.did) == seen.leader.as_ref()));
    let leader = leader.ok_or_else(|| Problem::new("failed", "the leader does not vote"))?;
    let term = all.first().map_or(0, |seen| seen.term);
    // a screen shows one step after the other, and the nodes do not wait for it
    let before = if began.elapsed() < POLLED_ONCE { "; they had voted before this step began" } else { "" };
    Ok(format!("{VOTERS} voters, and {} leads them (term {term}): every node says the same{before}", leader.name))
}

fn write(world: &mut World) -> StepResult {
    let (ide, cloud) = (world.node(IDE)?, world.node(CLOUD)?);
    let written = ide.put_key(KEY, "blue")?;
    // No waiting: a read after the answer sees this value or a newer one.
    let read = cloud.key(KEY)?;
    claim(read.value.as_deref() == Some("blue") && read.revision == written.revision && read.by == ide.did, || {
        format!("cloud reads {:?} of revision {}", read.value, read.revision)
    })?;
    let late = cloud.client.put::<wire::KvWritten>(
        &format!("/v1/kv/{}", escape(KEY)),
        &json!({
            "value": "red", "expect": "green",
        }),
    );
    claim(late.is_err_and(|problem| problem.code == "conflict"), || "a wrong expectation was no conflict".to_owned())?;
    Ok(format!(
        "ide wrote {KEY} = blue, cloud read it at once: same revision {}; a wrong expectation was a conflict",
        written.revision
    ))
}

/// Asks the minority as a script would.
fn refuse(world: &mut World) -> StepResult {
    let asked = Instant::now();
    let ask = |arguments: &[&str]| world.stage.try_command(IDE, arguments).map(|ended| (ended, asked.elapsed()));
    let (refused, exact) = std::thread::scope(|scope| {
        let exact = scope.spawn(|| ask(&["kv", "get", KEY]));
        (ask(&["kv", "put", KEY, "green"]), exact.join())
    });
    let (refused, took) = refused?;
    let (exact, _) = exact.map_err(|_| Problem::new("internal", "the question broke off"))??;
    let error = refused.error.ok_or_else(|| {
        Problem::new("failed", format!("ide wrote a key without a quorum: {}", refused.stdout.trim_end()))
    })?;
    claim(refused.code == Some(6) && error.code == "no_quorum" && refused.stdout.is_empty(), || {
        format!("ide refused with {} ({:?}): {}", error.code, refused.code, error.message)
    })?;
    claim(exact.code == Some(6), || format!("ide read a key that may be old: {}", exact.stdout.trim_end()))?;
    let (terminal, ide, cloud) = (world.node(TERMINAL)?, world.node(IDE)?, world.node(CLOUD)?);
    let written = until("the majority writes", SOON, || terminal.put_key(KEY, "red").map(Some))?;
    let read = cloud.key(KEY)?;
    claim(read.value.as_deref() == Some("red") && read.revision == written.revision, || {
        format!("cloud reads {:?}", read.value)
    })?;
    let modes = [ide.status()?.mode.unwrap_or_default(), terminal.status()?.mode.unwrap_or_default()];
    claim(modes[0] == "read_only" && modes[1] != "read_only", || format!("their modes are {modes:?}"))?;
    Ok(format!(
        "ide said no after {:.1} s, exit 6: {:?}; terminal wrote red, cloud read it",
        took.as_secs_f64(),
        error.message
    ))
}

fn agree(world: &mut World) -> StepResult {
    let mut items: Vec<(Option<String>, u64)> = Vec::new();
    for node in world.nodes() {
        let item = until(&format!("the copy on {} has what the majority wrote", node.name), SOON, || {
            let local: wire::KvItem = node.client.get(&format!("/v1/kv/{}?local=true", escape(KEY)))?;
            Ok((local.value.as_deref() == Some("red")).then_some(local))
        })?;
        items.push((item.value, item.revision));
        until(&format!("{} sees all voters", node.name), SOON, || {
            Ok((node.coordinator()?.mode.as_deref() == Some("full")).then_some(()))
        })?;
    }
    claim(items.windows(2).all(|pair| pair[0] == pair[1]), || format!("their copies differ: {items:?}"))?;
    let pages: Vec<wire::KvPage> =
        world.nodes().map(|node| node.client.get("/v1/kv?limit=1000")).collect::<Result<_, _>>()?;
    let keys = |page: &wire::KvPage| -> Vec<(String, Option<String>, u64)> {
        page.items.iter().map(|item| (item.key.clone(), item.value.clone(), item.revision)).collect()
    };
    claim(pages.windows(2).all(|pair| keys(&pair[0]) == keys(&pair[1])), || "they list different keys".to_owned())?;
    let revision = items.first().map_or(0, |(_, revision)| *revision);
    Ok(format!("{KEY} = red, revision {revision}, in every copy; what ide was refused is nowhere; all voters are up"))
}

fn share(world: &mut World) -> StepResult {
    let terminal = world.node(TERMINAL)?;
    let text = format!("the deploy key is in the vault ({})", world.secret);
    let began = Instant::now();
    let remembered = terminal.remember(&text)?;
    let written = terminal.get(&remembered.id)?;
    for node in world.nodes().filter(|node| node.name != TERMINAL) {
        let read = node.await_memory(&remembered.id, &text)?;
        claim(read.version == written.version, || format!("{} has another version", node.name))?;
        claim(read.author == terminal.did, || format!("{} names another author", node.name))?;
    }
    let took = began.elapsed().as_millis();
    let _: wire::Document = terminal.client.post("/v1/documents", &json!({ "key": NOTES }))?;
    let _: wire::Document = terminal.client.patch(&format!("/v1/documents/{NOTES}"), &json!({ "text": "release" }))?;
    for node in world.nodes() {
        node.await_notes("release")?;
    }
    let detail = format!("a memory of terminal was read on the others in {took} ms: same text, version and author");
    world.contested = Some(remembered.id);
    Ok(detail)
}

fn cut(world: &mut World) -> StepResult {
    let ide = world.node(IDE)?;
    let state = ide.switch("offline")?;
    claim(state.offline, || "ide does not say that it is offline".to_owned())?;
    until("ide has no peers", SOON, || Ok((ide.status()?.peers == 0).then_some(())))?;
    for node in world.nodes().filter(|node| node.name != IDE) {
        until(&format!("{} sees that ide is gone", node.name), SOON, || {
            let peers = node.peers()?;
            Ok(peers
                .iter()
                .any(|peer| peer.did == ide.did && (peer.state != "up" || peer.path.is_none()))
                .then_some(()))
        })?;
    }
    claim(world.stage.alive(IDE), || "ide's process ended".to_owned())?;
    Ok("ide is cut off both ways: 0 peers there, no connection anywhere; its process and API go on".to_owned())
}

fn apart(world: &mut World) -> StepResult {
    let contested = world.contested()?.to_owned();
    let (terminal, ide, cloud) = (world.node(TERMINAL)?, world.node(IDE)?, world.node(CLOUD)?);
    let here = terminal.remember("written while ide was away")?;
    let there = ide.remember("written while cut off")?;
    terminal.edit(&contested, "use port 4001")?;
    ide.edit(&contested, "use port 4002")?;
    terminal.types("release".len(), " on monday")?;
    ide.types(0, "the ")?;
    // When cloud has it, it could have reached ide as well.
    cloud.await_memory(&here.id, "written while ide was away")?;
    cloud.await_memory(&contested, "use port 4001")?;
    cloud.await_notes("release on monday")?;
    claim(ide.notes()?.0 == "the release", || "ide has what it cannot have".to_owned())?;
    for (node, missing) in [(ide, &here.id), (terminal, &there.id), (cloud, &there.id)] {
        let got = node.get(missing);
        claim(got.is_err_and(|problem| problem.code == "not_found"), || {
            format!("{} has what it cannot have", node.name)
        })?;
    }
    let (left, right) = (terminal.get(&contested)?.text, ide.get(&contested)?.text);
    claim(left != right, || "both sides read the same text".to_owned())?;
    Ok(format!(
        "both sides wrote, also the same field: terminal reads {left:?}, ide {right:?}, neither has the other's; both \
         typed into one text"
    ))
}

fn heal(world: &mut World) -> StepResult {
    let contested = world.contested()?.to_owned();
    world.node(IDE)?.switch("online")?;
    until("the conflict shows on every node", SOON, || {
        for node in world.nodes() {
            if node.get(&contested)?.conflicts.get("text").is_none_or(|values| values.len() != 2) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let memories = world.converge()?;
    let mut values = None;
    for node in world.nodes() {
        let memory = node.get(&contested)?;
        let mut shown: Vec<String> =
            memory.conflicts.get("text").into_iter().flatten().map(|conflict| conflict.value.to_string()).collect();
        shown.sort();
        claim(shown == ["\"use port 4001\"", "\"use port 4002\""], || format!("{} shows {shown:?}", node.name))?;
        claim(values.is_none() || values.as_ref() == Some(&memory.version), || "versions differ".to_owned())?;
        values = Some(memory.version);
    }
    let typed = "the release on monday";
    let mut versions = world.nodes().map(|node| node.await_notes(typed)).collect::<Result<Vec<_>, _>>()?;
    versions.dedup();
    claim(versions.len() == 1, || format!("the text has the versions {versions:?}"))?;
    Ok(format!(
        "all hold the same {} memories in the same versions; the conflict shows both values everywhere; the text has the \
         letters of both: {typed:?}",
        memories.len()
    ))
}

fn settle(world: &mut World) -> StepResult {
    let contested = world.contested()?.to_owned();
    world.node(CLOUD)?.edit(&contested, "use port 4003")?;
    for node in world.nodes() {
        until(&format!("the conflict is gone on {}", node.name), SOON, || {
            let memory = node.get(&contested)?;
            Ok((memory.conflicts.is_empty() && memory.text == "use port 4003").then_some(()))
        })?;
    }
    world.converge()?;
    Ok("cloud settled it with one edit; no node shows a conflict, all read \"use port 4003\"".to_owned())
}

/// The workers, and their one command that takes as long as a lock is held.
const FIRST: &str = "first-worker";
const SECOND: &str = "second-worker";
const BUSY: &str = "busy";

/// Hands work to a worker that is killed, and sees another one do it.
fn hand(world: &mut World) -> StepResult {
    let terminal = world.node(TERMINAL)?;
    let lease: wire::Lease = terminal.client.post(&format!("/v1/locks/{BUSY}/acquire"), &json!({ "ttl": "1m" }))?;
    let waits = ["lock", "acquire", BUSY, "--wait", "20s"];
    world.stage.worker(FIRST, CLOUD, &["--capability", "build"], &waits)?;
    let task = terminal.submit(&json!({ "capability": "build", "input": { "commit": "4f2a" } }))?;
    until("its command waits for the lock", SOON, || {
        let busy: wire::Lease = terminal.client.get(&format!("/v1/locks/{BUSY}"))?;
        Ok((busy.waiting > 0).then_some(()))
    })?;
    let running = terminal.task(&task.id)?;
    claim(running.assigned_to.is_some_and(|worker| worker.name.as_deref() == Some(CLOUD)), || {
        "another node than cloud has it".to_owned()
    })?;
    world.linger();
    let terminal = world.node(TERMINAL)?;
    let killed = Instant::now();
    world.stage.kill(FIRST)?;
    // its command ends, too: nobody waits for it any more
    let _: wire::Lease =
        terminal.client.post(&format!("/v1/locks/{BUSY}/release"), &json!({ "token": lease.token }))?;
    let options = ["--capability", "build", "--capability", "deploy"];
    world.stage.worker(SECOND, IDE, &options, &["--version"])?;
    let done = terminal.ended(&task.id)?;
    let took = killed.elapsed();
    let by = done.assigned_to.and_then(|worker| worker.name).unwrap_or_default();
    claim(done.state == "succeeded" && by == IDE && done.claims == 2, || {
        format!("it is {}, by {by} after {} claims", done.state, done.claims)
    })?;
    for node in world.nodes().filter(|node| node.name != TERMINAL) {
        let seen = node.ended(&task.id)?;
        claim(seen.output == done.output, || format!("{} has another output", node.name))?;
    }
    Ok(format!(
        "the worker at cloud was killed; {:.1} s later the one at ide was done with it, and every node has the result",
        took.as_secs_f64()
    ))
}

/// Has a task approved by another person than its submitter.
fn approve(world: &mut World) -> StepResult {
    let (terminal, ide) = (world.node(TERMINAL)?, world.node(IDE)?);
    let task =
        ide.submit(&json!({ "capability": "deploy", "input": { "to": "production" }, "approved_by": "other" }))?;
    let seen = terminal.await_task(&task.id, |task| task.state == "awaiting_approval")?;
    claim(seen.input == json!({ "to": "production" }) && seen.claims == 0, || "it is another task".to_owned())?;
    let own = ide.client.post_as_person::<wire::Task>(&format!("/v1/tasks/{}/approve", task.id), &json!({}));
    claim(own.is_err_and(|problem| problem.code == "refused"), || "ide approved its own task".to_owned())?;
    world.linger();
    let (terminal, ide) = (world.node(TERMINAL)?, world.node(IDE)?);
    let _: wire::Task = terminal.client.post_as_person(&format!("/v1/tasks/{}/approve", task.id), &json!({}))?;
    let done = ide.ended(&task.id)?;
    let by = done.events.iter().find(|event| event.event == "approved").and_then(|event| event.by_name.clone());
    claim(done.state == "succeeded" && by.as_deref() == Some(TERMINAL), || {
        format!("it is {}, approved by {by:?}", done.state)
    })?;
    world.stage.kill(SECOND)?;
    Ok("ide could not approve its own task; terminal saw what it asked, approved it, and it was done".to_owned())
}

fn kill(world: &mut World) -> StepResult {
    let own = world.node(CLOUD)?.remember("acknowledged just before the kill")?;
    let pid = world.end_node(CLOUD)?;
    let meanwhile = world.node(TERMINAL)?.remember("written while cloud was dead")?;
    world.linger();
    world.start_node(CLOUD)?;
    let cloud = world.node(CLOUD)?;
    let memory = cloud.get(&own.id)?;
    claim(memory.text == "acknowledged just before the kill", || {
        "the acknowledged memory has another text".to_owned()
    })?;
    cloud.await_memory(&meanwhile.id, "written while cloud was dead")?;
    let memories = world.converge()?;
    Ok(format!(
        "cloud (process {pid}) was killed hard and came back with what it had acknowledged; all hold the same {} memories",
        memories.len()
    ))
}

/// Lets a node of another mesh dial ours. Its own log shows that it was refused.
fn stranger(world: &mut World) -> StepResult {
    let terminal = world.node(TERMINAL)?;
    let before = terminal.members()?.len();
    let dialled: Vec<String> =
        terminal.listen.iter().flat_map(|address| ["--bootstrap".to_owned(), address.clone()]).collect();
    claim(!dialled.is_empty(), || "terminal has no address to dial".to_owned())?;
    let secret = terminal.remember(&format!("not for strangers: {}", world.secret))?;
    world.tell(Event::Outsider("stranger", Outsider::Dials));
    let stranger = world.stage.start("stranger", 0, &dialled)?;
    let refused = until("the stranger's log says that it was turned away", STRANGER_TRIES, || {
        let log = world.stage.log("stranger");
        Ok(log
            .lines()
            .find(|line| ["foreign", "another mesh", "other mesh", "refused"].iter().any(|word| line.contains(word)))
            .map(str::to_owned))
    });
    refused?;
    world.tell(Event::Outsider("stranger", Outsider::TurnedAway));
    // Later writes, too, reach every member and must not reach it.
    let later = terminal.remember(&format!("still not for strangers: {}", world.secret))?;
    for node in world.nodes() {
        node.await_memory(&later.id, &format!("still not for strangers: {}", world.secret))?;
    }
    let (peers, members, memories) = (stranger.peers()?, stranger.members()?, stranger.memories()?);
    claim(peers.is_empty() && members.len() == 1 && memories.is_empty(), || {
        format!("the stranger has {} peers, {} members, {} memories", peers.len(), members.len(), memories.len())
    })?;
    for ours in [&secret.id, &later.id] {
        let got = stranger.get(ours);
        claim(got.is_err_and(|problem| problem.code == "not_found"), || "the stranger reads our memory".to_owned())?;
    }
    let after = terminal.members()?;
    let known = terminal.peers()?.iter().any(|peer| peer.did == stranger.did);
    claim(after.len() == before && !known, || "we took the stranger for one of us".to_owned())?;
    world.stage.kill("stranger")?;
    let directory = world.stage.directory("stranger");
    for needle in [world.secret.as_bytes(), b"use port 400"] {
        claim(!holds(&directory, needle), || "a text of ours is in the stranger's files".to_owned())?;
    }
    Ok("a stranger dialled and was turned away: no peer, member or memory of ours there, not a byte in its files"
        .to_owned())
}

/// Lets a member write, go, and be revoked. Its later text is sought everywhere.
fn revoke(world: &mut World) -> StepResult {
    const LAPTOP: &str = "laptop";
    let (before, after, later) = ("written before the theft", "written by the thief", "edited without the laptop");
    let terminal = world.node(TERMINAL)?;
    let invitation: wire::Invitation = terminal.client.post("/v1/invite", &json!({ "uses": 1, "ttl": "10m" }))?;
    world.stage.command(LAPTOP, &["join", &invitation.ticket, "--name", LAPTOP])?;
    let laptop = world.stage.start(LAPTOP, 0, &[])?;
    world.tell(Event::Outsider(LAPTOP, Outsider::Joined));
    world.linger();
    let kept = laptop.remember(before)?;
    for node in world.nodes() {
        node.await_memory(&kept.id, before)?;
    }
    laptop.switch("offline")?;
    world.tell(Event::Outsider(LAPTOP, Outsider::Stolen));
    world.linger();
    let terminal = world.node(TERMINAL)?;
    let asked = Instant::now();
    let _: wire::RevokedMember = terminal.client.post(&format!("/v1/members/{LAPTOP}/revoke"), &json!({}))?;
    for node in world.nodes() {
        until(&format!("{} no longer counts the laptop as a member", node.name), SOON, || {
            Ok((!node.members()?.iter().any(|member| member.did == laptop.did)).then_some(()))
        })?;
    }
    let took = asked.elapsed().as_millis();
    // it cannot know yet
    let thief = laptop.remember(after)?;
    laptop.switch("online")?;
    until("the laptop says that it is refused", SOON, || {
        let status = laptop.status()?;
        let told = status.membership == "revoked" || status.warnings.iter().any(|warning| warning.code == "revoked");
        Ok(told.then_some(()))
    })?;
    world.tell(Event::Outsider(LAPTOP, Outsider::TurnedAway));
    world.node(TERMINAL)?.edit(&kept.id, later)?;
    for node in world.nodes() {
        node.await_memory(&kept.id, later)?;
        let got = node.get(&thief.id);
        claim(got.is_err_and(|problem| problem.code == "not_found"), || format!("{} reads the thief", node.name))?;
        let open = node.peers()?.iter().any(|peer| peer.did == laptop.did && peer.state == "up");
        claim(!open, || format!("{} talks to the laptop", node.name))?;
    }
    claim(laptop.get(&kept.id)?.text == before, || "the laptop reads on".to_owned())?;
    world.stage.kill(LAPTOP)?;
    Ok(format!("the laptop was out everywhere in {took} ms; what it wrote before stays, and after counts nowhere"))
}

/// Whether any file below a directory holds these bytes.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    })
}
