//! Whose machine a member is, on real nodes: approvals, work and words follow it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use crate::tasks::{join, start};
use crate::world::{Link, World, eventually};
use nexus_node::error::AccessError;
use nexus_node::node::{MemberInfo, Role, Whose};
use nexus_node::tasks::{ApprovalRule, ClaimQuery, Task, TaskResult, TaskStatus, TaskWaits, TaskWhyNot};
use nexus_node::{Invite, NewTask, Node, NodeError};
use serde_json::json;
use tempfile::TempDir;

fn mine() -> Invite {
    Invite::default().whose(Whose::Mine)
}

fn for_somebody(name: &str) -> Invite {
    Invite::default().whose(Whose::Other(name.parse().unwrap()))
}

fn member(seen_by: &Node, of: &Node) -> Option<MemberInfo> {
    seen_by.members().into_iter().find(|member| member.did == of.did())
}

/// Waits until a node sees another one as a machine of its own person, or of another.
async fn until_mine(seen_by: &Node, of: &Node, mine: bool) {
    eventually("it is known whose machine it is", || async {
        member(seen_by, of).and_then(|member| member.person).is_some_and(|person| person.is_mine == mine)
    })
    .await;
}

async fn until(node: &Node, id: &str, status: TaskStatus) -> Task {
    eventually("the task comes to its state", || async {
        node.tasks().get(id).await.is_ok_and(|task| task.status == status)
    })
    .await;
    node.tasks().get(id).await.unwrap()
}

async fn submit(node: &Node, new: NewTask) -> String {
    node.tasks().submit(new).await.unwrap().id.to_string()
}

fn deploy() -> NewTask {
    NewTask::new("deploy", json!("prod")).needs_approval()
}

fn is_refused(answer: &Result<Task, NodeError>) -> bool {
    matches!(answer, Err(NodeError::Refused(AccessError::NoApprover(_))))
}

/// promise: Persons | A person approves on its own machine, on another one of its own, and an admin on its; nobody else's machine does
#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_on_any_of_its_machines() {
    let dirs: [TempDir; 4] = std::array::from_fn(|_| TempDir::new().unwrap());
    let laptop = start(&dirs[0], "laptop").await;
    let server = join(&laptop, &dirs[1], "server", mine()).await;
    let desktop = join(&laptop, &dirs[2], "desktop", mine()).await;
    let alice = join(&laptop, &dirs[3], "alice", for_somebody("Alice")).await;
    for other in [&server, &desktop] {
        until_mine(&server, other, true).await;
        until_mine(&laptop, other, true).await;
    }
    until_mine(&server, &alice, false).await;
    let person = member(&server, &desktop).unwrap().person.unwrap();
    assert_eq!((person.id, person.first.as_str()), (laptop.mesh_did(), "laptop"));

    // the founder's own node
    let id = submit(&laptop, deploy()).await;
    let waits = laptop.tasks().get(&id).await.unwrap();
    let Some(TaskWaits::ApprovalAt { rule: ApprovalRule::Person, mut others, more: 0 }) = waits.why else {
        panic!("{:?}", waits.why);
    };
    others.sort();
    assert_eq!(others, ["desktop", "server"]);
    assert_eq!((waits.rule, waits.verdict), (Some(ApprovalRule::Person), None));
    let approved = laptop.tasks().approve(&id).await.unwrap();
    let verdict = approved.verdict.unwrap();
    assert_eq!((verdict.approved, verdict.by, verdict.person), (true, laptop.did(), laptop.mesh_did()));
    assert_eq!(approved.status, TaskStatus::Pending);

    // another machine of the submitter's person, which is no admin; and not that of somebody else
    let id = submit(&server, deploy()).await;
    until(&alice, &id, TaskStatus::AwaitingApproval).await;
    assert!(is_refused(&alice.tasks().approve(&id).await));
    until(&desktop, &id, TaskStatus::AwaitingApproval).await;
    desktop.tasks().approve(&id).await.unwrap();
    let task = until(&server, &id, TaskStatus::Pending).await;
    assert_eq!(task.verdict.unwrap().name.as_deref(), Some("desktop"));

    // tasks of somebody else are approved there, or by an admin
    let id = submit(&alice, deploy()).await;
    until(&desktop, &id, TaskStatus::AwaitingApproval).await;
    assert!(is_refused(&desktop.tasks().approve(&id).await));
    alice.tasks().approve(&id).await.unwrap();
    let id = submit(&alice, deploy()).await;
    until(&laptop, &id, TaskStatus::AwaitingApproval).await;
    laptop.tasks().reject(&id, "not on a Friday").await.unwrap();
    until(&alice, &id, TaskStatus::Rejected).await;

    // the rule for another person: nobody stands above the founder, so nobody could; Alice has one above her
    let nobody = laptop.tasks().submit(deploy().approved_by(ApprovalRule::Other)).await;
    assert!(matches!(nobody, Err(NodeError::Refused(AccessError::NobodyApproves))), "{nobody:?}");
    let id = submit(&alice, deploy().approved_by(ApprovalRule::Other)).await;
    assert!(is_refused(&alice.tasks().approve(&id).await));
    until(&desktop, &id, TaskStatus::AwaitingApproval).await;
    assert!(is_refused(&desktop.tasks().approve(&id).await));
    until(&laptop, &id, TaskStatus::AwaitingApproval).await;
    laptop.tasks().approve(&id).await.unwrap();
    until(&alice, &id, TaskStatus::Pending).await;
    for node in [laptop, server, desktop, alice] {
        node.shutdown().await;
    }
}

/// promise: Persons | Workers take tasks of machines of the same person without a word, and are named where they take none of a member
#[tokio::test(flavor = "multi_thread")]
async fn workers_take_tasks_of_machines_of_the_same_person() {
    let dirs: [TempDir; 4] = std::array::from_fn(|_| TempDir::new().unwrap());
    let laptop = start(&dirs[0], "laptop").await;
    let server = join(&laptop, &dirs[1], "server", mine()).await;
    let desktop = join(&laptop, &dirs[2], "desktop", mine()).await;
    let alice = join(&laptop, &dirs[3], "alice", for_somebody("Alice")).await;
    until_mine(&desktop, &server, true).await;
    let claim = |from: &'static [&'static str]| {
        let board = desktop.tasks();
        let query = from
            .iter()
            .fold(ClaimQuery::of("factor").agent("far").wait(Duration::from_secs(60)), |query, from| query.from(*from));
        tokio::spawn(async move { board.claim(query).await.unwrap().expect("a task in time") })
    };
    let worker = claim(&[]);
    let refused = submit(&alice, NewTask::new("factor", json!(77))).await;
    eventually("the worker that takes none of her is named", || async {
        let nodes = vec![("desktop".to_owned(), TaskWhyNot::TurnsAway)];
        let why = TaskWaits::Nodes { me: "alice".to_owned(), nodes, more: 0 };
        alice.tasks().get(&refused).await.unwrap().why == Some(why)
    })
    .await;
    let id = submit(&server, NewTask::new("factor", json!(77))).await;
    let claimed = worker.await.unwrap();
    assert_eq!(claimed.task.id.to_string(), id);
    desktop.tasks().finish(&id, claimed.token, TaskResult::Succeeded(json!([7, 11]).into())).await.unwrap();
    until(&server, &id, TaskStatus::Succeeded).await;
    // a word lets the others in as well, and takes nobody out
    let worker = claim(&["alice"]);
    let claimed = worker.await.unwrap();
    assert_eq!(claimed.task.id.to_string(), refused);
    for node in [laptop, server, desktop, alice] {
        node.shutdown().await;
    }
}

/// promise: Persons | A worker that insists on another person's approval gets none but tasks that have it, from other nodes as well
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_insists_on_an_approval() {
    let dirs: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let laptop = start(&dirs[0], "laptop").await;
    let desktop = join(&laptop, &dirs[1], "desktop", mine()).await;
    let alice = join(&laptop, &dirs[2], "alice", for_somebody("Alice")).await;
    until_mine(&desktop, &alice, false).await;
    let insists = |rule| {
        let board = desktop.tasks();
        let query = ClaimQuery::of("deploy").from("alice").approved_by(rule).wait(Duration::from_secs(60));
        tokio::spawn(async move { board.claim(query).await.unwrap().expect("a task in time") })
    };
    let why = async |id: &str, rule| {
        let insists = TaskWaits::Insists { node: "desktop".to_owned(), rule };
        eventually("the worker that insists is named", || async {
            alice.tasks().get(id).await.unwrap().why.as_ref() == Some(&insists)
        })
        .await;
    };
    let worker = insists(ApprovalRule::Other);
    let plain = submit(&alice, NewTask::new("deploy", json!("prod"))).await;
    why(&plain, ApprovalRule::Other).await;
    // her own word is an approval by the task's rule, and not by the worker's
    let by_herself = submit(&alice, deploy()).await;
    alice.tasks().approve(&by_herself).await.unwrap();
    why(&by_herself, ApprovalRule::Other).await;
    let id = alice.tasks().get(&by_herself).await.unwrap().id;
    eventually("the node is told of, with the reason", || async {
        let looked_at = alice.tasks().candidates(id);
        looked_at.iter().any(|one| one.why_not == Some(TaskWhyNot::Insists(ApprovalRule::Other)))
    })
    .await;
    let by_other = submit(&alice, deploy().approved_by(ApprovalRule::Other)).await;
    until(&laptop, &by_other, TaskStatus::AwaitingApproval).await;
    laptop.tasks().approve(&by_other).await.unwrap();
    let claimed = worker.await.unwrap();
    assert_eq!(claimed.task.id.to_string(), by_other);
    // a worker that wants any approval takes the other one, and neither takes the third
    let claimed = insists(ApprovalRule::Person).await.unwrap();
    assert_eq!(claimed.task.id.to_string(), by_herself);
    let worker = insists(ApprovalRule::Person);
    why(&plain, ApprovalRule::Person).await;
    assert_eq!(alice.tasks().get(&plain).await.unwrap().claims, 0);
    worker.abort();
    for node in [laptop, desktop, alice] {
        node.shutdown().await;
    }
}

/// promise: Persons | Whose a machine is can be said later, by the admin that admitted it, and the machine's own node agrees by itself
#[tokio::test(flavor = "multi_thread")]
async fn whose_a_machine_is_can_be_said_later() {
    let dirs: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let laptop = start(&dirs[0], "laptop").await;
    let server = join(&laptop, &dirs[1], "server", Invite::default()).await;
    let bob = join(&laptop, &dirs[2], "bob", for_somebody("Bob").role(Role::Admin)).await;
    assert_eq!(member(&laptop, &server).unwrap().person, None, "nobody has said");
    let id = submit(&laptop, deploy()).await;
    until(&server, &id, TaskStatus::AwaitingApproval).await;
    assert!(is_refused(&server.tasks().approve(&id).await));
    // a member is no admin; Bob is one, and did not admit it
    let said = server.say_person(laptop.did(), true).await;
    assert!(matches!(said, Err(NodeError::Refused(AccessError::NotAdmin(_)))), "{said:?}");
    eventually("Bob knows the server", || async { member(&bob, &server).is_some() }).await;
    let said = bob.say_person(server.did(), true).await;
    assert!(matches!(said, Err(NodeError::Refused(AccessError::NotAdmitted { .. }))), "{said:?}");
    assert!(!laptop.say_person(server.did(), true).await.unwrap().agreed);
    until_mine(&laptop, &server, true).await;
    until_mine(&server, &laptop, true).await;
    assert!(laptop.say_person(server.did(), true).await.unwrap().agreed, "nothing to say any more");
    server.tasks().approve(&id).await.unwrap();
    until(&laptop, &id, TaskStatus::Pending).await;
    for node in [laptop, server, bob] {
        node.shutdown().await;
    }
}

/// promise: Persons | A new key keeps its person, and what its former key said of other machines is said again
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_keeps_whose_machine_it_is() {
    let dirs: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let laptop = start(&dirs[0], "laptop").await;
    let bob = join(&laptop, &dirs[1], "bob", for_somebody("Bob").role(Role::Admin)).await;
    let bobs = join(&bob, &dirs[2], "bobs", mine()).await;
    until_mine(&bob, &bobs, true).await;
    eventually("the laptop knows both", || async { member(&laptop, &bobs).is_some() }).await;
    let former = bob.did();
    let rotated = bob.rotate_key(None).await.unwrap();
    let bob = start(&dirs[1], "bob").await;
    assert_eq!((rotated.former, rotated.did), (former, bob.did()));
    until_mine(&bob, &bobs, true).await;
    until_mine(&bobs, &bob, true).await;
    until_mine(&laptop, &bobs, false).await;
    let id = submit(&bobs, deploy()).await;
    until(&bob, &id, TaskStatus::AwaitingApproval).await;
    bob.tasks().approve(&id).await.unwrap();
    let task = until(&bobs, &id, TaskStatus::Pending).await;
    assert_eq!(task.verdict.unwrap().by, bob.did());
    for node in [laptop, bob, bobs] {
        node.shutdown().await;
    }
}

/// promise: Persons | In a mesh whose credentials say nothing about persons each machine is one of its own, until all members can read more
#[tokio::test]
async fn a_mesh_of_earlier_credentials_has_a_person_a_machine_until_it_is_raised() {
    const EARLIER: World = World(231);
    let one = EARLIER.start(0, Link::Memory).await;
    let two = EARLIER.start_beside(1, Link::Memory, &one).await;
    eventually("they meet", || async { member(&one, &two).is_some() }).await;
    assert!(one.members().iter().all(|member| member.person.is_none()));
    let id = submit(&one, deploy()).await;
    one.tasks().approve(&id).await.unwrap();
    let id = submit(&one, deploy()).await;
    until(&two, &id, TaskStatus::AwaitingApproval).await;
    assert!(is_refused(&two.tasks().approve(&id).await), "the stricter default");
    // the coordinators raise the formats, since all can read them
    eventually("it can be said", || async {
        match one.say_person(two.did(), true).await {
            Ok(_) => true,
            Err(NodeError::Refused(AccessError::PersonsTooNew)) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    until_mine(&two, &one, true).await;
    two.tasks().approve(&id).await.unwrap();
    until(&one, &id, TaskStatus::Pending).await;
    for node in [one, two] {
        node.shutdown().await;
    }
}
