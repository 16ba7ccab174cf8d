//! An example for embedders: your own agent on simulated nodes, through a partition, by seed.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_node::memory::ListQuery;
use nexus_node::{NewMemory, Node, WatchQuery};
use nexus_sim::{Crash, SimError, World, isolated};

/// An agent that answers the questions in the memory.
async fn answers(node: Node) {
    let brain = node.brain();
    let Ok(mut watch) = brain.watch(WatchQuery::from_now()).await else { return };
    while let Ok(Some(change)) = watch.next().await {
        let Some(id) = change.subject.memory() else { continue };
        let Ok(memory) = brain.get(id).await else { continue };
        if let Some(question) = memory.text.strip_prefix("question: ") {
            let answer = NewMemory::note(format!("answer to {question}: 42"));
            if brain.remember(answer).await.is_err() {
                return;
            }
        }
    }
}

fn answered(node: &Node) -> usize {
    let all = node.brain().list_blocking(&ListQuery::newest()).unwrap().items;
    all.iter().filter(|memory| memory.text.starts_with("answer")).count()
}

#[test]
fn an_agent_answers_what_was_asked_while_it_was_away() {
    isolated(1..4, |seed| {
        let took = World::new(seed).run(async |sim| {
            let desk = sim.found("desk").await?;
            let agent = sim.join("agent", desk).await?;
            sim.spawn(agent, answers)?;
            sim.settled(Duration::from_secs(30)).await?;

            sim.cut(desk, agent);
            for n in 0..5 {
                let question = NewMemory::note(format!("question: {n}"));
                sim.on(desk, async |node| node.brain().remember(question).await).await?;
            }
            sim.sleep(Duration::from_secs(600)).await;
            assert_eq!(answered(&sim.node(desk).unwrap()), 0);

            sim.mend(desk, agent);
            let asked = sim.now();
            while answered(&sim.node(desk).unwrap()) < 5 {
                assert!(sim.now() - asked < Duration::from_secs(90), "no answers: {}", sim.who_lacks_what());
                sim.sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, SimError>(sim.now() - asked)
        });
        assert!(took.unwrap() < Duration::from_secs(90));
    });
}

#[test]
fn what_was_acknowledged_survives_the_power() {
    isolated(1..4, |seed| {
        World::new(seed)
            .run(async |sim| {
                let a = sim.found("a").await?;
                let id = sim.on(a, async |node| node.brain().remember(NewMemory::note("kept")).await).await?.id;
                sim.crash(a, Crash::Power);
                sim.sleep(Duration::from_secs(5)).await;
                sim.start(a).await?;
                assert_eq!(sim.node(a).unwrap().brain().get_blocking(id).unwrap().text, "kept");
                Ok::<_, SimError>(())
            })
            .unwrap();
    });
}
