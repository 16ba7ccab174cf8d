//! Tasks on real nodes: real sockets on loopback, real files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::time::{Duration, Instant};

use nexus_node::config::{Bounded, Config};
use nexus_node::critical::{Condition, KeyQuery, Put, Step, Txn};
use nexus_node::critical::{DeleteOptions, LockOptions, PutOptions};
use nexus_node::error::{AccessError, ConflictError, InputError};
use nexus_node::internals::formats::Formats;
use nexus_node::node::JoinOptions;
use nexus_node::tasks::{
    Agent, AgentHealth, ApprovalRule, ClaimQuery, ClaimedTask, JsonText, Priority, Task, TaskLogQuery, TaskNews,
    TaskProgress, TaskQuery, TaskResult, TaskStatus, TaskToken, TaskWaits,
};
use nexus_node::{Invite, NewTask, Node, NodeError, node};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A node on loopback in a directory of its own.
pub(crate) async fn start(dir: &TempDir, name: &str) -> Node {
    let builder = Node::builder(dir.path().join("data")).name(name.parse().unwrap()).mdns(false);
    builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap()
}

/// A second member of a node's mesh.
pub(crate) async fn join(inviter: &Node, dir: &TempDir, name: &str, invite: Invite) -> Node {
    let ticket = inviter.invite(invite).await.unwrap().ticket;
    let options = JoinOptions::default().name(name.parse().unwrap());
    node::join(&dir.path().join("data"), &ticket, options).await.unwrap();
    start(dir, name).await
}

async fn claim(node: &Node, capability: &str) -> ClaimedTask {
    node.tasks().claim(ClaimQuery::of(capability).agent("worker")).await.unwrap().expect("a task in time")
}

/// Waits until a node sees a task in a state.
pub(crate) async fn until(node: &Node, id: &str, status: TaskStatus) -> Task {
    let board = node.tasks();
    let mut watch = board.watch();
    let seen = async {
        loop {
            match board.get(id).await {
                Ok(task) if task.status == status => return task,
                Ok(_) | Err(NodeError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            watch.next().await.unwrap();
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), seen).await {
        Ok(task) => task,
        Err(_) => panic!("not in time: {:?}", board.get(id).await),
    }
}

fn done(value: Value) -> TaskResult {
    TaskResult::Succeeded(value.into())
}

/// A value as the JSON of an input or an output.
fn text(value: Value) -> JsonText {
    value.into()
}

/// promise: Tasks | A task that one program submits is done by a worker, and its output is there afterwards, also after a restart
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_by_a_worker_and_its_output_stays() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let submitted = board.submit(NewTask::new("add", json!([1, 2]))).await.unwrap();
    assert_eq!(submitted.status, TaskStatus::Pending);
    let none = TaskWaits::NoWorker { capability: "add".to_owned(), served: Vec::new() };
    assert_eq!(submitted.why, Some(none));
    let id = submitted.id.to_string();
    let claimed = claim(&node, "add").await;
    assert_eq!((claimed.task.id, claimed.attempt, &claimed.task.input), (submitted.id, 1, &text(json!([1, 2]))));
    board.renew(&id, claimed.token, Some(TaskProgress::new(Some(50), "half"))).await.unwrap();
    let running = board.get(&id).await.unwrap();
    assert_eq!((running.status, running.progress.unwrap().percent), (TaskStatus::Running, Some(50)));
    let over = board.finish(&id, claimed.token, done(json!(3))).await.unwrap();
    assert_eq!((over.status, &over.output), (TaskStatus::Succeeded, &Some(text(json!(3)))));
    assert_eq!(over.assigned_to.unwrap().agent.as_deref(), Some("worker"));
    let words: Vec<&str> = over.events.iter().map(|event| event.event).collect();
    assert_eq!(words, ["submitted", "claimed", "succeeded"]);
    node.shutdown().await;
    drop((board, node));
    let node = start(&dir, "one").await;
    assert_eq!(node.tasks().get(&id).await.unwrap().output, Some(text(json!(3))));
    let page = node.tasks().list(TaskQuery::newest(10).state(TaskStatus::Succeeded)).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
    assert!(node.tasks().list(TaskQuery::newest(10).state(TaskStatus::Pending)).await.unwrap().items.is_empty());
    node.shutdown().await;
}

/// promise: Tasks | A list of tasks in some states is the part of the whole list that is in them, page by page, and also after a restart
#[tokio::test(flavor = "multi_thread")]
async fn lists_by_state_are_parts_of_the_whole_list() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let submit = async |new: NewTask| board.submit(new).await.unwrap().id.to_string();
    for priority in [Priority::Low, Priority::Critical, Priority::Normal] {
        submit(NewTask::new("waits", json!(1)).priority(priority)).await;
    }
    submit(NewTask::new("deploy", json!(1)).needs_approval()).await;
    for result in [done(json!(1)), TaskResult::Failed { code: "exit".into(), message: "no".into() }] {
        let id = submit(NewTask::new("ends", json!(1)).attempts(1)).await;
        let claimed = claim(&node, "ends").await;
        board.finish(&id, claimed.token, result).await.unwrap();
    }
    let id = submit(NewTask::new("ends", json!(1))).await;
    let claimed = claim(&node, "ends").await;
    board.finish(&id, claimed.token, TaskResult::Released).await.unwrap();
    let id = submit(NewTask::new("waits", json!(1))).await;
    board.cancel(&id, "no more").await.unwrap();
    submit(NewTask::new("runs", json!(1))).await;
    claim(&node, "runs").await;
    drop(board);
    check_lists(&node).await;
    node.shutdown().await;
    drop(node);
    let node = start(&dir, "one").await;
    node.tasks().claim(ClaimQuery::of("nothing").wait(Duration::from_millis(1))).await.unwrap();
    check_lists(&node).await;
    node.shutdown().await;
}

/// Compares lists of tasks by state with the whole list.
async fn check_lists(node: &Node) {
    let board = node.tasks();
    let all = board.list(TaskQuery::newest(1_000)).await.unwrap().items;
    assert!(all.is_sorted_by(|one, next| one.submitted_at >= next.submitted_at));
    let mut seen = std::collections::BTreeMap::new();
    for task in &all {
        *seen.entry(task.status).or_insert(0) += 1;
    }
    let expected = [
        (TaskStatus::AwaitingApproval, 1),
        (TaskStatus::Pending, 4),
        (TaskStatus::Running, 1),
        (TaskStatus::Succeeded, 1),
        (TaskStatus::Failed, 1),
        (TaskStatus::Cancelled, 1),
    ];
    assert_eq!(seen, expected.into());
    let states = expected.map(|(status, _)| status).into_iter().chain([TaskStatus::Rejected, TaskStatus::Unknown]);
    for (one, other) in states.clone().flat_map(|one| states.clone().map(move |other| (one, other))) {
        let wanted: Vec<_> =
            all.iter().filter(|task| [one, other].contains(&task.status)).map(|task| task.id).collect();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let mut query = TaskQuery::newest(1).state(one).state(other);
            query.after = after;
            let page = board.list(query).await.unwrap();
            found.extend(page.items.iter().map(|task| task.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, wanted, "{one:?} {other:?}");
    }
}

/// promise: Tasks | A submission with an id of a request that this node has used is the first task, also in one moment and after a restart
#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_the_same_task() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let new = |n: u32| NewTask::new("add", json!(n)).request("nightly/2026-11-24");
    let (one, two, three) = tokio::join!(board.submit(new(1)), board.submit(new(1)), board.submit(new(1)));
    let ids = [one.unwrap().id, two.unwrap().id, three.unwrap().id];
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    node.shutdown().await;
    drop((board, node));
    let node = start(&dir, "one").await;
    assert_eq!(node.tasks().submit(new(1)).await.unwrap().id, ids[0]);
    let other = node.tasks().submit(new(4)).await;
    assert!(matches!(other, Err(NodeError::Conflict(ConflictError::OtherRequest))), "{other:?}");
    assert_ne!(node.tasks().submit(NewTask::new("add", json!(4))).await.unwrap().id, ids[0]);
    node.shutdown().await;
}

/// promise: Tasks | An id of a request is good for one task, also in one moment: its deadline may be a time from now on, its program another
#[tokio::test(flavor = "multi_thread")]
async fn another_task_with_the_id_of_a_request_is_refused() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let is_other =
        |answer: &Result<Task, NodeError>| matches!(answer, Err(NodeError::Conflict(ConflictError::OtherRequest)));
    let new = |n: u32, request: &str| NewTask::new("pay", json!({ "eur": n })).request(request);
    for n in 0..10 {
        let request = format!("r{n}");
        let both = tokio::join!(board.submit(new(1, &request)), board.submit(new(2, &request)));
        assert!(is_other(&both.0) != is_other(&both.1), "{both:?}");
    }
    let hour = Duration::from_secs(3_600);
    let first = board.submit(new(1, "d").deadline(hour)).await.unwrap();
    let mut same = new(1, "d").deadline(hour);
    same.agent = Some("another program".to_owned());
    assert_eq!(board.submit(same).await.unwrap().id, first.id);
    let spelt = NewTask::new("pay", "{ \"eur\" : 1 }".parse::<JsonText>().unwrap()).request("d").deadline(hour);
    assert_eq!(board.submit(spelt).await.unwrap().id, first.id);
    let at = first.deadline.unwrap();
    for other in [new(1, "d"), new(1, "d").deadline(hour * 2), new(1, "d").deadline(at), new(2, "d").deadline(hour)] {
        let answer = board.submit(other).await;
        assert!(is_other(&answer), "{answer:?}");
    }
    // numbers that a value would hold alike are not alike
    let digits = |last: u8| {
        let input = format!("1234567890123456789012{last}").parse::<JsonText>().unwrap();
        NewTask::new("pay", input).request("digits")
    };
    let long = board.submit(digits(3)).await.unwrap();
    assert_eq!(long.input.as_str(), "12345678901234567890123");
    assert_eq!(board.submit(digits(3)).await.unwrap().id, long.id);
    assert!(is_other(&board.submit(digits(4)).await));
    let empty = board.submit(new(1, "")).await;
    assert!(matches!(empty, Err(NodeError::Invalid(InputError::RequestId { .. }))), "{empty:?}");
    node.shutdown().await;
}

/// promise: Tasks | The JSON of a task comes to its worker and back as its text, in an event and in a blob, also at another node
#[tokio::test(flavor = "multi_thread")]
async fn the_json_of_a_task_is_its_text_at_every_node() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let short = r#"{"z":18446744073709551616, "a":[1.50,-0,12345e6,"\u00e9"]}"#.to_owned();
    let long = format!("[{short}{}]", format!(",\n {short}").repeat(1_000));
    for json in [short, long] {
        let json: JsonText = json.parse().unwrap();
        let id = one.tasks().submit(NewTask::new("keep", json.clone()).to("two")).await.unwrap().id.to_string();
        let claimed = claim(&two, "keep").await;
        assert_eq!((claimed.task.id.to_string(), &claimed.task.input), (id.clone(), &json));
        two.tasks().finish(&id, claimed.token, TaskResult::Succeeded(json.clone())).await.unwrap();
        for node in [&one, &two] {
            let over = until(node, &id, TaskStatus::Succeeded).await;
            assert_eq!(node.tasks().whole(over.input).await.unwrap(), json);
            assert_eq!(node.tasks().whole(over.output.unwrap()).await.unwrap(), json);
        }
    }
    // a value of the caller's may be what no node reads: it is refused, and not written
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let refused = one.tasks().submit(NewTask::new("keep", deep)).await;
    assert!(matches!(refused, Err(NodeError::Invalid(InputError::Task(_)))), "{refused:?}");
    for node in [one, two] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A task that is done once has a fencing token while it runs, and begins again only if its worker says that it is not done
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_done_once_begins_by_the_coordinators_word() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let (board, critical) = (node.tasks(), node.critical().unwrap());
    let id = board.submit(NewTask::new("pay", Value::Null).once()).await.unwrap().id.to_string();
    let first = claim(&node, "pay").await;
    let fence = first.fence.clone().unwrap();
    assert_eq!(critical.lock_of(&fence.lock).await.unwrap().unwrap().lease.token, fence.token);
    // the worker says that it failed: it is not done, and may be tried again
    let failed = TaskResult::Failed { code: String::new(), message: "no money".to_owned() };
    board.finish(&id, first.token, failed).await.unwrap();
    let second = claim(&node, "pay").await;
    let later = second.fence.clone().unwrap();
    assert!(later.token > fence.token, "{later:?} {fence:?}");
    board.finish(&id, second.token, done(json!(1))).await.unwrap();
    let record = critical.get(&format!("own/{0}/begun/{0}/{id}", node.did())).await.unwrap().unwrap();
    assert_eq!(record.text(), Some("succeeded"));
    while critical.lock_of(&later.lock).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    // a worker that is gone: nobody knows, and nobody tries again
    let lost = board.submit(NewTask::new("pay", Value::Null).once()).await.unwrap().id.to_string();
    let claimed = board.claim(ClaimQuery::of("pay").lease(Duration::from_secs(1))).await.unwrap().unwrap();
    assert_eq!(until(&node, &lost, TaskStatus::Unknown).await.claims, 1);
    let late = board.finish(&lost, claimed.token, done(json!(2))).await.unwrap_err();
    assert!(matches!(late, NodeError::Conflict(ConflictError::ClaimOver)), "{late}");
    node.shutdown().await;
}

/// promise: Tasks | A worker's schemas are shown on all nodes, and checked at its own: another input fails before it begins, another output as it ends
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_breaks_its_workers_schema_fails() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let query = move || {
        let mut query = ClaimQuery::of("add").agent("adder").from("one");
        (query.input_schema, query.output_schema) = (Some(schema.clone()), Some(json!({ "type": "integer" })));
        query
    };
    let board = two.tasks();
    let worker = tokio::spawn(async move {
        let mut claims = 0;
        while claims < 2 {
            let Some(claimed) = board.claim(query()).await.unwrap() else { continue };
            claims += 1;
            let output = if claimed.task.input.value()["n"] == 7 { json!(8) } else { json!("eight") };
            board.finish(&claimed.task.id.to_string(), claimed.token, done(output)).await.unwrap();
        }
    });
    let shown = || one.tasks().agents().into_iter().find_map(|agent| agent.input_schema);
    let text = loop {
        match shown() {
            Some(text) => break text,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["required"], json!(["n"]));
    for (input, code) in [(json!({ "n": "7" }), "input_mismatch"), (json!({ "n": 9 }), "output_mismatch")] {
        let task = one.tasks().submit(NewTask::new("add", input).attempts(1)).await.unwrap();
        let failed = until(&one, &task.id.to_string(), TaskStatus::Failed).await;
        assert_eq!(failed.error.unwrap().code, code);
    }
    let task = one.tasks().submit(NewTask::new("add", json!({ "n": 7 }))).await.unwrap();
    assert_eq!(until(&one, &task.id.to_string(), TaskStatus::Succeeded).await.output, Some(json!(8).into()));
    worker.await.unwrap();
    let mut wrong = ClaimQuery::of("add");
    wrong.output_schema = Some(json!({ "$ref": "https://localhost/x" }));
    let refused = one.tasks().claim(wrong).await.unwrap_err();
    assert!(matches!(refused, NodeError::Invalid(InputError::Schema { part: "output", .. })), "{refused}");
    two.shutdown().await;
    one.shutdown().await;
}

/// promise: Tasks | Behind a thousand tasks of a capability others wait on the disk: each is done once, in its order, also after a restart; other capabilities do not wait
#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let board = node.tasks();
        let some = (0..64).map(|_| board.submit(NewTask::new("build", Value::Null)));
        waiting.extend(futures::future::try_join_all(some).await.unwrap().into_iter().map(|task| task.id));
    }
    let other = node.tasks().submit(NewTask::new("review", Value::Null)).await.unwrap().id;
    assert_eq!(claim(&node, "review").await.task.id, other);
    let urgent = node.tasks().submit(NewTask::new("build", Value::Null).priority(Priority::Critical)).await.unwrap().id;
    let last = waiting.pop().unwrap().to_string();
    assert_eq!(node.tasks().cancel(&last, "").await.unwrap().status, TaskStatus::Cancelled);
    node.shutdown().await;
    let node = start(&dir, "one").await;
    // ended at once: a lease that ends on a slow machine would put it back into the line
    let claimed = claim(&node, "build").await;
    assert_eq!(claimed.task.id, urgent);
    node.tasks().finish(&urgent.to_string(), claimed.token, done(json!(1))).await.unwrap();
    let mut done_in_order = Vec::new();
    for _ in 0..waiting.len() {
        let claimed = claim(&node, "build").await;
        let id = claimed.task.id;
        node.tasks().finish(&id.to_string(), claimed.token, done(json!(1))).await.unwrap();
        done_in_order.push(id);
    }
    let place = |id| waiting.iter().position(|other| *other == id).unwrap();
    // 64 at a time were submitted together
    let batches: Vec<usize> = done_in_order.iter().map(|id| place(*id) / 64).collect();
    assert!(batches.is_sorted(), "{batches:?}");
    done_in_order.sort_unstable();
    waiting.sort_unstable();
    assert_eq!(done_in_order, waiting);
    node.shutdown().await;
}

/// promise: Tasks | A task that is done once has its keys and its lock from its own node and its worker's: no other member writes, deletes or takes them
#[tokio::test(flavor = "multi_thread")]
async fn no_other_member_makes_a_task_begin_twice() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let task = one.tasks().submit(NewTask::new("pay", Value::Null).once()).await.unwrap();
    let claimed = claim(&one, "pay").await;
    let fence = claimed.fence.clone().unwrap();
    let (critical, rogue) = (one.critical().unwrap(), two.critical().unwrap());
    let ttl = || PutOptions::default().ttl(Duration::from_secs(60));
    for key in ["begun/{}/", "right/"].map(|kind| kind.replace("{}", &one.did().to_string())) {
        let key = format!("own/{}/{key}{}", one.did(), task.id);
        let before = critical.get(&key).await.unwrap().expect(&key);
        let step = |step: Step| Txn::new().otherwise(step).check("there is none", Condition::Present);
        let tried = [
            rogue.delete(&key, DeleteOptions::default()).await.map(drop),
            rogue.put(&key, "false", ttl()).await.map(drop),
            rogue.cas(&key, Some(before.value.as_slice()), "false", ttl()).await.map(drop),
            rogue.txn(step(Step::Delete(key.clone()))).await.map(drop),
            rogue.txn(step(Put::new(&key, "false").into())).await.map(drop),
        ];
        for tried in tried {
            let owner = one.did();
            assert!(
                matches!(tried, Err(NodeError::Refused(AccessError::NotYours { owner: found })) if found == owner),
                "{tried:?}"
            );
        }
        assert_eq!(critical.get(&key).await.unwrap(), Some(before));
    }
    for tried in [
        rogue.lock(&fence.lock, LockOptions::default()).await.map(drop),
        rogue.steal(&fence.lock, Duration::from_secs(60)).await.map(drop),
    ] {
        assert!(matches!(tried, Err(NodeError::Refused(AccessError::NotYours { .. }))), "{tried:?}");
    }
    // a member keeps nothing there for ever, and may write there
    let mine = format!("own/{}/note", two.did());
    let endless = rogue.put(&mine, "x", PutOptions::default()).await.unwrap_err();
    assert!(matches!(endless, NodeError::Invalid(InputError::EndlessKey)), "{endless}");
    rogue.put(&mine, "x", ttl()).await.unwrap();
    one.tasks().finish(&task.id.to_string(), claimed.token, done(json!(1))).await.unwrap();
    until(&one, &task.id.to_string(), TaskStatus::Succeeded).await;
    two.shutdown().await;
    one.shutdown().await;
}

/// promise: Tasks | A node that has forgotten that a task began does not begin it again
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_begun_elsewhere_is_not_begun_again() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let task = one.tasks().submit(NewTask::new("pay", Value::Null).once()).await.unwrap();
    // as an attempt wrote it of which this node knows nothing
    let (critical, there) = (one.critical().unwrap(), two.critical().unwrap());
    let for_a_minute = || PutOptions::default().ttl(Duration::from_secs(60));
    let token = TaskToken::from_bytes([7; 16]);
    let right = format!("own/{}/right/{}", one.did(), task.id);
    critical.put(&right, &format!("{token} {}", two.did()), for_a_minute()).await.unwrap();
    let begun = format!("own/{}/begun/{}/{}", two.did(), one.did(), task.id);
    there.put(&begun, &token.to_string(), for_a_minute()).await.unwrap();
    let query = ClaimQuery::of("pay").agent("worker").wait(Duration::from_secs(30)).from("one");
    let nothing = two.tasks().claim(query).await.unwrap();
    assert!(nothing.is_none(), "{nothing:?}");
    let over = until(&one, &task.id.to_string(), TaskStatus::Unknown).await;
    assert_eq!(over.claims, 1);
    // and another one is done there, with a token of the same coordinators
    let task = one.tasks().submit(NewTask::new("pay", Value::Null).once()).await.unwrap();
    let query = ClaimQuery::of("pay").agent("worker").wait(Duration::from_secs(30)).from("one");
    let claimed = two.tasks().claim(query).await.unwrap().unwrap();
    let fence = claimed.fence.clone().unwrap();
    assert_eq!(critical.lock_of(&fence.lock).await.unwrap().unwrap().lease.token, fence.token);
    // its lock is taken from it: the claim is over, whatever the worker does
    there.steal(&fence.lock, Duration::from_secs(30)).await.unwrap();
    until(&one, &task.id.to_string(), TaskStatus::Unknown).await;
    two.shutdown().await;
    one.shutdown().await;
}

/// promise: Tasks | A node that starts again goes on with its tasks: what waited waits, and a worker that still works keeps its claim
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_no_task_and_no_claim() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let waits = node.tasks().submit(NewTask::new("deploy", Value::Null)).await.unwrap();
    let works = node.tasks().submit(NewTask::new("add", Value::Null)).await.unwrap();
    let claimed = claim(&node, "add").await;
    node.shutdown().await;
    drop(node);
    let node = start(&dir, "one").await;
    let over = node.tasks().finish(&works.id.to_string(), claimed.token, done(json!(1))).await.unwrap();
    assert_eq!((over.status, over.claims), (TaskStatus::Succeeded, 1));
    assert_eq!(claim(&node, "deploy").await.task.id, waits.id);
    node.shutdown().await;
}

/// promise: Tasks | A result of a claim that no longer stands ends nothing: it is refused, kept once and marked as late
#[tokio::test(flavor = "multi_thread")]
async fn a_late_result_is_kept_and_ends_nothing() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let id = board.submit(NewTask::new("add", Value::Null)).await.unwrap().id.to_string();
    let slow = claim(&node, "add").await;
    board.finish(&id, slow.token, TaskResult::Released).await.unwrap();
    let quick = claim(&node, "add").await;
    assert_eq!(quick.attempt, 2);
    for _ in 0..2 {
        let late = board.finish(&id, slow.token, done(json!("late"))).await;
        assert!(matches!(late, Err(NodeError::Conflict(ConflictError::ClaimOver))), "{late:?}");
    }
    assert!(board.renew(&id, slow.token, None).await.is_err());
    let over = board.finish(&id, quick.token, done(json!("quick"))).await.unwrap();
    assert_eq!(over.output, Some(text(json!("quick"))));
    // the first answer may have been lost
    let again = board.finish(&id, quick.token, done(json!("quick"))).await.unwrap();
    assert_eq!((again.output, again.events.len()), (Some(text(json!("quick"))), over.events.len()));
    let words: Vec<&str> = over.events.iter().map(|event| event.event).collect();
    assert_eq!(words, ["submitted", "claimed", "released", "claimed", "late", "succeeded"]);
    node.shutdown().await;
}

/// promise: Tasks | A worker whose call is cut off gets nothing, and a worker that hangs up while it works loses its claim within a second or two
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_hangs_up_loses_its_claim() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    // it waits for nothing any more
    drop(tokio::time::timeout(Duration::from_millis(50), board.claim(ClaimQuery::of("add"))).await);
    let id = board.submit(NewTask::new("add", Value::Null)).await.unwrap().id.to_string();
    let dies = claim(&node, "add").await;
    assert_eq!(dies.attempt, 1);
    let (held, token, of) = (node.tasks(), dies.token, id.clone());
    let begun = Some(TaskProgress::new(None, "begun"));
    let line = tokio::spawn(async move { held.hold(&of, token, begun, Duration::from_secs(60)).await });
    // the line is open once its word counts
    while board.get(&id).await.unwrap().progress.is_none() {
        tokio::task::yield_now().await;
    }
    line.abort();
    let again = claim(&node, "add").await;
    assert_eq!((again.attempt, again.task.expiries), (2, 1));
    node.shutdown().await;
}

/// promise: Tasks | Every member sees the tasks of the others and what came of them, and cancels one only as its submitter or as an admin
#[tokio::test(flavor = "multi_thread")]
async fn others_see_a_task_and_only_admins_cancel_it() {
    let (one, two, three) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let other = join(&founder, &three, "other", Invite::default()).await;
    let id = member.tasks().submit(NewTask::new("add", json!({"a": 1}))).await.unwrap().id.to_string();
    let seen = until(&other, &id, TaskStatus::Pending).await;
    assert_eq!((seen.input, seen.submitter_name.as_deref()), (text(json!({"a": 1})), Some("member")));
    let by = TaskWaits::HandedOutBy { member: member.did(), name: Some("member".to_owned()) };
    assert_eq!(seen.why, Some(by));
    let refused = other.tasks().cancel(&id, "no").await;
    assert!(matches!(refused, Err(NodeError::Refused(AccessError::NotYourTask(_)))), "{refused:?}");
    until(&founder, &id, TaskStatus::Pending).await;
    founder.tasks().cancel(&id, "not today").await.unwrap();
    for node in [&founder, &member, &other] {
        let over = until(node, &id, TaskStatus::Cancelled).await;
        assert_eq!(over.error.unwrap().message, "not today");
    }
    let again = founder.tasks().cancel(&id, "").await;
    assert!(matches!(again, Err(NodeError::Conflict(ConflictError::TaskOver { .. }))), "{again:?}");
    for node in [founder, member, other] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A task that needs another person's approval is handed out after an admin approved it on another node; its submitter cannot, and a rejection ends it
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_needs_an_approval_waits_for_another_admin() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let board = member.tasks();
    let new = || NewTask::new("deploy", json!("prod")).approved_by(ApprovalRule::Other);
    let waits = board.submit(new()).await.unwrap();
    assert_eq!(waits.status, TaskStatus::AwaitingApproval);
    let id = waits.id.to_string();
    let own = board.approve(&id).await;
    assert!(matches!(own, Err(NodeError::Refused(AccessError::NoApprover(_)))), "{own:?}");
    until(&founder, &id, TaskStatus::AwaitingApproval).await;
    founder.tasks().approve(&id).await.unwrap();
    assert_eq!(claim(&member, "deploy").await.task.id, waits.id);
    let refused = board.submit(new()).await.unwrap().id.to_string();
    until(&founder, &refused, TaskStatus::AwaitingApproval).await;
    founder.tasks().reject(&refused, "not on a Friday").await.unwrap();
    let over = until(&member, &refused, TaskStatus::Rejected).await;
    assert_eq!(over.error.unwrap().message, "not on a Friday");
    let retried = board.retry(&refused).await.unwrap();
    assert_eq!((retried.retry_of, retried.status), (Some(over.id), TaskStatus::AwaitingApproval));
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A worker at another node gets a task within moments, says how far it is, and its result comes back
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_at_another_node_does_it() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let worker = tokio::spawn({
        let board = member.tasks();
        async move {
            let claimed =
                board.claim(ClaimQuery::of("add").agent("far").wait(Duration::from_secs(60))).await.unwrap().unwrap();
            let id = claimed.task.id.to_string();
            board.renew(&id, claimed.token, Some(TaskProgress::new(Some(10), "begun"))).await.unwrap();
            board
                .finish(&id, claimed.token, done(json!(claimed.task.input.value().as_i64().unwrap() + 1)))
                .await
                .unwrap()
        }
    });
    let board = founder.tasks();
    let id = board.submit(NewTask::new("add", json!(1))).await.unwrap().id.to_string();
    let over = board.wait(&id, Duration::from_secs(30)).await.unwrap().expect("in time");
    assert_eq!((over.status, &over.output), (TaskStatus::Succeeded, &Some(text(json!(2)))));
    let by = over.assigned_to.unwrap();
    assert_eq!((by.node, by.name.as_deref()), (member.did(), Some("member")));
    assert_eq!(worker.await.unwrap().status, TaskStatus::Succeeded);
    until(&member, &id, TaskStatus::Succeeded).await;
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Tasks | Every member sees the workers of all nodes with their abilities, load and labels, and sees them go
#[tokio::test(flavor = "multi_thread")]
async fn workers_are_seen_everywhere() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let mut config = Config::default();
    config.labels.0.insert("region".to_owned(), "cellar".to_owned());
    let member = Node::builder(two.path().join("data")).config(config).name("member".parse().unwrap()).mdns(false);
    let member = member.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]);
    node::join(&two.path().join("data"), &ticket, JoinOptions::default().name("member".parse().unwrap()))
        .await
        .unwrap();
    let member = member.start().await.unwrap();
    let call = |name: &str| {
        let (board, query) = (member.tasks(), ClaimQuery::of("add").and("multiply").agent(name));
        tokio::spawn(async move { board.claim(query.wait(Duration::from_secs(60))).await })
    };
    let waits = [call("a"), call("a"), call("b")];
    let seen = async |what: &str, is_so: &dyn Fn(&[Agent]) -> bool| {
        let begun = Instant::now();
        while !is_so(&founder.tasks().agents()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {:?}", founder.tasks().agents());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let of = |agents: &[Agent]| -> Vec<(String, usize, usize)> {
        agents.iter().map(|agent| (agent.name.clone().unwrap_or_default(), agent.waiting, agent.running)).collect()
    };
    seen("two names wait", &|agents| of(agents) == [("a".to_owned(), 2, 0), ("b".to_owned(), 1, 0)]).await;
    let agent = founder.tasks().agents().remove(0);
    assert_eq!((agent.node, agent.capabilities.len(), agent.labels["region"].as_str()), (member.did(), 2, "cellar"));
    assert_eq!((agent.health, agent.reputation), (AgentHealth::Ok, 1.0));
    #[cfg(target_os = "linux")]
    seen("its load", &|agents| agents[0].load.memory.is_some()).await;
    // one of them gets a task of the founder's
    let id = founder.tasks().submit(NewTask::new("add", json!(1))).await.unwrap().id;
    until(&founder, &id.to_string(), TaskStatus::Running).await;
    seen("one works", &|agents| agents.iter().map(|agent| agent.running).sum::<usize>() == 1).await;
    let choice = founder.tasks().candidates(id);
    assert_eq!((choice.len(), choice[0].node, &choice[0].why_not), (1, member.did(), &None), "{choice:?}");
    assert!(choice[0].score.is_some_and(|score| score > 40.0) && choice[0].parts.len() > 4, "{choice:?}");
    waits.iter().for_each(|wait| wait.abort());
    seen("none waits", &|agents| agents.iter().all(|agent| agent.waiting == 0)).await;
    member.shutdown().await;
    seen("their node is gone", &<[Agent]>::is_empty).await;
    founder.shutdown().await;
}

/// promise: Tasks | A watcher at the settler sees a claim that is on the disk as running at once
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_running_as_soon_as_it_is_news() {
    const TASKS: usize = 100;
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let mut watch = board.watch();
    for n in 0..TASKS {
        let worker = board.clone();
        let works =
            tokio::spawn(async move { worker.claim(ClaimQuery::of("add").agent("worker")).await.unwrap().unwrap() });
        let id = board.submit(NewTask::new("add", json!(n))).await.unwrap().id;
        // while it is worked on, no later news would put this right
        let seen = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let task = watch.next().await.unwrap();
                if task.id == id && task.status == TaskStatus::Running {
                    break;
                }
            }
        });
        seen.await.expect("it runs, and its watcher did not hear so");
        let claimed = works.await.unwrap();
        board.finish(&id.to_string(), claimed.token, done(json!(1))).await.unwrap();
    }
    node.shutdown().await;
}

/// promise: Tasks | A task after tasks of two nodes is handed out once both have succeeded, also after a restart
#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_those_before_it() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let theirs = member.tasks().submit(NewTask::new("fetch", json!(1)).to("member")).await.unwrap().id.to_string();
    until(&founder, &theirs, TaskStatus::Pending).await;
    let board = founder.tasks();
    let ours = board.submit(NewTask::new("fetch", json!(2)).to("founder")).await.unwrap().id.to_string();
    let unknown = board.submit(NewTask::new("build", json!(0)).after("no such task")).await.unwrap_err();
    assert!(matches!(unknown, NodeError::Invalid(_) | NodeError::NotFound { .. }), "{unknown:?}");
    let many = (0..17).fold(NewTask::new("build", json!(0)), |task, _| task.after(&ours));
    assert!(matches!(board.submit(many).await.unwrap_err(), NodeError::Invalid(_)), "16 at most");
    let task = board.submit(NewTask::new("build", json!(3)).after(&theirs).after(&ours)).await.unwrap();
    let id = task.id.to_string();
    let (failing, follows) = (board.submit(NewTask::new("fail", json!(4)).attempts(1)).await.unwrap(), "build");
    let never = board.submit(NewTask::new(follows, json!(5)).after(failing.id.to_string())).await.unwrap();
    assert!(matches!(board.get(&id).await.unwrap().why, Some(TaskWaits::After(_))));
    founder.shutdown().await;
    let founder = start(&one, "founder").await;
    let board = founder.tasks();
    let waiting = tokio::spawn({
        let board = founder.tasks();
        async move { board.claim(ClaimQuery::of("build").wait(Duration::from_secs(60))).await }
    });
    for (node, id) in [(&member, &theirs), (&founder, &ours)] {
        let claimed = claim(node, "fetch").await;
        assert!(!waiting.is_finished(), "one is not enough");
        node.tasks().finish(id, claimed.token, done(json!("fetched"))).await.unwrap();
    }
    let claimed = waiting.await.unwrap().unwrap().expect("in time");
    assert_eq!(claimed.task.id.to_string(), id);
    board.finish(&id, claimed.token, done(json!("built"))).await.unwrap();
    let claimed = claim(&founder, "fail").await;
    let failed = TaskResult::Failed { code: String::new(), message: "no".to_owned() };
    board.finish(&failing.id.to_string(), claimed.token, failed).await.unwrap();
    let ended = until(&founder, &never.id.to_string(), TaskStatus::Failed).await;
    assert_eq!((ended.error.unwrap().code.as_str(), ended.claims), ("after", 0));
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A critical task takes the worker of a preemptible one, whose worker is told to stop and which is done later
#[tokio::test(flavor = "multi_thread")]
async fn a_critical_task_goes_before() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let long = board.submit(NewTask::new("build", json!("long")).preemptible()).await.unwrap().id.to_string();
    let claimed = claim(&node, "build").await;
    let holds = tokio::spawn({
        let (board, id) = (node.tasks(), long.clone());
        async move { board.hold(&id, claimed.token, None, Duration::from_secs(60)).await }
    });
    let urgent = NewTask::new("build", json!("urgent")).priority(Priority::Critical);
    let urgent = board.submit(urgent).await.unwrap().id.to_string();
    let stopped = holds.await.unwrap().unwrap_err();
    assert!(matches!(stopped, NodeError::Conflict(ConflictError::ClaimOver)), "{stopped}");
    for (id, value) in [(urgent, "urgent"), (long, "long")] {
        let claimed = claim(&node, "build").await;
        assert_eq!((claimed.task.id.to_string(), &claimed.task.input), (id.clone(), &text(json!(value))));
        let over = board.finish(&id, claimed.token, done(json!(value))).await.unwrap();
        assert_eq!((over.status, over.failures, over.expiries), (TaskStatus::Succeeded, 0, 0));
    }
    let both = board.submit(NewTask::new("pay", json!(1)).once().preemptible()).await.unwrap_err();
    assert!(matches!(both, NodeError::Invalid(_)), "{both}");
    node.shutdown().await;
}

/// promise: Tasks | A worker takes tasks of its own node and of admins, and of others only if it says so
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_tasks_of_whom_it_admits() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let id = member.tasks().submit(NewTask::new("add", json!(1))).await.unwrap().id.to_string();
    let board = founder.tasks();
    let refusing = board.claim(ClaimQuery::of("add").from("admin").wait(Duration::from_secs(1)));
    assert!(refusing.await.unwrap().is_none(), "a member is no admin");
    let admitted = board.claim(ClaimQuery::of("add").from("member").wait(Duration::from_secs(60)));
    let claimed = admitted.await.unwrap().expect("in time");
    assert_eq!(claimed.task.id.to_string(), id);
    board.finish(&id, claimed.token, done(json!("done"))).await.unwrap();
    until(&member, &id, TaskStatus::Succeeded).await;
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Tasks | The result of a worker whose settler is away is on its own node's disk, and counts once the settler is back
#[tokio::test(flavor = "multi_thread")]
async fn a_result_waits_for_its_settler() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "founder").await;
    let member = join(&founder, &two, "member", Invite::default()).await;
    let id = founder.tasks().submit(NewTask::new("add", json!(1))).await.unwrap().id.to_string();
    let claimed = claim(&member, "add").await;
    until(&member, &id, TaskStatus::Assigned).await;
    founder.shutdown().await;
    drop(founder);
    let kept = member.tasks().finish(&id, claimed.token, done(json!("kept"))).await.unwrap();
    assert!(matches!(kept.why, Some(TaskWaits::ResultForSubmitter { .. })), "{kept:?}");
    let founder = start(&one, "founder").await;
    let over = until(&founder, &id, TaskStatus::Succeeded).await;
    assert_eq!((over.output, over.claims), (Some(text(json!("kept"))), 1));
    for node in [founder, member] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A reader that is too slow for what happens to tasks learns how much it missed
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_learns_that_it_missed_something() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let mut watch = board.watch();
    let first = board.submit(NewTask::new("add", json!(0))).await.unwrap().id;
    assert!(matches!(watch.news().await.unwrap(), TaskNews::Task(task) if task.id == first));
    let submit = |n: u32| board.submit(NewTask::new("add", json!(n)));
    for part in 0..10 {
        let all = (0..420).map(|n| submit(part * 1_000 + n));
        for task in futures::future::join_all(all).await {
            task.unwrap();
        }
    }
    // answers come before the words about them
    let mut other = board.watch();
    let last = board.submit(NewTask::new("add", json!(1))).await.unwrap().id;
    while !matches!(other.news().await.unwrap(), TaskNews::Task(task) if task.id == last) {}
    let TaskNews::Missed(missed) = watch.news().await.unwrap() else { panic!("4,200 words, and none was missed") };
    assert!((1..4_201).contains(&missed), "{missed}");
    assert!(matches!(watch.news().await.unwrap(), TaskNews::Task(_)));
    node.shutdown().await;
}

/// promise: Tasks | Workers of a node do at most so many tasks of another member and capability at a time
#[tokio::test(flavor = "multi_thread")]
async fn no_member_takes_all_workers_of_a_node() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let ticket = one.invite(Invite::default()).await.unwrap().ticket;
    node::join(&dirs[1].path().join("data"), &ticket, JoinOptions::default()).await.unwrap();
    let mut config = Config::default();
    config.task_bulkhead = Bounded::of::<2>();
    let builder = Node::builder(dirs[1].path().join("data")).config(config).mdns(false);
    let two = builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap();
    for n in 0..3 {
        one.tasks().submit(NewTask::new("add", json!(n))).await.unwrap();
    }
    let board = two.tasks();
    let query = || ClaimQuery::of("add").wait(Duration::from_secs(30));
    let (first, second) = tokio::join!(board.claim(query()), board.claim(query()));
    let (first, second) = (first.unwrap().unwrap(), second.unwrap().unwrap());
    assert!(board.claim(query().wait(Duration::from_secs(2))).await.unwrap().is_none());
    // another capability has room of its own
    one.tasks().submit(NewTask::new("other", json!(1))).await.unwrap();
    let other = board.claim(ClaimQuery::of("other").wait(Duration::from_secs(30))).await.unwrap().unwrap();
    assert_eq!(other.task.capability, "other");
    board.finish(&first.task.id.to_string(), first.token, done(json!(1))).await.unwrap();
    let third = board.claim(query()).await.unwrap().unwrap();
    assert!(third.task.id != first.task.id && third.task.id != second.task.id);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Tasks | Each member that may read a task gets the stderr of its command from the worker's node, and hears of more as it comes
#[tokio::test(flavor = "multi_thread")]
async fn any_member_reads_the_log_of_a_task() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let three = join(&one, &dirs[2], "three", Invite::default()).await;
    let id = one.tasks().submit(NewTask::new("work", json!(1))).await.unwrap().id.to_string();
    let nothing = one.tasks().log(&id, TaskLogQuery::new()).await.unwrap();
    assert_eq!((nothing.attempt, nothing.text.as_str(), nothing.open), (0, "", true));
    let claimed = claim(&two, "work").await;
    let said = async |from, text: &str| two.tasks().note_log(&id, claimed.token, from, text).await.unwrap();
    said(0, "first\n").await;
    until(&three, &id, TaskStatus::Assigned).await;
    let board = three.tasks();
    let read = async {
        loop {
            // the two may not be connected yet
            match board.log(&id, TaskLogQuery::new()).await {
                Ok(log) => return log,
                Err(NodeError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let first = tokio::time::timeout(Duration::from_secs(30), read).await.unwrap();
    assert_eq!((first.attempt, first.text.as_str(), first.open), (1, "first\n", true));
    assert_eq!(first.worker.as_ref().unwrap().node, two.did());
    let more = board.log(&id, TaskLogQuery::new().after(&first, Duration::from_secs(60)));
    let (more, _) = tokio::join!(more, said(6, "second\n"));
    let more = more.unwrap();
    assert_eq!((more.from, more.text.as_str(), more.next), (6, "second\n", 13));
    two.tasks().finish(&id, claimed.token, done(json!(1))).await.unwrap();
    until(&three, &id, TaskStatus::Succeeded).await;
    let end = board.log(&id, TaskLogQuery::new().after(&more, Duration::from_secs(60))).await.unwrap();
    assert_eq!((end.text.as_str(), end.open), ("", false));
    assert!(two.tasks().note_log(&id, claimed.token, 13, "late").await.is_err(), "its claim is over");
    for node in [three, two, one] {
        node.shutdown().await;
    }
}

/// A member whose tasks are taken over soon after it is gone.
pub(crate) async fn soon(dir: &TempDir, name: &str, inviter: Option<&Node>) -> Node {
    if let Some(inviter) = inviter {
        let ticket = inviter.invite(Invite::default()).await.unwrap().ticket;
        let options = JoinOptions::default().name(name.parse().unwrap());
        node::join(&dir.path().join("data"), &ticket, options).await.unwrap();
    }
    let mut config = Config::default();
    config.task_takeover_ms = Bounded::of::<4_000>();
    config.voter_settle_ms = Bounded::of::<100>();
    config.mdns = false;
    let builder = Node::builder(dir.path().join("data")).config(config).name(name.parse().unwrap());
    builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap()
}

/// promise: Tasks | An heir hands a task out while its submitter's node is down, also one with a worker; the submitter is back, finds its end and goes on
#[tokio::test(flavor = "multi_thread")]
async fn an_heir_takes_over_while_the_submitter_is_down() {
    let dirs: Vec<TempDir> = (0..4).map(|_| TempDir::new().unwrap()).collect();
    let one = soon(&dirs[0], "one", None).await;
    let laptop = soon(&dirs[1], "laptop", Some(&one)).await;
    let (two, three) = (soon(&dirs[2], "two", Some(&one)).await, soon(&dirs[3], "three", Some(&one)).await);
    while one.critical().unwrap().coordinators().await.unwrap().voters.len() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let new = |n: u32| NewTask::new("add", json!(n)).heir("one").heir("two");
    let begun = laptop.tasks().submit(new(1)).await.unwrap().id.to_string();
    let query = || ClaimQuery::of("add").from("member").wait(Duration::from_secs(30));
    let attempt = three.tasks().claim(query()).await.unwrap().unwrap();
    let waits = laptop.tasks().submit(new(2)).await.unwrap();
    assert_eq!((waits.heirs.len(), waits.settler), (2, laptop.did()));
    let waits = waits.id.to_string();
    until(&one, &begun, TaskStatus::Assigned).await;
    until(&one, &waits, TaskStatus::Pending).await;
    until(&two, &waits, TaskStatus::Pending).await;
    laptop.shutdown().await;
    drop(laptop);
    // its worker is done while nobody settles it: that counts
    three.tasks().finish(&begun, attempt.token, done(json!("kept"))).await.unwrap();
    until(&one, &begun, TaskStatus::Succeeded).await;
    let claimed = three.tasks().claim(query()).await.unwrap().unwrap();
    assert_eq!(claimed.task.id.to_string(), waits);
    three.tasks().finish(&waits, claimed.token, done(json!("by an heir"))).await.unwrap();
    let laptop = soon(&dirs[1], "laptop", None).await;
    for (id, output, claims) in [(begun, "kept", 1), (waits, "by an heir", 1)] {
        let over = until(&laptop, &id, TaskStatus::Succeeded).await;
        assert!([one.did(), two.did()].contains(&over.settler), "{over:?}");
        assert_eq!((over.output, over.claims), (Some(text(json!(output))), claims));
        assert!(over.events.iter().any(|event| event.event == "moved"), "{:?}", over.events);
    }
    let own = laptop.tasks().submit(new(3)).await.unwrap().id.to_string();
    let claimed = three.tasks().claim(query()).await.unwrap().unwrap();
    assert_eq!(claimed.task.id.to_string(), own);
    three.tasks().finish(&own, claimed.token, done(json!("again"))).await.unwrap();
    until(&laptop, &own, TaskStatus::Succeeded).await;
    // nothing is kept of tasks that have ended, once all have their ends
    let critical = one.critical().unwrap();
    let left = async {
        loop {
            let mut keys = critical.list(KeyQuery::prefix("own/")).await.unwrap().items;
            keys.retain(|(key, _)| key.contains("/ended/") || key.contains("/settles/"));
            if keys.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), left).await.unwrap();
    for node in [laptop, two, three, one] {
        node.shutdown().await;
    }
}

/// promise: Tasks | Heirs that connected to the submitter themselves take over while it is down, without a restart; it is back, the task is handed out and ends once
#[tokio::test(flavor = "multi_thread")]
async fn heirs_that_dialled_their_submitter_take_over_without_a_restart() {
    // whether the end of a connection or of its sync is seen first is by chance: of so many heirs each has to notice
    const HEIRS: usize = 6;
    let dirs: Vec<TempDir> = (0..=HEIRS).map(|_| TempDir::new().unwrap()).collect();
    let laptop = soon(&dirs[0], "laptop", None).await;
    let mut heirs = Vec::new();
    for (n, dir) in dirs.iter().enumerate().skip(1) {
        heirs.push(soon(dir, &format!("heir-{n}"), Some(&laptop)).await);
    }
    while laptop.critical().unwrap().coordinators().await.unwrap().voters.len() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut tasks = Vec::new();
    for heir in &heirs {
        let name = heir.name().to_string();
        let task = laptop.tasks().submit(NewTask::new(name.clone(), json!(1)).heir(&name)).await.unwrap();
        tasks.push((name, task.id.to_string()));
    }
    for (heir, (_, id)) in heirs.iter().zip(&tasks) {
        until(heir, id, TaskStatus::Pending).await;
    }
    laptop.shutdown().await;
    drop(laptop);
    for (heir, (_, id)) in heirs.iter().zip(&tasks) {
        let (board, me) = (heir.tasks(), heir.did());
        let mut watch = board.watch();
        let moved = async {
            while board.get(id).await.unwrap().settler != me {
                watch.next().await.unwrap();
            }
        };
        let moved = tokio::time::timeout(Duration::from_secs(60), moved).await;
        moved.unwrap_or_else(|_| panic!("{} did not take over", heir.name()));
    }
    let laptop = soon(&dirs[0], "laptop", None).await;
    for (heir, (name, id)) in heirs.iter().zip(&tasks) {
        let query = ClaimQuery::of(name.as_str()).from("member").wait(Duration::from_secs(30));
        let claimed = laptop.tasks().claim(query).await.unwrap().expect("it is handed out");
        assert_eq!(claimed.task.id.to_string(), *id);
        laptop.tasks().finish(id, claimed.token, done(json!("by an heir"))).await.unwrap();
        for node in [&laptop, heir] {
            let over = until(node, id, TaskStatus::Succeeded).await;
            let ends = over.events.iter().filter(|event| event.event == "succeeded").count();
            assert_eq!(ends, 1, "{:?}", over.events);
        }
    }
    for node in heirs.into_iter().chain([laptop]) {
        node.shutdown().await;
    }
}

/// promise: Tasks | An heir that was cut off between the note of an end and the end itself takes the note back once it is up, and the task goes on
#[tokio::test(flavor = "multi_thread")]
async fn a_note_of_an_end_that_was_never_written_is_taken_back() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let one = soon(&dirs[0], "one", None).await;
    let (laptop, two) = (soon(&dirs[1], "laptop", Some(&one)).await, soon(&dirs[2], "two", Some(&one)).await);
    let task = laptop.tasks().submit(NewTask::new("add", json!(1)).heir("two")).await.unwrap().id;
    until(&two, &task.to_string(), TaskStatus::Pending).await;
    let note = format!("own/{}/ended/{}/{task}", two.did(), laptop.did());
    let week = PutOptions::default().ttl(Duration::from_secs(7 * 86_400));
    two.critical().unwrap().put(&note, task.to_hex(), week).await.unwrap();
    two.shutdown().await;
    laptop.shutdown().await;
    let laptop = soon(&dirs[1], "laptop", None).await;
    let query = |wait| ClaimQuery::of("add").wait(Duration::from_secs(wait));
    // whether it has ended is not known while the heir is away
    assert!(laptop.tasks().claim(query(3)).await.unwrap().is_none());
    let two = soon(&dirs[2], "two", None).await;
    let claimed = laptop.tasks().claim(query(30)).await.unwrap().expect("the task goes on");
    laptop.tasks().finish(&task.to_string(), claimed.token, done(json!("kept"))).await.unwrap();
    until(&two, &task.to_string(), TaskStatus::Succeeded).await;
    for node in [laptop, two, one] {
        node.shutdown().await;
    }
}

/// promise: Tasks | Open tasks of one member that name more than 16 heirs wait for each other, and say so
#[tokio::test(flavor = "multi_thread")]
async fn tasks_with_too_many_different_heirs_wait_and_say_so() {
    let dir = TempDir::new().unwrap();
    let one = soon(&dir, "one", None).await;
    let heirs: Vec<String> = (0..18).map(|n| format!("heir-{n}")).collect();
    for heir in &heirs {
        let ticket = one.invite(Invite::default()).await.unwrap().ticket;
        let home = TempDir::new().unwrap();
        let options = JoinOptions::default().name(heir.parse().unwrap());
        node::join(&home.path().join("data"), &ticket, options).await.unwrap();
    }
    let mut ids = Vec::new();
    for names in heirs.chunks(3) {
        let task = names.iter().fold(NewTask::new("add", json!(1)), |task, heir| task.heir(heir));
        ids.push(one.tasks().submit(task).await.unwrap().id.to_string());
    }
    let last = ids.pop().unwrap();
    let says_so = async {
        while one.tasks().get(&last).await.unwrap().why != Some(TaskWaits::CrowdedOut { others: 16 }) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), says_so).await.unwrap();
    let query = || ClaimQuery::of("add").wait(Duration::from_secs(30));
    for _ in 0..6 {
        let claimed = one.tasks().claim(query()).await.unwrap().unwrap();
        one.tasks().finish(&claimed.task.id.to_string(), claimed.token, done(json!("done"))).await.unwrap();
    }
    until(&one, &last, TaskStatus::Succeeded).await;
    one.shutdown().await;
}

/// promise: Tasks | Inputs that break a rule are refused with it, and nothing is submitted
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let bad = [
        NewTask::new("Two Words", Value::Null),
        NewTask::new("add", json!("x".repeat(5_000_000))),
        NewTask::new("add", Value::Null).timeout(Duration::ZERO),
        NewTask::new("add", Value::Null).attempts(0),
        NewTask::new("add", Value::Null).request("r".repeat(200)),
        NewTask::new("add", Value::Null).heir("one").once(),
    ];
    for task in bad {
        let refused = board.submit(task).await;
        assert!(matches!(refused, Err(NodeError::Invalid(_))), "{refused:?}");
    }
    assert!(matches!(board.get("nothing").await, Err(NodeError::NotFound { .. })));
    assert!(matches!(board.claim(ClaimQuery::of("")).await, Err(NodeError::Invalid(_))));
    let lease = ClaimQuery::of("add").lease(Duration::ZERO);
    assert!(matches!(board.claim(lease).await, Err(NodeError::Invalid(_))));
    assert!(board.list(TaskQuery::newest(10)).await.unwrap().items.is_empty());
    node.shutdown().await;
}

/// promise: Tasks | An input and an output of up to 4 MiB go by themselves into blobs, and come out of them for the worker and for whoever asks
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_an_event_is_in_a_blob() {
    let (dirs, long) =
        ([TempDir::new().unwrap(), TempDir::new().unwrap()], |n: usize| json!({ "text": "x".repeat(n) }));
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let (input, output) = (long(300_000), long(3 << 20));
    let submitted = one.tasks().submit(NewTask::new("weigh", input.clone()).to("two")).await.unwrap();
    let id = submitted.id.to_string();
    let hash = submitted.input.value()["$blob"].as_str().unwrap().parse().unwrap();
    assert_eq!(submitted.input.value()["bytes"], input.to_string().len());

    // the worker has all of it; a model gets what stands for it
    let claimed = claim(&two, "weigh").await;
    assert_eq!((claimed.task.id, &claimed.task.input), (submitted.id, &text(input)));
    two.tasks().finish(&id, claimed.token, done(output.clone())).await.unwrap();
    let over = until(&one, &id, TaskStatus::Succeeded).await;
    let stand_in = over.output.unwrap();
    let kept = stand_in.value()["$blob"].as_str().unwrap().parse().unwrap();
    assert!(stand_in.value()["begin"].as_str().unwrap().starts_with("{\"text\":\"xxx"));

    // the output comes at once, since its worker's machine may go
    one.blobs().fetch(kept, Duration::from_secs(30)).await.unwrap();
    two.shutdown().await;
    let gone = one.blobs().gc(Duration::ZERO, false).await.unwrap();
    assert_eq!(gone.blobs, 0, "a task refers to them");
    assert_eq!(one.tasks().whole(stand_in).await.unwrap(), output);
    assert!(one.blobs().info(hash).await.unwrap().is_some());

    let too_large = one.tasks().submit(NewTask::new("weigh", long(4 << 20))).await.unwrap_err();
    assert!(too_large.to_string().contains("at most 4194304"), "{too_large}");
    one.shutdown().await;
}

/// promise: Tasks | The tasks of a removed member say that nobody hands them out; an admin cancels them, and may submit them again
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_ends_the_tasks_of_a_removed_member() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start(&dirs[0], "one").await;
    let two = join(&one, &dirs[1], "two", Invite::default()).await;
    let before = two.tasks().submit(NewTask::new("weigh", json!(7))).await.unwrap().id.to_string();
    until(&one, &before, TaskStatus::Pending).await;
    let next = one.tasks().submit(NewTask::new("weigh", json!(8)).after(&*before)).await.unwrap().id.to_string();
    one.revoke(two.did(), None).await.unwrap();

    let orphan = one.tasks().get(&before).await.unwrap();
    assert_eq!((orphan.status, orphan.why), (TaskStatus::Pending, Some(TaskWaits::Orphan)));
    let cancelled = one.tasks().cancel(&before, "its owner is gone").await.unwrap();
    assert_eq!((cancelled.status, cancelled.why), (TaskStatus::Cancelled, None));
    assert!(cancelled.ended_at.is_some());
    assert_eq!(one.tasks().wait(&before, Duration::ZERO).await.unwrap().map(|task| task.id), Some(cancelled.id));
    // whatever came after it hears of its end
    until(&one, &next, TaskStatus::Failed).await;

    let again = one.tasks().retry(&before).await.unwrap();
    assert_eq!((again.submitter, again.retry_of), (one.did(), Some(cancelled.id)));
    let claimed = claim(&one, "weigh").await;
    assert_eq!((claimed.task.id, claimed.task.input), (again.id, text(json!(7))));
    two.shutdown().await;
    one.shutdown().await;
}

/// promise: Tasks | Blobs are removed all the while, and none is that belongs to a task which is being submitted
#[tokio::test(flavor = "multi_thread")]
async fn no_removal_comes_between_a_blob_and_the_event_that_refers_to_it() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let input = |n: u64| json!({ "number": n, "text": "x".repeat(40_000) });
    let submit = async {
        let mut tasks = Vec::new();
        for n in 0..60 {
            tasks.push(node.tasks().submit(NewTask::new("weigh", input(n))).await.unwrap());
        }
        tasks
    };
    let remove = async {
        let gone = node.blobs().add(&b"nothing keeps it"[..]).await.unwrap();
        node.blobs().unpin(gone.hash).await.unwrap();
        loop {
            node.blobs().gc(Duration::ZERO, false).await.unwrap();
            assert!(node.blobs().info(gone.hash).await.unwrap().is_none());
        }
    };
    let tasks = tokio::select! {
        tasks = submit => tasks,
        () = remove => unreachable!("it has no end"),
    };
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(node.tasks().whole(task.input).await.unwrap(), input(n));
    }
    node.shutdown().await;
}

/// promise: Tasks | A task whose input is in a blob that nobody has, or that is no JSON, fails and says so
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_nobody_has_fails_its_task() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "one").await;
    let board = node.tasks();
    let query = || ClaimQuery::of("weigh").wait(Duration::from_secs(20)).lease(Duration::from_secs(1));
    let bytes = node.blobs().add(&b"no JSON"[..]).await.unwrap();
    for (blob, message) in [("ab".repeat(32), "no blob"), (bytes.hash.to_string(), "is not JSON")] {
        let stand_in = json!({ "$blob": blob });
        let mut task = NewTask::new("weigh", stand_in.clone());
        task.attempts = 1;
        let id = board.submit(task).await.unwrap().id.to_string();
        // it is looked for longer than the worker's lease
        assert!(board.claim(query()).await.unwrap().is_none());
        let failed = board.get(&id).await.unwrap();
        let error = failed.error.unwrap();
        assert_eq!((failed.status, failed.input), (TaskStatus::Failed, text(stand_in.clone())));
        assert!(error.code == "input_missing" && error.message.contains(message), "{error:?}");

        let id = board.submit(NewTask::new("weigh", stand_in.clone())).await.unwrap().id.to_string();
        let claimed = board.claim(query().without_blobs()).await.unwrap().unwrap();
        assert_eq!((claimed.task.id.to_string(), claimed.task.input), (id.clone(), text(stand_in)));
        board.finish(&id, claimed.token, done(json!(7))).await.unwrap();
    }
    node.shutdown().await;
}

/// A node that reads formats up to these, in a directory of its own.
async fn start_as(dir: &TempDir, name: &str, formats: Formats) -> Node {
    let mut config = Config::default();
    config.formats = formats;
    let builder = Node::builder(dir.path().join("data")).config(config).name(name.parse().unwrap()).mdns(false);
    builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap()
}

async fn format_of(node: &Node) -> u16 {
    node.critical().unwrap().coordinators().await.map_or(0, |seen| seen.format)
}

/// Submits a task at one node, has it done at the other, and checks that both show its end.
async fn is_done_across(from: &Node, at: &Node, capability: &str) {
    let id = from.tasks().submit(NewTask::new(capability, json!(1))).await.unwrap().id.to_string();
    let takes = ClaimQuery::of(capability).from(from.did().to_string()).wait(Duration::from_secs(60));
    let claimed = at.tasks().claim(takes).await.unwrap().expect("a task in time");
    assert_eq!(claimed.task.id.to_string(), id);
    at.tasks().finish(&id, claimed.token, TaskResult::Succeeded(json!(2).into())).await.unwrap();
    for node in [from, at] {
        assert_eq!(until(node, &id, TaskStatus::Succeeded).await.output, Some(json!(2).into()), "{capability}");
    }
}

/// promise: Tasks | A task is submitted and done before, during and after a raise of the formats, between nodes of earlier formats and of these
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_done_before_during_and_after_a_raise_of_the_formats() {
    const EARLIER: Formats = Formats { critical: 4, ..Formats::LATEST };
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = start_as(&dirs[0], "one", EARLIER).await;
    let ticket = one.invite(Invite::default()).await.unwrap().ticket;
    let options = JoinOptions::default().name("two".parse().unwrap());
    node::join(&dirs[1].path().join("data"), &ticket, options).await.unwrap();
    let two = start_as(&dirs[1], "two", EARLIER).await;
    for (from, at) in [(&one, &two), (&two, &one)] {
        is_done_across(from, at, "before").await;
    }
    // one of the two is of this version
    two.shutdown().await;
    let two = start_as(&dirs[1], "two", Formats::LATEST).await;
    for (from, at) in [(&one, &two), (&two, &one)] {
        is_done_across(from, at, "between").await;
    }
    assert_eq!(format_of(&one).await, 4);
    // it is done by the other version once that runs again
    let waits = two.tasks().submit(NewTask::new("waits", json!(1))).await.unwrap().id.to_string();
    one.shutdown().await;
    let one = start_as(&dirs[0], "one", Formats::LATEST).await;
    let raised = async {
        let mut rounds = 0;
        while format_of(&one).await < Formats::LATEST.critical || format_of(&two).await < Formats::LATEST.critical {
            for (from, at) in [(&one, &two), (&two, &one)] {
                is_done_across(from, at, "during").await;
            }
            rounds += 1;
        }
        rounds
    };
    let rounds = tokio::time::timeout(Duration::from_secs(120), raised).await.expect("the formats are raised");
    assert!(rounds > 0, "no task was done while the formats were raised");
    for (from, at) in [(&one, &two), (&two, &one)] {
        is_done_across(from, at, "after").await;
    }
    let takes = ClaimQuery::of("waits").from(two.did().to_string()).wait(Duration::from_secs(60));
    let claimed = one.tasks().claim(takes).await.unwrap().expect("a task in time");
    one.tasks().finish(&waits, claimed.token, TaskResult::Succeeded(json!(2).into())).await.unwrap();
    until(&two, &waits, TaskStatus::Succeeded).await;
    for node in [one, two] {
        node.shutdown().await;
    }
}
