//! The map of rooms in ARCHITECTURE.md is made from the table in `nexus-node/tests/nodes/rooms.rs` and the first sentence
//! of each room. `NEXUS_MAP=write cargo test -p nexus-identity --test house` brings it up to date.

use std::path::Path;

/// The environment variable that has the map written: `NEXUS_MAP=write`.
const WRITE: &str = "NEXUS_MAP";
const BEGIN: &str = "<!-- rooms -->";
const END: &str = "<!-- end of rooms -->";

/// Each room of the table, with the rooms that it may name.
fn rooms(source: &str) -> Vec<(String, Vec<String>)> {
    let table = source.split("const ROOMS").nth(1).unwrap().split("\n];").next().unwrap();
    let code: Vec<&str> = table.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut rooms: Vec<(String, Vec<String>)> = Vec::new();
    let code = code.join("\n");
    let mut pieces = code.split('"');
    // a name behind a bracket is a room, and all others are those that it may name
    while let (Some(before), Some(name)) = (pieces.next(), pieces.next()) {
        match rooms.last_mut() {
            Some((_, named)) if !before.contains('(') => named.push(name.to_owned()),
            _ => rooms.push((name.to_owned(), Vec::new())),
        }
    }
    rooms
}

/// The first sentence of a file's own documentation.
fn sentence(source: &str) -> Option<String> {
    let docs = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let paragraph: Vec<&str> = docs.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    // links have no meaning there
    let text = paragraph[..end].replace("[`", "`").replace("`]", "`");
    (!text.is_empty()).then_some(text)
}

/// The rows of the map.
fn map(rooms: &[(String, Vec<String>)], of: impl Fn(&str) -> String) -> String {
    let mut map = "| room | content | names |\n|---|---|---|\n".to_owned();
    for (room, named) in rooms {
        let source = of(room);
        let what = sentence(&source).unwrap_or_else(|| panic!("src/{room}.rs has no line //! at its beginning"));
        let named: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
        map += &format!("| `{room}` | {} | {} |\n", what.replace('|', "\\|"), named.join(", "));
    }
    map
}

#[test]
fn the_map_of_rooms_is_that_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let rooms = rooms(&read("nexus-node/tests/nodes/rooms.rs"));
    let made = map(&rooms, |room| read(&format!("nexus-node/src/{room}.rs")));
    let page = read("ARCHITECTURE.md");
    let (before, rest) = page.split_once(&format!("{BEGIN}\n")).expect("ARCHITECTURE.md has a place for the map");
    let (held, after) = rest.split_once(END).expect("the map has an end");
    if std::env::var(WRITE).is_ok_and(|value| value == "write") {
        std::fs::write(root.join("ARCHITECTURE.md"), format!("{before}{BEGIN}\n{made}{END}{after}")).unwrap();
    } else if let Some((held, made)) = held.lines().zip(made.lines()).find(|(held, made)| held != made) {
        panic!(
            "the map in ARCHITECTURE.md is not that of the rooms; {WRITE}=write makes it so\n  it has   {held}\n  of rooms {made}"
        );
    } else {
        assert_eq!(held.lines().count(), made.lines().count(), "ARCHITECTURE.md lacks rooms; {WRITE}=write adds them");
    }
}

#[test]
fn a_row_has_the_first_sentence_of_a_room_and_the_rooms_that_it_names() {
    let table = "const ROOMS: &[(&str, &[&str])] = &[\n    (\"a\", &[]),\n    // (\"x\", &[])\n    (\n        \"b\",\n        &[\n            \"a\",\n            \"c\",\n        ],\n    ),\n];";
    let rooms = rooms(table);
    let names = |named: &[&str]| named.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    assert_eq!(rooms, [("a".to_owned(), names(&[])), ("b".to_owned(), names(&["a", "c"]))]);
    let made = map(&rooms, |room| format!("//! The [`{room}`]:\n//! one | two. More.\n//!\n//! Rest.\nfn f() {{}}"));
    assert!(
        made.ends_with("| `a` | The `a`: one \\| two. |  |\n| `b` | The `b`: one \\| two. | `a`, `c` |\n"),
        "{made}"
    );
    assert_eq!(sentence("use a;\n//! b"), None);
}
