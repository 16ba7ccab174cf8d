//! The source of a memory follows from the way it came: the page, the command line, MCP, plain HTTP, a file.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{self, Answer, Home, Node};
use serde_json::{Value, json};

/// All sources, in ascending order of trust.
const SOURCES: [&str; 4] = ["import", "tool", "model", "user"];

/// A way to the node, with the highest source of what comes that way.
#[derive(Clone, Copy, Debug)]
enum Route {
    Page,
    Http,
}

impl Route {
    const fn most(self) -> &'static str {
        match self {
            Self::Page => "user",
            Self::Http => "tool",
        }
    }

    fn ask(self, node: &Node, method: &str, path: &str, body: &Value) -> Answer {
        let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
        let (cookie, origin) = (cookie(node), format!("http://{address}"));
        let proof = match self {
            Self::Page => [("Cookie", cookie.as_str()), ("Origin", &origin), ("User-Agent", "Mozilla/5.0 (X11)")],
            Self::Http => [("Authorization", bearer.as_str()), ("Accept", "*/*"), ("User-Agent", "script/1.0 (x)")],
        };
        let headers = [&[("Host", address.as_str()), ("Content-Type", "application/json")], &proof[..]].concat();
        node.raw(method, path, &headers, body.to_string().as_bytes())
    }
}

fn cookie(node: &Node) -> String {
    let signed_in = node.http("POST", "/v1/session", "");
    let cookie = signed_in.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// The answer to a call of a tool over MCP.
fn call(node: &Node, tool: &str, arguments: Value) -> Value {
    const META: &str = "io.modelcontextprotocol";
    let params = json!({ "name": tool, "arguments": arguments, "_meta": {
        format!("{META}/protocolVersion"): "2026-07-28",
        format!("{META}/clientCapabilities"): {},
        format!("{META}/clientInfo"): { "name": "editor", "version": "2.0" },
    } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let (address, bearer) = (node.address(), format!("Bearer {}", node.token()));
    let headers = [
        ("Host", address.as_str()),
        ("Authorization", &bearer),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", tool),
    ];
    node.raw("POST", "/mcp", &headers, message.to_string().as_bytes()).json()["result"].clone()
}

/// The id in the answer of the tool `remember`: the second word.
fn id_in(answer: &Value) -> Value {
    let words = answer["content"][0]["text"].as_str().and_then(|text| text.split([' ', ',']).nth(1));
    words.unwrap_or_else(|| panic!("{answer}")).into()
}

fn get(node: &Node, id: &Value) -> Value {
    node.http("GET", &format!("/v1/memories/{}", id.as_str().unwrap()), "").json()
}

/// The one memory with this text.
#[track_caller]
fn found(node: &Node, text: &str) -> Value {
    let listed = node.http("GET", "/v1/memories", "").json();
    let mut found = listed["items"].as_array().unwrap().iter().filter(|memory| memory["text"] == text);
    let one = found.next().unwrap_or_else(|| panic!("{text}: {listed}")).clone();
    assert!(found.next().is_none(), "{text}: {listed}");
    one
}

/// promise: Commands and API | The source of a memory is the way it came, told for each field; a caller lowers it and never raises it
#[test]
fn the_source_of_a_memory_is_the_way_it_came_and_each_field_tells_its_own() {
    let home = Home::new();
    let node = home.up_with(&["--name", "laptop"]);
    let typed = home.json(&["remember", "typed", "--tag", "t"])["id"].clone();
    let clicked = Route::Page.ask(&node, "POST", "/v1/memories", &json!({ "text": "clicked" })).json()["id"].clone();
    let said = id_in(&call(&node, "remember", json!({ "text": "said" })));
    let posted = Route::Http.ask(&node, "POST", "/v1/memories", &json!({ "text": "posted" })).json()["id"].clone();
    home.run_with(&["import", "-"], b"{\"text\":\"read in\"}\n").ok();
    let uploaded = node.http("POST", "/v1/import", "{\"text\":\"uploaded\",\"agent\":\"another\"}\n");
    assert_eq!(uploaded.status, 200, "{uploaded:?}");
    for (memory, source, agent) in [
        (get(&node, &typed), "user", json!("nexus-node")),
        (get(&node, &clicked), "user", json!(null)),
        (get(&node, &said), "model", json!("editor")),
        (get(&node, &posted), "tool", json!("script")),
        (found(&node, "read in"), "import", json!("nexus-node")),
        (found(&node, "uploaded"), "import", json!("another")),
    ] {
        let origin = &memory["fields"]["text"];
        for told in [&memory, origin] {
            assert_eq!((&told["source"], &told["agent"]), (&json!(source), &agent), "{memory}");
            assert_eq!((&told["author"], &told["author_name"]), (&json!(node.text("did")), &json!("laptop")));
        }
        assert_eq!(origin["at"], memory["created_at"], "{memory}");
    }

    // an edit tells its own way, for the fields that it wrote
    let path = format!("/v1/memories/{}", typed.as_str().unwrap());
    assert_eq!(Route::Http.ask(&node, "PATCH", &path, &json!({ "text": "rewritten" })).status, 200);
    let edited = get(&node, &typed);
    assert_eq!((&edited["source"], &edited["agent"]), (&json!("tool"), &json!("script")), "{edited}");
    assert_eq!(edited["fields"]["text"]["source"], "tool");
    assert_eq!(edited["fields"]["tags"]["source"], "user");
    assert_eq!(home.json(&["get", typed.as_str().unwrap()])["fields"], edited["fields"], "the same to everybody");
    home.json(&["edit", typed.as_str().unwrap(), "settled"]);
    assert_eq!(get(&node, &typed)["fields"]["text"]["source"], "user");
}

/// promise: Commands and API | The source of a memory is the way it came, told for each field; a caller lowers it and never raises it
#[test]
fn a_caller_lowers_its_source_and_never_raises_it() {
    let home = Home::new();
    let node = home.up();
    let rank = |source: &str| SOURCES.iter().position(|known| *known == source).unwrap();
    for route in [Route::Page, Route::Http] {
        let mine = route.ask(&node, "POST", "/v1/memories", &json!({ "text": "mine" })).json()["id"].clone();
        let path = format!("/v1/memories/{}", mine.as_str().unwrap());
        for asked in SOURCES {
            let new = json!({ "text": format!("{route:?} {asked}"), "source": asked });
            let (written, edited) = (
                route.ask(&node, "POST", "/v1/memories", &new),
                route.ask(&node, "PATCH", &path, &json!({ "text": asked, "source": asked })),
            );
            if rank(asked) > rank(route.most()) {
                assert_eq!((written.problem().as_str(), edited.problem().as_str()), ("refused", "refused"));
                assert_ne!(get(&node, &mine)["text"], asked);
                continue;
            }
            assert_eq!((written.status, edited.status), (201, 200), "{route:?} {asked}");
            for id in [&written.json()["id"], &mine] {
                let memory = get(&node, id);
                assert_eq!((&memory["source"], &memory["fields"]["text"]["source"]), (&json!(asked), &json!(asked)));
            }
        }
    }
    for asked in SOURCES {
        let typed = home.json(&["remember", &format!("typed {asked}"), "--source", asked]);
        assert_eq!(get(&node, &typed["id"])["fields"]["text"]["source"], asked);
        let said = call(&node, "remember", json!({ "text": format!("said {asked}"), "source": asked }));
        if rank(asked) > rank("model") {
            let code = &said["structuredContent"]["error"]["code"];
            assert_eq!((&said["isError"], code), (&json!(true), &json!("refused")), "{said}");
        } else {
            assert_eq!(get(&node, &id_in(&said))["fields"]["text"]["source"], asked, "{said}");
        }
        // the source in a file is a label of the file
        let line = json!({ "text": format!("in a file as {asked}"), "source": asked });
        assert_eq!(node.http("POST", "/v1/import", &format!("{line}\n")).lines().len(), 1);
        assert_eq!(found(&node, &format!("in a file as {asked}"))["fields"]["text"]["source"], "import");
    }
    // nothing is left of a refused one
    let listed = node.http("GET", "/v1/memories?limit=100", "").json();
    let texts: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|memory| &memory["text"]).collect();
    for refused in ["Http user", "Http model", "said user"] {
        assert!(!texts.contains(&&json!(refused)), "{texts:?}");
    }
}

/// The lines of an export.
fn exported(home: &Home, more: &[&str]) -> Vec<Value> {
    let ran = home.run(&[&["export"], more].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn import(home: &Home, lines: &[Value]) -> support::Ran {
    let file: String = lines.iter().map(|line| format!("{line}\n")).collect();
    home.run_with(&["import", "-", "--json"], file.as_bytes())
}

fn with_text(home: &Home, text: &str) -> Option<Value> {
    let listed = home.json(&["list", "--limit", "1000"]);
    listed["items"].as_array().unwrap().iter().find(|memory| memory["text"] == text).cloned()
}

/// promise: Commands and API | `export --full` and `import`: every reader checks who wrote a text in another mesh
#[test]
fn who_wrote_a_text_in_another_mesh_is_shown_to_all_and_cannot_be_made_up() {
    let alice = Home::new();
    let first = alice.up_with(&["--name", "alice"]);
    alice.json(&["remember", "port 5432"]);
    let edited = alice.json(&["remember", "to be edited"])["id"].as_str().unwrap().to_owned();
    alice.json(&["edit", &edited, "edited by alice"]);
    alice.json(&["remember", "with a key", "--id", "colour"]);
    let mesh = alice.json(&["status"])["mesh_did"].clone();
    assert!(exported(&alice, &[]).iter().all(|line| line.get("proof").is_none()));
    let lines = exported(&alice, &["--full"]);
    assert!(lines.len() == 3 && lines.iter().all(|line| line["proof"].is_string()), "{lines:?}");
    first.kill_9();

    let ((laptop, _first), (cloud, _second)) = support::pair();
    let changed = |field: &str, value: Value| {
        let mut line = lines[0].clone();
        line[field] = value;
        line
    };
    let proof = lines[0]["proof"].as_str().unwrap();
    let forged = [
        (changed("text", "alice owes me a beer".into()), "it is of another text"),
        (changed("id", lines[1]["id"].clone()), "it is of another memory"),
        (changed("author", "did:key:z6MkSomebodyElse".into()), "it is of another author"),
        (changed("imported", json!({ "id": lines[1]["id"], "author": lines[1]["author"] })), "it is of another author"),
        (changed("proof", lines[1]["proof"].clone()), "it is of another text"),
        (changed("proof", proof[..proof.len() - 8].into()), "its bytes are no proof"),
        (changed("proof", "not base64".into()), "invalid"),
        (changed("proof", "A".repeat(24 << 10).into()), "a proof has at most 16384 bytes"),
        (changed("proof", "_".repeat(8 << 10).into()), "its bytes are no proof"),
        (changed("proof", 7.into()), "expected a string"),
    ];
    let mixed: Vec<Value> = forged.iter().map(|(line, _)| line.clone()).chain([lines[2].clone()]).collect();
    let refused = import(&laptop, &mixed);
    assert_eq!(refused.code, 2, "{refused:?}");
    let told: Vec<&str> = refused.stderr.lines().filter(|line| line.contains("line ")).collect();
    for (n, (_, why)) in forged.iter().enumerate() {
        let start = format!("line {}: ", n + 1);
        assert!(told.iter().any(|line| line.contains(&start) && line.contains(why)), "{n}: {why}: {told:?}");
    }
    let done = import(&laptop, &lines).json();
    assert_eq!((done["imported"].as_u64(), done["known"].as_u64()), (Some(2), Some(1)), "{done}");
    for home in [&laptop, &cloud] {
        for text in ["port 5432", "edited by alice", "with a key"] {
            let memory = support::until("it is there", || with_text(home, text));
            let imported = &memory["imported"];
            assert_eq!((&imported["name"], &imported["mesh_did"]), (&"alice".into(), &mesh), "{memory}");
            assert_ne!(memory["author"], imported["author"], "written again by the importer");
        }
    }
    let id = with_text(&cloud, "port 5432").unwrap()["id"].as_str().unwrap().to_owned();
    let shown = cloud.run(&["get", &id]).stdout;
    assert!(shown.contains(&format!("by alice of mesh {}", mesh.as_str().unwrap())), "{shown}");
    assert!(cloud.run(&["list"]).stdout.contains("(imported; by alice of mesh …"));
    assert!(cloud.run(&["recall", "port"]).stdout.contains("imported; by alice of mesh …"));

    // authorship goes on to a third and a fourth mesh, survives a change of mind, and ends with an edit
    let (third, fourth) = (Home::new(), Home::new());
    let (_third, _fourth) = (third.up(), fourth.up());
    assert_eq!(import(&third, &exported(&cloud, &["--full"])).json()["imported"], 3);
    let copy = with_text(&third, "port 5432").unwrap();
    third.json(&["forget", copy["id"].as_str().unwrap()]);
    third.json(&["forget", "--undo", copy["id"].as_str().unwrap()]);
    assert_eq!(import(&fourth, &exported(&third, &["--full"])).json()["imported"], 3);
    for home in [&third, &fourth] {
        assert_eq!(with_text(home, "port 5432").unwrap()["imported"], copy["imported"]);
    }
    // an importer that leaves the proof out has its own word alone
    let plain = Home::new();
    let _plain = plain.up();
    import(&plain, &exported(&cloud, &[]));
    let claimed = with_text(&plain, "port 5432").unwrap();
    assert!(claimed.get("imported").is_none() && claimed["was"] == id, "{claimed}");
    laptop.json(&["edit", &id, "port 5433"]);
    let edited = support::until("it is edited", || with_text(&cloud, "port 5433"));
    assert!(edited.get("imported").is_none(), "{edited}");
}

/// promise: Commands and API | `export` and `import` carry long texts whole; a text that is not here is told, and its line has the beginning
#[test]
fn long_texts_come_whole_through_an_export() {
    let ((laptop, first), (cloud, _second)) = support::pair();
    let long = |lines: usize| (0..lines).map(|n| format!("Line {n} says \"{n}\".\n")).collect::<String>() + "End.";
    // as JSON the largest takes six bytes for each of its own
    let texts = [long(3_000), long(40_000), "\u{1}".repeat(4 << 20)];
    let lines: String = texts.iter().map(|text| format!("{}\n", json!({ "text": text }))).collect();
    assert_eq!(laptop.run_with(&["import", "-", "--json"], lines.as_bytes()).json()["imported"], 3);
    laptop.json(&["remember", "short"]);
    let at_home = laptop.run(&["export", "--full"]).ok();
    assert!(!at_home.stderr.contains("not here"), "{}", at_home.stderr);
    let there = support::until("all have come", || {
        let ran = cloud.run(&["export"]);
        (ran.stdout.lines().count() == 4).then_some(ran)
    });
    assert!(there.stderr.contains("3 long texts are not here"), "{}", there.stderr);
    assert!(
        there.stdout.lines().filter(|line| line.contains("\"attachment\":")).count() == 3
            && there.stdout.len() < 200_000
    );
    first.kill_9();

    let new = Home::new();
    let _node = new.up();
    for (imported, known) in [(4, 0), (0, 4)] {
        let done = new.run_with(&["import", "-", "--json"], at_home.stdout.as_bytes()).json();
        assert_eq!((&done["imported"], &done["known"]), (&imported.into(), &known.into()), "{done}");
    }
    let listed = new.json(&["list"]);
    let mut whole: Vec<String> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|memory| new.json(&["get", memory["id"].as_str().unwrap()])["text"].as_str().unwrap().to_owned())
        .collect();
    whole.sort_by_key(String::len);
    let [first, second, third] = &texts;
    assert!(whole == ["short", first, second, third], "each text is as it was");
    let again = exported(&new, &[]);
    assert!(again.len() == 4 && again.iter().all(|line| line.get("attachment").is_none()), "all are whole");
}

/// promise: Commands and API | A memory that was forgotten here stays so, whatever is imported
#[test]
fn an_import_brings_nothing_back_that_was_forgotten() {
    let (home, other) = (Home::new(), Home::new());
    let (_node, _other) = (home.up(), other.up());
    let id = home.json(&["remember", "not to come back"])["id"].as_str().unwrap().to_owned();
    home.json(&["remember", "to stay"]);
    let lines = exported(&home, &[]);
    assert_eq!(import(&other, &lines).json()["imported"], 2);
    let copy = with_text(&other, "not to come back").unwrap()["id"].as_str().unwrap().to_owned();
    home.json(&["forget", &id]);
    other.json(&["forget", &copy]);
    for home in [&home, &other] {
        let done = import(home, &lines).json();
        assert_eq!(
            (&done["imported"], &done["known"], &done["forgotten"]),
            (&0.into(), &1.into(), &1.into()),
            "{done}"
        );
        assert!(with_text(home, "not to come back").is_none());
    }
    // nor does a copy that was made elsewhere before, on its way home; what is here as it left is not doubled
    let third = Home::new();
    let _third = third.up();
    assert_eq!(import(&third, &lines).json()["imported"], 2);
    let done = import(&home, &exported(&third, &["--full"])).json();
    assert_eq!((&done["imported"], &done["known"], &done["forgotten"]), (&0.into(), &1.into(), &1.into()), "{done}");
    let file: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let told = other.run_with(&["import", "-"], file.as_bytes()).stdout;
    assert!(told.contains("1 was forgotten here and stays so: `nexus-node forget --undo ID`"), "{told}");
    // a person may think better of it
    let back = home.json(&["forget", "--undo", &id]);
    assert_eq!(back["text"], "not to come back");
    let done = import(&home, &lines).json();
    assert_eq!((&done["known"], &done["forgotten"]), (&2.into(), &0.into()), "{done}");
}
