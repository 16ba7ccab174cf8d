//! Recall as people and agents use it: honest answers, other words, copies, and an index that survives its disk.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use crate::support::{self, Home, until};
use serde_json::{Value, json};

/// A small team's memory.
const TEXTS: [&str; 12] = [
    "The staging database is on port 5433 of db-stg-2.",
    "Licence policy: nothing under the GPL in the apps.",
    "We deploy from the main branch on Tuesdays.",
    "The nightly backup of PostgreSQL ends at four in the morning.",
    "Use pnpm and not npm in the frontend",
    "Invoices are rounded half up, to whole cents.",
    "The Kubernetes cluster has three nodes, all in Frankfurt.",
    "Sockets time out after 60 s at the proxy, before the client's keep-alive ends.",
    "maxRetryBudget is 3 for each request",
    "Files are read as utf-8, also on Windows",
    "Die Rechnungen verschickt Tomasz am Monatsanfang.",
    "Ivo reviews changes of the ledger.",
];

fn filled() -> (Home, support::Node) {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    for text in TEXTS {
        home.json(&["remember", text]);
    }
    (home, node)
}

fn recall(home: &Home, more: &[&str]) -> Vec<Value> {
    home.json(&[&["recall"][..], more].concat()).as_array().unwrap().clone()
}

fn first(home: &Home, question: &str) -> String {
    let hits = recall(home, &[question]);
    let first = hits.first().filter(|hit| hit["weak"] == false);
    first.map_or_else(String::new, |hit| hit["text"].as_str().unwrap().to_owned())
}

/// promise: Recall | A question that no memory answers is told so, with at most three weak ones; stop words never count
#[test]
fn nothing_speaks_of_what_nobody_wrote() {
    let (home, _node) = filled();
    for question in
        ["Is Lyon the capital of France?", "Which team won the world cup in 1998?", "Wie hoch ist der Eiffelturm?"]
    {
        let hits = recall(&home, &[question]);
        assert!(hits.len() <= 3 && hits.iter().all(|hit| hit["weak"] == true), "{question}: {hits:?}");
    }
    let told = home.run(&["recall", "Which nodes of Kafka are in Oslo?"]).ok().stdout;
    assert!(told.is_empty() || told.contains("nothing speaks of that"), "{told}");
    let score = |hit: &Value| hit["score"].as_f64().unwrap();
    let hits = recall(&home, &["On which port is the staging database?"]);
    assert!(score(&hits[0]) > 0.5 && hits.iter().all(|hit| (0.0..=1.0).contains(&score(hit))), "{hits:?}");
    assert!(hits.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])));
    assert_eq!(recall(&home, &["staging database", "--min", "0.25"]).len(), 1);
    assert_eq!(home.run(&["recall", "staging", "--min", "2"]).code, 2);
    // a question of stop words alone matches them
    assert!(!recall(&home, &["after all"]).is_empty());
    let why = hits[0]["why"].as_str().unwrap();
    assert!(why.contains("“port”") && !why.contains("laptop") && !why.contains("ago"), "{why}");
}

/// promise: Recall | Misspelled and cut words, parts of names and words of two languages find what they mean
#[test]
fn rare_words_are_found_as_people_type_them() {
    let (home, _node) = filled();
    for (question, part) in [
        ("kuberntes", "Kubernetes"),
        ("utf8", "utf-8"),
        ("postgres", "PostgreSQL"),
        ("retry budget", "maxRetryBudget"),
        ("maxretrybudget", "maxRetryBudget"),
        ("k8s cluster", "Kubernetes"),
        ("Rechnung", "Rechnungen"),
        ("invoice rounding", "rounded"),
        ("5433", "5433"),
    ] {
        assert!(first(&home, question).contains(part), "{question}: {:?}", recall(&home, &[question]));
    }
}

/// promise: Recall | Aliases and further phrasings find a memory whose words nobody remembers
#[test]
fn other_words_find_a_memory() {
    let (home, _node) = filled();
    let question = "How do we bill customers fairly?";
    assert_eq!(first(&home, question), "");
    let told = home.run(&["recall", question]).ok().stdout;
    assert!(told.contains("nothing speaks of that"), "{told}");
    // the same in other words
    let hits = recall(&home, &[question, "--or", "invoices are rounded", "--or", "cents half up"]);
    assert!(hits[0]["text"].as_str().unwrap().starts_with("Invoices") && hits[0]["weak"] == false, "{hits:?}");
    let (code, error) = home.error(&["recall", "a1", "--or", "b1", "--or", "c1", "--or", "d1", "--or", "e1"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");

    // other words, given with the memory
    let id = home.json(&["recall", "cents"])[0]["id"].as_str().unwrap().to_owned();
    let without = home.json(&["list", "--no-aliases"])["items"].as_array().unwrap().len();
    let edited = home.json(&["edit", &id, "--alias", "bill customers", "--alias", "fair amounts"]);
    assert_eq!(edited["aliases"], json!(["bill customers", "fair amounts"]));
    assert_eq!(home.json(&["list", "--no-aliases"])["items"].as_array().unwrap().len(), without - 1);
    until("the index has them", || first(&home, question).starts_with("Invoices").then_some(()));
    let why = recall(&home, &[question])[0]["why"].clone();
    assert_eq!(why, "Its aliases have “bill”, “customers”, “fairly”.");
    assert!(home.run(&["get", &id]).ok().stdout.contains("fair amounts"));
    let written = home.json(&["remember", "Elk is for lunch on Mondays", "--alias", "canteen menu", "--id", "lunch"]);
    assert!(first(&home, "canteen menu").starts_with("Elk"));
    // written again under its key it keeps them
    home.json(&["remember", "Elk is for lunch on Fridays", "--id", "lunch"]);
    assert_eq!(home.json(&["get", written["id"].as_str().unwrap()])["aliases"], json!(["canteen menu"]));
}

/// promise: Bad input | Aliases that are too many or too long are refused; those of others are shown within the bound
#[test]
fn aliases_are_bounded() {
    let home = Home::new();
    let node = home.up();
    let long = "x".repeat(65);
    for aliases in [vec![long.as_str()], vec!["word"; 9], vec![""]] {
        let body = json!({ "text": "a text", "aliases": aliases }).to_string();
        assert_eq!(node.http("POST", "/v1/memories", &body).status, 422, "{aliases:?}");
    }
    let huge = json!({ "text": "a text", "aliases": ["y".repeat(30_000)] }).to_string();
    let refused = node.http("POST", "/v1/memories", &huge);
    assert!([413, 422].contains(&refused.status), "{}", refused.status);
    assert_eq!(home.json(&["status"])["memories"], 0);
    let many: String = (0..10_000).map(|n| format!("&q=word{n}")).collect();
    let refused = node.http("GET", &format!("/v1/memories?q=word{many}"), "");
    assert!([400, 414, 422, 431].contains(&refused.status), "{}", refused.status);
}

/// promise: Recall | One of several memories of the same text is shown, with the ids of the others
#[test]
fn copies_stand_beside_the_one_that_is_shown() {
    let (home, _node) = filled();
    let written = home.json(&["remember", " Use pnpm and  not npm\nin the frontend"]);
    let older = written["duplicate_of"].as_str().expect("it is noted").to_owned();
    let hits = recall(&home, &["pnpm or npm in the frontend?"]);
    let same: Vec<&Value> = hits.iter().filter(|hit| hit["text"].as_str().unwrap().contains("pnpm")).collect();
    assert_eq!(same.len(), 1, "{hits:?}");
    assert_eq!((&same[0]["id"], &same[0]["same"]), (&written["id"], &json!([older])), "the latest of its author");
    // another number is another memory
    let other = home.json(&["remember", "The staging database is on port 5444 of db-stg-2."]);
    assert_eq!(other["duplicate_of"], Value::Null);
    let hits = recall(&home, &["staging database port"]);
    assert!(hits.iter().filter(|hit| hit["text"].as_str().unwrap().contains("db-stg-2")).count() == 2, "{hits:?}");
}

/// promise: Recall | Of a memory that was superseded recall shows what holds now, and at another time what held then
#[test]
fn a_superseded_memory_is_found_for_its_time_alone() {
    let (home, node) = filled();
    let texts = |more: &[&str]| -> Vec<String> {
        let hits = recall(&home, &[&["On which port does the gateway listen?", "--min", "0.3"], more].concat());
        hits.iter().map(|hit| hit["text"].as_str().unwrap().to_owned()).collect()
    };
    let (before, now) = ("The gateway listens on port 7001.", "The gateway listens on port 7002.");
    let told = ["--kind", "fact", "--tag", "gateway", "--valid-from", "2026-01-01"];
    let former = home.json(&[&["remember", before][..], &told].concat())["id"].as_str().unwrap().to_owned();
    assert_eq!(texts(&[]), [before]);
    let id = home.json(&["supersede", &former, now, "--valid-from", "2026-06-01"])["id"].as_str().unwrap().to_owned();
    let check = || {
        assert_eq!(texts(&[]), [now]);
        assert_eq!(texts(&["--valid-at", "2026-03-01"]), [before]);
        assert_eq!(texts(&["--valid-at", "2026-06-01T00:00:00Z"]), [now], "the end is not part of it");
        assert_eq!(texts(&["--valid-at", "2025-12-31"]), [""; 0]);
        assert_eq!(texts(&["--valid-at", "ever"]).len(), 2);
    };
    check();
    let memory = home.json(&["get", &id]);
    assert_eq!(
        (&memory["supersedes"], &memory["kind"], &memory["tags"]),
        (&json!(former), &json!("fact"), &json!(["gateway"]))
    );
    let ended = home.json(&["get", &former]);
    assert_eq!(
        (&ended["valid_to"], &ended["fields"]["valid_to"]["author_name"]),
        (&json!("2026-06-01T00:00:00.000Z"), &json!("laptop"))
    );
    assert!(home.run(&["list"]).ok().stdout.contains("(until "), "the list says so");

    // from the index on disk
    drop(node);
    let node = home.up();
    check();
    // over the export and the import of another mesh
    let lines = home.run(&["export"]).ok().stdout;
    let other = Home::new();
    let _other = other.up();
    let file = other.path().join("lines.jsonl");
    std::fs::write(&file, lines).unwrap();
    other.run(&["import", file.to_str().unwrap()]).ok();
    let there = other.json(&["recall", "On which port does the gateway listen?", "--min", "0.3"]);
    assert_eq!((there.as_array().unwrap().len(), &there[0]["text"]), (1, &json!(now)), "{there}");

    // a mistake is taken back
    home.json(&["edit", &former, "--valid-to", "never"]);
    assert_eq!(texts(&[]).len(), 2);
    home.json(&["edit", &former, "--valid-to", "now"]);
    assert_eq!(texts(&[]), [now]);
    // asked again under its key it is written once
    let again = ["remember", "The gateway listens on port 7003.", "--id", "gateway", "--supersedes", &id];
    let first = home.json(&again);
    assert_eq!(home.json(&again)["id"], first["id"]);
    assert_eq!(texts(&[]), ["The gateway listens on port 7003."]);

    for bad in [
        &["supersede", &former, "x", "--valid-from", "yesterday"][..],
        &["recall", "gateway", "--valid-at", "soon"],
        &["remember", "x", "--valid-from", "2026-02-02", "--valid-to", "2026-02-02"],
        &["supersede", &former, "before it began", "--valid-from", "2025-01-01"],
    ] {
        assert_eq!(home.run(bad).code, 2, "{bad:?}");
    }
    assert_eq!(home.error(&["supersede", "nothing-of-this-name", "x"]).1["code"], "not_found");
    home.json(&["space", "create", "ops"]);
    let (code, error) = home.error(&["remember", "x", "--space", "ops", "--supersedes", &id]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid")), "{error}");
    // a number is no moment
    let bad = node.http("POST", "/v1/memories", r#"{"text":"x","valid_from":7}"#);
    assert_eq!(bad.status, 422);
}

/// promise: Recall | A damaged index is made anew, at the start and while it runs, and every memory is found again
#[test]
fn an_index_survives_any_flipped_byte() {
    let (home, node) = filled();
    let search = home.path().join("search");
    let committed = || std::fs::read_to_string(search.join("meta.json")).unwrap_or_default().contains("max_doc");
    until("it is on disk", || committed().then_some(()));
    drop(node);
    let files = || {
        let all = support::files(&search).into_iter();
        all.filter(|(path, _)| path.extension().is_some_and(|kind| kind == "pos" || kind == "term" || kind == "store"))
    };
    let mut tried = 0;
    while tried < 6 {
        let mut some: Vec<_> = files().collect();
        some.sort();
        let (path, mut bytes) = some[tried % some.len()].clone();
        let at = (tried * 7 + 8) % bytes.len();
        bytes[at] ^= 255;
        std::fs::write(&path, bytes).unwrap();
        let node = home.up();
        assert!(first(&home, "staging database port").contains("5433"), "{}", path.display());
        assert!(home.log().contains("the search index is damaged: it is made anew"), "{}", home.log());
        until("it is on disk again", || committed().then_some(()));
        drop(node);
        tried += 1;
    }
}
