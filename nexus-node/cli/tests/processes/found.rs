//! Recall finds every script and every form of a word, hides nothing, and puts the answer first.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::support::{self, Home};
use serde_json::{Value, json};

fn filled(texts: &[&str]) -> (Home, support::Node) {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    for text in texts {
        home.json(&["remember", text]);
    }
    (home, node)
}

fn recall(home: &Home, question: &str) -> Vec<Value> {
    home.json(&["recall", question]).as_array().unwrap().clone()
}

fn texts(hits: &[Value]) -> Vec<String> {
    hits.iter().map(|hit| hit["text"].as_str().unwrap().to_owned()).collect()
}

/// promise: Recall | Memories of the same words in another order, with another sign or number are all shown
#[test]
fn nothing_is_hidden_behind_another_memory() {
    let pairs = [
        ("Alice reports to Bob", "Bob reports to Alice"),
        ("the nightly backup runs before the migration job", "the migration job runs before the nightly backup"),
        ("copy files from the laptop to the server", "copy files from the server to the laptop"),
        ("merge develop into main", "merge main into develop"),
        ("mv a.txt b.txt", "mv b.txt a.txt"),
        ("rename column user_id to account_id", "rename column account_id to user_id"),
        ("this file is read through and never written", "this file is written through and never read"),
        ("grep -v leaves lines out", "grep -V leaves lines out"),
        ("the flat has 42 m²", "the flat has 42 m2"),
        ("alert if the queue is > 500", "alert if the queue is < 500"),
        ("deploys go to staging first", "deploys go to production first"),
        ("the offset is -5 degrees", "the offset is 5 degrees"),
    ];
    let (home, _node) = filled(&[]);
    for (one, other) in pairs {
        home.json(&["remember", one]);
        let written = home.json(&["remember", other]);
        assert_eq!(written["duplicate_of"], Value::Null, "{one} | {other}");
        for asked in [one, other] {
            let hits = recall(&home, asked);
            let shown = texts(&hits);
            assert_eq!(shown.first().map(String::as_str), Some(asked), "the very text comes first");
            assert!(
                shown.iter().any(|text| text == one) && shown.iter().any(|text| text == other),
                "{asked}: {shown:?}"
            );
            assert!(hits.iter().all(|hit| hit.get("same").is_none()), "{asked}: {hits:?}");
        }
    }
    // white space and the form of letters are no difference
    let first = home.json(&["remember", "la  re\u{301}union\nest lundi"]);
    let second = home.json(&["remember", "la réunion est lundi"]);
    assert_eq!(second["duplicate_of"], first["id"]);
    let hits = recall(&home, "réunion lundi");
    assert_eq!((hits.len(), &hits[0]["same"]), (1, &json!([first["id"]])), "{hits:?}");
}

/// promise: Recall | Every script and every length is found: sentences without spaces, hashes, long names, paths
#[test]
fn every_script_and_every_length_is_found() {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let name = "AbstractTransactionalPaymentReconciliationSchedulerFactoryBeanImpl";
    let long = format!("the image is {hash}");
    let class = format!("rename {name} before the release");
    let with = [
        ("今天下午我们决定把所有数据库备份迁移到新柏林", "备份迁移"),
        ("今天下午我们决定把所有数据库备份迁移到新柏林", "今天下午我们决定把所有数据库备份迁移到新柏林"),
        ("昨日の障害はキャッシュサーバーの設定ミスが原因でした", "キャッシュサーバー"),
        ("เราตัดสินใจย้ายฐานข้อมูลทั้งหมดไปยังเซิร์ฟเวอร์ใหม่ในวันศุกร์", "ย้ายฐานข้อมูล"),
        ("ພວກເຮົາໄດ້ຕັດສິນໃຈຍ້າຍຖານຂໍ້ມູນທັງໝົດ", "ຖານຂໍ້ມູນ"),
        ("យើងបានសម្រេចចិត្តផ្លាស់ទីមូលដ្ឋានទិន្នន័យ", "មូលដ្ឋានទិន្នន័យ"),
        ("데이터베이스백업은매일새벽네시에끝납니다", "데이터베이스"),
        (&long, hash),
        (&long, &hash[..12]),
        (&class, name),
        (&class, "payment reconciliation scheduler"),
        (
            "the guide is at https://docs.example.org/guides/rollout.html?step=3",
            "https://docs.example.org/guides/rollout.html",
        ),
        ("read /srv/app/config/override.local.toml first", "override.local.toml"),
        ("issue 550e8400-e29b-41d4-a716-446655440000 is the payment", "550e8400-e29b-41d4-a716-446655440000"),
        ("猫のカフェは駅前です", "猫"),
    ];
    let filler = ["the weather is fine", "lunch is at noon", "我们周一开会", "คำสั่งซื้อของลูกค้า", "会議は月曜日です"];
    let (home, _node) = filled(&filler);
    for (text, _) in with {
        home.json(&["remember", text]);
    }
    for (text, question) in with {
        let hits = recall(&home, question);
        let first = hits.first().unwrap_or_else(|| panic!("{question} finds nothing"));
        assert_eq!((first["text"].as_str(), &first["telling"]), (Some(text), &json!(true)), "{question}: {hits:?}");
    }
}

/// promise: Recall | Words are found in any case, with and without accents, composed or not, and whatever nobody sees in them
#[test]
fn one_word_is_found_in_every_form() {
    let forms = [
        ("la réunion est lundi", "re\u{301}union lundi"),
        ("la re\u{301}union d'équipe", "réunion d'équipe"),
        ("việc họp", "vie\u{323}\u{302}c ho\u{323}p"),
        ("한국어 문서", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}\u{110b}\u{1165}"),
        ("the dead\u{ad}line moved", "deadline"),
        ("zero\u{200b}width character", "zerowidth"),
        ("ｆｕｌｌｗｉｄｔｈ names", "fullwidth"),
        ("the ﬁlter of ligatures", "filter ligatures"),
        ("İstanbul ofisi", "istanbul"),
        ("Straßenbahn", "STRASSENBAHN"),
        ("кластер Ёлка", "елка"),
    ];
    let (home, _node) = filled(&["nothing of these", "and nothing of those"]);
    for (text, _) in forms {
        home.json(&["remember", text]);
    }
    for (text, question) in forms {
        let hits = recall(&home, question);
        assert_eq!(hits.first().map(|hit| &hit["text"]), Some(&json!(text)), "{question}: {hits:?}");
        // as it was written
        assert_eq!(home.json(&["get", hits[0]["id"].as_str().unwrap()])["text"], text);
    }
    home.json(&["remember", "we chose Rust", "--kind", "Décision", "--tag", "Back-End"]);
    for (kind, tag) in [("décision", "back-end"), ("DECISION", "BACK-END"), ("de\u{301}cision", "Back-end")] {
        let hits = home.json(&["recall", "chose", "--kind", kind, "--tag", tag]);
        assert_eq!((&hits[0]["kind"], &hits[0]["tags"]), (&json!("Décision"), &json!(["Back-End"])), "{kind}");
    }
}

/// promise: Recall | A memory with all words of a question comes before those that lack some, however long its text is
#[test]
fn all_words_come_first_however_long_the_text_is() {
    let filler = "The on-call engineer looked at the graphs and nobody found a reason for it at first. ".repeat(44);
    let long = format!(
        "Incident of 3 May\n\n{filler}\n\nA database restore took 47 minutes since the disk was slow.\n\n{filler}"
    );
    let (home, _node) = filled(&[
        "customers table has soft deletes",
        "the report of sales is due on Monday",
        "database of staging is small",
        "restore the branch from the remote",
        "the database needs an index",
    ]);
    let id = home.json(&["remember", &long, "--alias", "outage", "--alias", "incident report", "--tag", "postmortem"])
        ["id"]
        .clone();
    for question in
        ["incident report", "database restore minutes", "outage", "restore took 47 minutes", "incident of 3 May"]
    {
        let hits = recall(&home, question);
        assert_eq!(hits[0]["id"], id, "{question}: {:?}", texts(&hits));
        let passage = hits[0]["passage"].as_str().unwrap();
        assert!(passage.chars().count() <= 400, "{passage}");
        let weak: Vec<bool> = hits.iter().map(|hit| hit["weak"].as_bool().unwrap()).collect();
        assert!(weak.is_sorted(), "weak ones come last: {weak:?}");
    }
    let hits = recall(&home, "how long did the database restore take");
    let passage = hits[0]["passage"].as_str().unwrap();
    assert!(passage.contains("47 minutes") && passage.starts_with("… ") && passage.ends_with(" …"), "{passage}");
    // a person sees the part, and the way to the rest
    let told = home.run(&["recall", "database restore minutes"]).ok().stdout;
    assert!(told.contains("47 minutes") && told.contains("a part; whole: nexus-node get"), "{told}");
    assert!(told.chars().count() < 3_000, "{told}");
    // and so does an agent, by a hook
    let asked = json!({ "prompt": "how long did the database restore take?" }).to_string();
    let told = home.run_with(&["hook", "prompt", "--no-project"], asked.as_bytes()).ok().stdout;
    let short: String = id.as_str().unwrap().chars().take(8).collect();
    let line = told.lines().find(|line| line.starts_with(&format!("- [{short}")));
    let (_, shown) = line.unwrap_or_else(|| panic!("{told}")).split_once("] ").unwrap();
    assert!(shown.chars().count() <= 400 && shown.contains("47 minutes"), "{shown}");
    assert_eq!(shown, passage.split_whitespace().collect::<Vec<_>>().join(" "), "the part that recall shows");
    assert!(told.contains("recall") || told.contains("nexus-node get"), "the way to the rest: {told}");
}

/// promise: Recall | A word of the mesh's vocabulary is the other, and so is a usual short form
#[test]
fn a_word_of_the_vocabulary_is_the_other() {
    let (home, _node) = filled(&[
        "deploys go out on Tuesday",
        "free shipping is above 49 EUR",
        "the kubernetes cluster has three nodes",
        "the production environment is in Frankfurt",
        "authentication goes over the proxy",
        "the repository has two remotes",
    ]);
    home.json(&["vocabulary", "add", "deploy", "ship it", "release"]);
    for (question, part) in [
        ("release", "deploys"),
        ("k8s", "kubernetes"),
        ("prod env", "production environment"),
        ("auth", "authentication"),
        ("repo remotes", "repository"),
    ] {
        let hits = recall(&home, question);
        let first = &hits[0];
        assert!(first["text"].as_str().unwrap().contains(part) && first["weak"] == false, "{question}: {hits:?}");
        assert!(!home.run(&["recall", question]).ok().stdout.contains("nothing speaks"), "{question}");
    }
    let shown = texts(&recall(&home, "when do we ship it"));
    assert!(shown.iter().any(|text| text.contains("deploys")), "{shown:?}");
}

/// promise: Recall | A question of two words whose rare word is there is answered, and never told that nothing speaks of it
#[test]
fn a_rare_word_of_a_short_question_is_no_nothing() {
    let (home, _node) = filled(&[
        "seeds: everything uses seed 1337",
        "the nas is at 192.168.1.20",
        "airflow runs in UTC",
        "the printer is on the second floor",
        "lunch is at noon",
    ]);
    for (question, part) in [
        ("what random seed", "1337"),
        ("ip of the nas", "192.168"),
        ("what timezone is airflow", "UTC"),
        ("printer wifi", "floor"),
    ] {
        let hits = recall(&home, question);
        assert!(hits[0]["text"].as_str().unwrap().contains(part) && hits[0]["telling"] == true, "{question}: {hits:?}");
        assert!(!home.run(&["recall", question]).ok().stdout.contains("nothing speaks"), "{question}");
    }
    let told = home.run(&["recall", "which team won the world cup in 1998"]).ok().stdout;
    assert!(told.contains("nothing speaks"), "{told}");
}

/// promise: Recall | A new memory that seems to contradict an older one is told so when it is written, and both are shown
#[test]
fn a_contradiction_is_told_when_it_is_written() {
    let (home, _node) = filled(&[]);
    for (former, later) in [
        ("standup is at 9:45", "standup is at 10:00"),
        ("releases go out on Tuesday", "releases go out on Thursday"),
        ("the staging database is on port 5432", "the staging database is on port 5499"),
        ("use npm in the frontend", "use pnpm in the frontend"),
        ("the office is in Berlin", "the office is in Hamburg"),
        ("the gateway is on version 1.4.2", "the gateway is on version 1.5.0"),
        ("the budget of ads is 2,500 EUR", "the budget of ads is 3,000 EUR"),
        ("deploys on Friday are allowed", "deploys on Friday are not allowed"),
        ("tracing of requests is enabled", "tracing of requests is disabled"),
    ] {
        let first = home.json(&["remember", former]);
        assert!(first.get("contradicts").is_none(), "{former}: {first}");
        let second = home.json(&["remember", later]);
        assert_eq!(second["contradicts"], json!([first["id"]]), "{later}");
        assert_eq!(second["duplicate_of"], Value::Null, "{later}");
        let hits = recall(&home, later);
        let shown = texts(&hits);
        assert!(shown.contains(&former.to_owned()) && shown.contains(&later.to_owned()), "{shown:?}");
        assert_eq!((&hits[0]["text"], &hits[0]["contradicts"]), (&json!(later), &json!([first["id"]])), "{hits:?}");
    }
    home.json(&["remember", "retro is on Monday"]);
    let told = home.run(&["remember", "retro is on Friday"]).ok();
    assert!(told.stderr.contains("may contradict") && told.stderr.contains("retro is on Monday"), "{}", told.stderr);
    // with its key it is a change and no contradiction
    home.json(&["remember", "the demo is on Monday", "--id", "demo-day"]);
    let changed = home.json(&["remember", "the demo is on Friday", "--id", "demo-day"]);
    assert_eq!((&changed["replaced"], changed.get("contradicts")), (&json!(true), None));
}

/// promise: Recall | A new memory that seems to contradict an older one is told so when it is written, and both are shown
#[test]
fn a_former_value_in_brackets_and_another_host_hide_no_contradiction() {
    let (home, _node) = filled(&["lunch is at noon"]);
    let former = home.json(&["remember", "the staging postgres is on port 5432 on db-stg-1"])["id"].clone();
    let text = "the staging postgres moved to port 5433 (pgbouncer took 5432) on db-stg-2";
    let later = home.json(&["remember", text]);
    assert_eq!((&later["contradicts"], &later["duplicate_of"]), (&json!([former]), &Value::Null), "{later}");
    let hits = recall(&home, "staging postgres port");
    assert_eq!(hits.iter().filter(|hit| hit["id"] == former || hit["id"] == later["id"]).count(), 2, "{hits:?}");
}

/// promise: Commands and API | A key or the name of a space that differs from another one only in case or form is refused, and found in any case
#[test]
fn a_key_or_a_space_is_not_made_twice_in_another_case() {
    let (home, _node) = filled(&[]);
    let first = home.json(&["remember", "standup is at 9", "--id", "Stand-Up"]);
    for key in ["stand-up", "STAND-UP", "ｓｔａｎｄ-up"] {
        let (code, error) = home.error(&["remember", "standup is at 10", "--id", key]);
        assert_eq!((code, &error["code"]), (7, &json!("name_taken")), "{key}: {error}");
        assert!(error["message"].as_str().unwrap().contains("Stand-Up"), "{error}");
        assert_eq!(home.json(&["get", key])["id"], first["id"], "{key}");
    }
    assert_eq!(home.json(&["remember", "standup is at 10", "--id", "Stand-Up"])["replaced"], true);
    home.run(&["forget", "stand-up"]).ok();
    // it is free again, in another form as well
    home.json(&["remember", "standup is at 11", "--id", "stand-up"]);

    home.json(&["space", "create", "Réseau"]);
    for name in ["réseau", "RÉSEAU", "re\u{301}seau"] {
        let (code, error) = home.error(&["space", "create", name]);
        assert_eq!(code, 7, "{name}: {error}");
    }
    let written = home.json(&["remember", "the switch is in the cellar", "--space", "réseau"]);
    assert_eq!(written["space"], "Réseau");
}
