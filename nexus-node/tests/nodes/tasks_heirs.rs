//! A submitter that is back gets its tasks from an heir that cannot do them, on real nodes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use nexus_node::critical::KeyQuery;
use nexus_node::tasks::{
    ApprovalRule, ClaimQuery, ClaimedTask, JsonText, Task, TaskId, TaskResult, TaskStatus, TaskWaits,
};
use nexus_node::{NewTask, Node};
use serde_json::json;
use tempfile::TempDir;

use crate::tasks::{soon, until};

/// A submitter, its heir, which is no admin, and the founder, which makes a quorum with either.
struct Mesh {
    dirs: Vec<TempDir>,
    founder: Node,
    heir: Node,
}

impl Mesh {
    /// The heir has taken these tasks over, and their submitter is down.
    async fn taken_over(new: impl IntoIterator<Item = NewTask>) -> (Self, Vec<TaskId>) {
        let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
        let founder = soon(&dirs[0], "founder", None).await;
        let laptop = soon(&dirs[1], "laptop", Some(&founder)).await;
        let heir = soon(&dirs[2], "heir", Some(&founder)).await;
        while founder.critical().unwrap().coordinators().await.unwrap().voters.len() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut tasks = Vec::new();
        for task in new {
            tasks.push(laptop.tasks().submit(task.heir("heir")).await.unwrap().id);
        }
        for task in &tasks {
            until(&heir, &task.to_string(), TaskStatus::Pending).await;
        }
        laptop.shutdown().await;
        drop(laptop);
        let mesh = Self { dirs, founder, heir };
        for task in &tasks {
            mesh.settled_by(&mesh.heir, *task).await;
        }
        (mesh, tasks)
    }

    /// Waits until this node hands a task out, as it says itself.
    async fn settled_by(&self, node: &Node, task: TaskId) -> Task {
        let board = node.tasks();
        let mut watch = board.watch();
        let settled = async {
            loop {
                let task = board.get(task).await.unwrap();
                if task.settler == node.did() {
                    return task;
                }
                watch.next().await.unwrap();
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(60), settled).await;
        settled.unwrap_or_else(|_| panic!("{} does not hand it out", node.name()))
    }

    /// The submitter is up again.
    async fn back(&self) -> Node {
        soon(&self.dirs[1], "laptop", None).await
    }

    /// A worker of the submitter, which takes no tasks of the heir, does a task that is handed out again.
    async fn done_by(&self, laptop: &Node, task: TaskId) -> Task {
        let claimed = work(laptop, "job").await;
        assert_eq!(claimed.task.id, task);
        finish(laptop, &claimed, "by its submitter").await;
        let over = self.over(laptop, task).await;
        assert_eq!((over.settler, over.output), (laptop.did(), Some(JsonText::text("by its submitter"))));
        self.over(laptop, task).await
    }

    /// A task that has ended once, alike on all nodes.
    async fn over(&self, laptop: &Node, task: TaskId) -> Task {
        let mut seen = Vec::new();
        for node in [&self.founder, &self.heir, laptop] {
            let over = until(node, &task.to_string(), TaskStatus::Succeeded).await;
            let ends = over.events.iter().filter(|event| event.event == "succeeded").count();
            assert_eq!(ends, 1, "{:?}", over.events);
            seen.push(over);
        }
        assert!(seen.iter().all(|over| over.output == seen[0].output));
        seen.remove(0)
    }

    async fn end(self, laptop: Node) {
        for node in [laptop, self.heir, self.founder] {
            node.shutdown().await;
        }
    }
}

async fn work(node: &Node, capability: &str) -> ClaimedTask {
    let query = ClaimQuery::of(capability).wait(Duration::from_secs(60));
    node.tasks().claim(query).await.unwrap().expect("it is handed out")
}

async fn finish(node: &Node, claimed: &ClaimedTask, output: &str) {
    let output = TaskResult::Succeeded(JsonText::text(output));
    node.tasks().finish(claimed.task.id, claimed.token, output).await.unwrap();
}

async fn fail(node: &Node, claimed: &ClaimedTask, message: String) {
    let failed = TaskResult::Failed { code: "bad".to_owned(), message };
    node.tasks().finish(claimed.task.id, claimed.token, failed).await.unwrap();
}

fn job() -> NewTask {
    NewTask::new("job", json!(1))
}

/// promise: Tasks | A submitter that is back gets from an heir the tasks that nobody does there, hands them out, and each ends once
#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_back_from_an_heir_without_a_worker() {
    let (mesh, tasks) = Mesh::taken_over([job()]).await;
    let laptop = mesh.back().await;
    mesh.done_by(&laptop, tasks[0]).await;
    // nothing is left of the question, nor of the rights
    let critical = mesh.founder.critical().unwrap();
    let left = async {
        loop {
            let keys = critical.list(KeyQuery::prefix("own/")).await.unwrap().items;
            if !keys.iter().any(|(key, _)| key.contains("/asks/") || key.contains("/settles/")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), left).await.unwrap();
    mesh.end(laptop).await;
}

/// promise: Tasks | A worker takes a task from its submitter's heir if it takes tasks of the submitter; the heir's own ones it does not
#[tokio::test(flavor = "multi_thread")]
async fn a_third_node_s_worker_takes_a_task_of_its_submitter_from_an_heir() {
    let (mesh, tasks) = Mesh::taken_over([job()]).await;
    mesh.heir.tasks().submit(job()).await.unwrap();
    let query = ClaimQuery::of("job").from("laptop").wait(Duration::from_secs(60));
    let claimed = mesh.founder.tasks().claim(query.clone()).await.unwrap().expect("it is handed out");
    assert_eq!((claimed.task.id, claimed.task.settler), (tasks[0], mesh.heir.did()));
    finish(&mesh.founder, &claimed, "by a third").await;
    for node in [&mesh.founder, &mesh.heir] {
        let over = until(node, &tasks[0].to_string(), TaskStatus::Succeeded).await;
        assert_eq!(over.output, Some(JsonText::text("by a third")));
    }
    let own = mesh.founder.tasks().claim(query.wait(Duration::from_secs(2))).await.unwrap();
    assert!(own.is_none(), "{own:?}");
    let laptop = mesh.back().await;
    mesh.end(laptop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_back_from_an_heir_whose_worker_refuses_it() {
    let (mesh, tasks) = Mesh::taken_over([job()]).await;
    let board = mesh.heir.tasks();
    let insists = async {
        loop {
            let query = ClaimQuery::of("job").approved_by(ApprovalRule::Person).wait(Duration::from_secs(60));
            assert!(board.claim(query).await.unwrap().is_none(), "it insists on an approval");
        }
    };
    let back = async {
        let laptop = mesh.back().await;
        mesh.done_by(&laptop, tasks[0]).await;
        laptop
    };
    let laptop = tokio::select! {
        () = insists => unreachable!(),
        laptop = back => laptop,
    };
    drop(board);
    mesh.end(laptop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_back_from_an_heir_whose_worker_rests() {
    let (mesh, tasks) = Mesh::taken_over([job()]).await;
    // its own tasks come first, and the worker fails too often at them
    let query = || ClaimQuery::of("job").agent("bad").wait(Duration::from_secs(60));
    for n in 0..8 {
        let urgent = job().to("heir").attempts(1).priority(nexus_node::tasks::Priority::Critical);
        mesh.heir.tasks().submit(urgent).await.unwrap();
        let claimed = mesh.heir.tasks().claim(query()).await.unwrap().unwrap();
        assert_ne!(claimed.task.id, tasks[0]);
        fail(&mesh.heir, &claimed, format!("failure {n}")).await;
    }
    let board = mesh.heir.tasks();
    let laptop = mesh.back();
    let (resting, laptop) = tokio::join!(board.claim(query().wait(Duration::from_secs(5))), laptop);
    assert!(resting.unwrap().is_none(), "it rests");
    drop(board);
    mesh.done_by(&laptop, tasks[0]).await;
    mesh.end(laptop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_back_from_an_heir_whose_worker_failed_thrice() {
    let (mesh, tasks) = Mesh::taken_over([job().attempts(4)]).await;
    for error in ["no disk", "no network", "no luck"] {
        let claimed = work(&mesh.heir, "job").await;
        assert_eq!(claimed.task.id, tasks[0]);
        fail(&mesh.heir, &claimed, error.to_owned()).await;
    }
    let laptop = mesh.back().await;
    let over = mesh.done_by(&laptop, tasks[0]).await;
    assert_eq!((over.claims, over.failures), (4, 3));
    mesh.end(laptop).await;
}

/// promise: Tasks | An attempt that an heir's worker makes goes on while the submitter is back; the heir begins no other, and what it did not begin goes back
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_at_an_heir_ends_there_and_the_rest_goes_back() {
    let (mesh, tasks) = Mesh::taken_over([job(), job()]).await;
    let running = work(&mesh.heir, "job").await;
    assert_eq!(running.task.id, tasks[0]);
    let laptop = mesh.back().await;
    // the heir has let go of the other one once its own worker gets nothing while the first one runs
    let critical = mesh.founder.critical().unwrap();
    let asked = async {
        while critical.list(KeyQuery::prefix(format!("own/{}/asks/", laptop.did()))).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the submitter asks for its tasks");
    let board = mesh.heir.tasks();
    let given_back = async {
        while matches!(board.get(tasks[1]).await.unwrap().why, Some(TaskWaits::NoWorker { .. })) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), given_back).await.expect("the heir lets go of what it did not begin");
    assert!(board.claim(ClaimQuery::of("job").wait(Duration::from_secs(2))).await.unwrap().is_none());
    drop(board);
    finish(&mesh.heir, &running, "by the heir").await;
    let first = mesh.over(&laptop, tasks[0]).await;
    assert_eq!((first.settler, first.claims), (mesh.heir.did(), 1));
    let second = mesh.done_by(&laptop, tasks[1]).await;
    assert_eq!(second.claims, 1);
    mesh.end(laptop).await;
}

/// An attempt that fails at an heir while the submitter is back is the last one there.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_at_an_heir_is_repeated_by_the_submitter() {
    let (mesh, tasks) = Mesh::taken_over([job()]).await;
    let running = work(&mesh.heir, "job").await;
    let laptop = mesh.back().await;
    let critical = mesh.founder.critical().unwrap();
    let asked = async {
        while critical.list(KeyQuery::prefix(format!("own/{}/asks/", laptop.did()))).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("the submitter asks for its tasks");
    // the heir looks again within a quarter of the 4 s after which it would take tasks over
    tokio::time::sleep(Duration::from_secs(3)).await;
    let board = mesh.heir.tasks();
    let beside = board.claim(ClaimQuery::of("job").wait(Duration::from_secs(60)));
    let goes_on = async {
        fail(&mesh.heir, &running, "no luck".to_owned()).await;
        mesh.done_by(&laptop, tasks[0]).await
    };
    let over = tokio::select! {
        claimed = beside => panic!("the heir begins it again: {claimed:?}"),
        over = goes_on => over,
    };
    assert_eq!((over.claims, over.failures), (2, 1));
    drop(board);
    mesh.end(laptop).await;
}
