//! A node gets another key.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::support::{Home, Node, pair, texts, until, until_listed};
use nexus_identity::Keypair;
use nexus_node::datadir::DataDir;
use serde_json::Value;

fn did(home: &Home) -> String {
    home.json(&["status"])["did"].as_str().unwrap().to_owned()
}

/// The DIDs of members, or of former members.
fn members(home: &Home, arguments: &[&str]) -> Vec<String> {
    let listed = home.json(&[&["members"], arguments].concat());
    listed.as_array().unwrap().iter().map(|member| member["did"].as_str().unwrap().to_owned()).collect()
}

/// A third machine in the mesh of `inviter`.
fn joined(inviter: &Home, name: &str) -> (Home, Node) {
    let home = Home::new();
    let ticket = inviter.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    home.json(&["join", &ticket, "--name", name]);
    let node = home.up();
    (home, node)
}

/// promise: Revocations | `key rotate` gives a node another key; its name, page and memories stay, and its locks end
#[test]
fn a_node_gets_another_key_and_keeps_the_rest() {
    let ((laptop, _first), (cloud, second)) = pair();
    let (third, _third) = joined(&laptop, "third");
    cloud.json(&["remember", "before"]);
    for home in [&laptop, &third] {
        until_listed(home, &["before"]);
    }
    until("keys work", || (cloud.run(&["lock", "acquire", "deploy", "--ttl", "10m"]).code == 0).then_some(()));
    let (former, page, name) = (did(&cloud), second.address(), cloud.json(&["status"])["name"].clone());

    let rotated = cloud.json(&["key", "rotate", "--yes"]);
    let new = did(&cloud);
    assert_eq!((rotated["did"].as_str(), rotated["former"].as_str()), (Some(&*new), Some(&*former)));
    assert_ne!(new, former);
    assert_eq!((cloud.json(&["status"])["name"].clone(), second.address()), (name, page));
    assert_eq!(texts(&cloud), ["before"]);
    cloud.json(&["remember", "later"]);
    for home in [&laptop, &third, &cloud] {
        until_listed(home, &["before", "later"]);
        until("the new key is a member, the former one is none", || {
            let (now, former_ones) = (members(home, &[]), members(home, &["--revoked"]));
            (now.contains(&new) && !now.contains(&former) && former_ones == [former.clone()]).then_some(())
        });
        let ended = &home.json(&["members", "--revoked"])[0];
        assert_eq!(ended["revoked"]["by"].as_str(), Some(&*new));
    }
    until("the lock is free", || laptop.json(&["lock", "list"]).as_array().unwrap().is_empty().then_some(()));
    assert!(!cloud.path().join("identity.key.next").exists());
    // again, and over restarts
    second.kill_9();
    let again = cloud.up();
    // once a day by itself, more often by an admin's word
    let (code, problem) = cloud.error(&["key", "rotate", "--yes"]);
    assert_eq!((code, problem["code"].as_str()), (4, Some("refused")), "{problem}");
    assert!(problem["message"].as_str().unwrap().contains("once a day"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("key rotate --for"), "{problem}");
    assert_eq!(did(&cloud), new);
    assert_eq!(cloud.error(&["key", "rotate", "--for", &did(&laptop)]).0, 4, "it is no admin's");
    assert_eq!(laptop.error(&["key", "rotate", "--for", "nobody"]).0, 5);
    assert_eq!(laptop.error(&["key", "rotate", "--for", &did(&laptop)]).0, 4);
    assert_eq!(laptop.run(&["key", "rotate", "--for", &new, "--root"]).code, 2);
    let allowed = laptop.json(&["key", "rotate", "--for", &new]);
    assert_eq!(allowed["did"].as_str(), Some(&*new));
    assert!(allowed["until"].as_str().unwrap().ends_with('Z'), "{allowed}");
    cloud.json(&["key", "rotate", "--yes"]);
    until("both former keys are known", || (members(&cloud, &["--revoked"]).len() == 2).then_some(()));
    again.terminate();
    let _again = cloud.up();
    cloud.json(&["remember", "with the third key"]);
    for home in [&laptop, &third] {
        until_listed(home, &["before", "later", "with the third key"]);
    }
}

/// A further admin in the mesh of `inviter`.
fn admin(inviter: &Home, name: &str) -> (Home, Node) {
    let home = Home::new();
    let ticket = inviter.json(&["invite", "--role", "admin"])["ticket"].as_str().unwrap().to_owned();
    home.json(&["join", &ticket, "--name", name]);
    let node = home.up();
    (home, node)
}

/// promise: Tasks | A new key makes nobody an approver: whom a former key admitted stays below the present one
#[test]
fn whom_a_former_key_admitted_is_still_its_own() {
    let alice = Home::new();
    alice.json(&["init", "--name", "alice"]);
    let _alice = alice.up();
    let (dora, _dora) = admin(&alice, "dora");
    let (eve, _eve) = admin(&dora, "eve");
    let (fay, _fay) = admin(&eve, "fay");
    let all = [&alice, &dora, &eve, &fay];
    let until_all_know = |key: &str| {
        for home in all {
            until("all know each other", || {
                let known = members(home, &[]);
                (known.len() == 4 && known.contains(&key.to_owned())).then_some(())
            });
        }
    };
    until_all_know(&did(&dora));
    let approvers = |key: &str| {
        let task =
            dora.json(&["task", "submit", "deploy", "--approved-by", "other"])["id"].as_str().unwrap().to_owned();
        let approve = |home: &Home| {
            until("the task is here", || (home.run(&["task", "show", &task]).code == 0).then_some(()));
            home.approve(&task).status
        };
        assert_eq!([&dora, &eve, &fay].map(approve), [403, 403, 403], "{key}");
        assert_eq!(approve(&alice), 200, "{key}");
    };
    approvers("with the first key");
    let former = did(&dora);
    dora.json(&["key", "rotate", "--yes"]);
    let now = did(&dora);
    until_all_know(&now);
    approvers("with the second key");
    let admitted_by = |home: &Home, who: &str| {
        let listed = home.json(&["members"]);
        let member = listed.as_array().unwrap().iter().find(|member| member["name"] == who).unwrap();
        member["admitted_by"].as_str().unwrap().to_owned()
    };
    for home in [&alice, &fay] {
        assert_eq!((admitted_by(home, "eve"), admitted_by(home, "fay")), (now.clone(), did(&eve)));
        assert_eq!(admitted_by(home, "dora"), did(&alice));
    }
    assert_ne!(now, former);
    // none of them is kept
    let revoked = alice.json(&["revoke", "dora", "--keep", "alice", "--yes"]);
    let fallen: std::collections::BTreeSet<&str> =
        revoked["fallen"].as_array().unwrap().iter().map(|did| did.as_str().unwrap()).collect();
    assert_eq!(fallen, [&*did(&eve), &*did(&fay)].into());
    assert_eq!(members(&alice, &[]), [did(&alice)]);
}

/// promise: Revocations | Without an admin's node a key cannot be changed, and nothing changes
#[test]
fn without_an_admin_nothing_changes() {
    let ((_laptop, first), (cloud, second)) = pair();
    first.terminate();
    let before = did(&cloud);
    until("the inviter is away", || {
        let peers = cloud.json(&["peers"]);
        (peers[0]["state"] != "up").then_some(())
    });
    let (code, error) = cloud.error(&["key", "rotate", "--yes"]);
    assert_eq!((code, error["code"].as_str()), (8, Some("unreachable")), "{error}");
    assert_eq!(did(&cloud), before);
    assert!(!cloud.path().join("identity.key.next").exists());
    cloud.json(&["remember", "goes on"]);
    second.terminate();
}

/// promise: Revocations | The root key gives a founder another key, and whom it had admitted stays
#[test]
fn the_root_gives_the_founder_another_key() {
    let ((laptop, _first), (cloud, _second)) = pair();
    laptop.json(&["remember", "by the founder"]);
    until_listed(&cloud, &["by the founder"]);
    let guest = did(&cloud);
    let rotated = laptop.json(&["key", "rotate", "--root", "--yes"]);
    let former = rotated["former"].as_str().unwrap().to_owned();
    assert_eq!(laptop.json(&["status"])["did"], rotated["did"]);
    for home in [&laptop, &cloud] {
        until("all know", || {
            let now = members(home, &[]);
            (now.contains(&did(&laptop)) && now.contains(&guest) && !now.contains(&former)).then_some(())
        });
        assert_eq!(texts(home), ["by the founder"]);
    }
    cloud.json(&["remember", "by the guest"]);
    until_listed(&laptop, &["by the founder", "by the guest"]);
    // an admin still
    let (later, _later) = joined(&laptop, "later");
    let later = did(&later);
    laptop.json(&["revoke", "later", "--root", "--yes"]);
    until("the root has ended it", || (!members(&cloud, &[]).contains(&later)).then_some(()));
    // keys and locks come back by the word of an admin
    until("keys work again", || {
        let put = laptop.run(&["kv", "put", "k", "v"]);
        if put.code == 6 {
            let _ = laptop.run(&["coordinator", "recover", "--i-understand"]);
        }
        (put.code == 0).then_some(())
    });
}

/// promise: Revocations | A change of the key that was interrupted goes on at the next start
#[test]
fn an_interrupted_change_goes_on_at_the_next_start() {
    let ((laptop, first), (cloud, second)) = pair();
    cloud.json(&["remember", "before"]);
    until_listed(&laptop, &["before"]);
    second.kill_9();
    first.terminate();
    let next = Keypair::generate();
    DataDir::open(&cloud.path()).unwrap().write_next_identity(&next).unwrap();
    // nobody answers: the node goes on as it was
    let second = cloud.up();
    let former = did(&cloud);
    assert_ne!(former, next.did().to_string());
    second.terminate();
    let _first = laptop.up();
    let second = cloud.up();
    assert_eq!(did(&cloud), next.did().to_string(), "{}", cloud.log());
    until_listed(&laptop, &["before"]);
    cloud.json(&["remember", "after"]);
    until_listed(&laptop, &["after", "before"]);
    // the answer was lost: the new key asks again
    second.terminate();
    let dir = DataDir::open(&cloud.path()).unwrap();
    dir.write_next_identity(&next).unwrap();
    let _second = cloud.up();
    assert_eq!(did(&cloud), next.did().to_string());
    let revoked: Vec<Value> = laptop.json(&["members", "--revoked"]).as_array().unwrap().clone();
    assert_eq!(revoked.len(), 1);
}

/// promise: Revocations | A newcomer takes the place of a member that is down, by a ticket of its own
#[test]
fn a_newcomer_takes_the_place_of_a_member_that_is_down() {
    let ((laptop, _first), (cloud, second)) = pair();
    cloud.json(&["remember", "by the lost machine"]);
    until_listed(&laptop, &["by the lost machine"]);
    let former = did(&cloud);
    let (code, problem) = laptop.error(&["invite", "--replace", "cloud"]);
    assert_eq!((code, problem["code"].as_str()), (4, Some("refused")), "{problem}");
    assert_eq!(laptop.error(&["invite", "--replace", "nobody"]).0, 5);
    assert_eq!(laptop.run(&["invite", "--replace", "cloud", "--uses", "2"]).code, 2);

    second.terminate();
    let ticket = until("it is down", || {
        let ran = laptop.run(&["invite", "--replace", "cloud", "--json"]);
        (ran.code == 0).then(|| ran.json()["ticket"].as_str().unwrap().to_owned())
    });
    // nothing ends while nobody uses it, nor while the member is back
    let second = cloud.up();
    until("it is back", || (laptop.json(&["status"])["peers"] == 1).then_some(()));
    let new = Home::new();
    let (code, problem) = new.error(&["join", &ticket, "--name", "cloud"]);
    assert!(code != 0 && problem["message"].as_str().unwrap().contains("is up"), "{problem}");
    assert!(members(&laptop, &["--revoked"]).is_empty());
    second.terminate();
    until("it takes its place", || (new.run(&["join", &ticket, "--name", "cloud"]).code == 0).then_some(()));

    let _third = new.up();
    assert_eq!(members(&laptop, &["--revoked"]), [former]);
    assert_eq!((members(&laptop, &[]).len(), members(&laptop, &[]).contains(&did(&new))), (2, true));
    until_listed(&new, &["by the lost machine"]);
    assert_ne!(Home::new().run(&["join", &ticket]).code, 0, "it was used");
    let _former = cloud.up();
    // within a second of its end it gets the proof, later the word of a peer that refuses it
    until("the former one is told", || {
        let status = cloud.json(&["status"]);
        let warned = status["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "revoked");
        (warned || status["membership"] != "member").then_some(())
    });
}
