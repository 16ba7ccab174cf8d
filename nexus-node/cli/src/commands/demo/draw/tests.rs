use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::commands::demo::StepReport;
use crate::commands::demo::view::tests::{STEPS, at, look, three, up};
use crate::commands::demo::view::{Event, Look, Outsider};

fn picture(view: &View, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(view, frame)).unwrap();
    let lines = terminal.backend().buffer().content().chunks(usize::from(columns).max(1));
    lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned() + "\n").collect()
}

/// Compares a picture with its file. `NEXUS_PICTURES=1` writes a new one.
#[track_caller]
fn same(view: &View, columns: u16, rows: u16, name: &str) {
    let path = format!("{}/src/commands/demo/draw/pictures/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let now = picture(view, columns, rows);
    if std::env::var_os("NEXUS_PICTURES").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(now, known, "{name}:\n{now}");
}

fn ends(view: &mut View, now: u64, step: &'static str, detail: &str) {
    view.on(at(now), Event::Begins { step, does: "what it is about to do" });
    view.on(at(now), Event::Ended(StepReport { step, ok: true, ms: 34, detail: detail.to_owned() }));
}

/// The view in the step `apart`: ide is cut off, both sides have written.
fn apart() -> View {
    let mut view = three();
    up(&mut view, 0, "terminal", look(1, &[], &[("ide", true, 0)]));
    let seated = |seat, look| Look { seat: Some(seat), ..look };
    let terminal = look(3, &["use port 4001"], &[("ide", false, 2), ("cloud", true, 0)]);
    up(&mut view, 0, "terminal", seated("leader", terminal));
    let ide = look(2, &["use port 4002"], &[("terminal", false, 0), ("cloud", false, 0)]);
    up(&mut view, 0, "ide", Look { offline: true, ..seated("refuses", ide) });
    let cloud = look(3, &["use port 4001"], &[("ide", false, 2), ("terminal", true, 0)]);
    up(&mut view, 0, "cloud", seated("voter", cloud));
    ends(&mut view, 0, "start", "terminal made a mesh, …PQwFA4s8, and is its one member");
    ends(&mut view, 0, "join", "2 joined with one ticket; each of 3 lists 3 members and 2 peers up");
    ends(&mut view, 0, "elect", "3 voters, and terminal leads them (term 1): every node says the same");
    ends(&mut view, 0, "share", "a memory of terminal was read on the others in 34 ms: same text, version and author");
    ends(&mut view, 0, "write", "ide wrote deploy/target = blue, cloud read it at once: same revision 7");
    ends(
        &mut view,
        0,
        "cut",
        "ide is cut off both ways: 0 peers there, no connection anywhere; its process and API go on",
    );
    view.on(at(0), Event::Begins { step: "apart", does: "both sides go on writing" });
    view.on(at(0), Event::Arrives { author: "terminal".to_owned(), node: "cloud".to_owned() });
    view.tick(at(700));
    view
}

#[test]
fn a_cut_is_to_be_seen() {
    same(&apart(), 80, 24, "apart-80x24");
    same(&apart(), 120, 40, "apart-120x40");
}

#[test]
fn a_conflict_and_a_dead_node_are_to_be_seen() {
    let mut view = apart();
    let both = ["use port 4001", "use port 4002"];
    view.on(at(2000), Event::Looks { node: "terminal".to_owned(), look: look(4, &both, &[("ide", true, 0)]) });
    view.on(at(2000), Event::Looks { node: "ide".to_owned(), look: look(4, &both, &[("terminal", true, 0)]) });
    view.on(at(2000), Event::Ends { node: "cloud".to_owned() });
    view.on(at(2000), Event::Outsider("stranger", Outsider::TurnedAway));
    same(&view, 80, 24, "conflict-80x24");
}

#[test]
fn in_the_end_keys_and_a_mesh_of_ones_own_are_offered() {
    let mut view = apart();
    view.on(at(3000), Event::Free);
    same(&view, 80, 24, "free-80x24");
    view.on(at(3000), Event::Says(Err("no node ide is running".to_owned())));
    assert!(picture(&view, 80, 24).contains("no node ide is running"));
}

#[test]
fn a_step_that_does_not_hold_says_why() {
    let mut view = three();
    view.on(at(0), Event::Begins { step: "start", does: "terminal starts" });
    let detail = "terminal did not start: no space left on device".to_owned();
    view.on(at(1), Event::Ended(StepReport { step: "start", ok: false, ms: 1, detail }));
    same(&view, 80, 24, "failed-80x24");
}

/// promise: Demo and first pages | On a terminal the demo is a live map with keys, and gives the terminal back
#[test]
fn every_size_and_number_of_nodes_can_be_drawn() {
    for nodes in [3, 4, 16] {
        let names: Vec<String> = (0..nodes).map(|index| format!("node-{index}")).collect();
        let mut view = View::new(&names, STEPS.to_vec(), "nexus-node", true);
        for name in &names {
            let peers: Vec<(&str, bool, u64)> = names.iter().map(|name| (name.as_str(), true, 0)).collect();
            up(&mut view, 1, name, look(1_000_000, &["\u{1b}[2Jwide 漢字漢字漢字漢字漢字漢字", "b"], &peers));
            view.on(at(1), Event::Arrives { author: "node-0".to_owned(), node: name.clone() });
        }
        ends(&mut view, 1, "start", &"word ".repeat(100));
        ends(&mut view, 1, "join", &"x".repeat(1000));
        view.on(at(2), Event::Outsider("stranger", Outsider::Dials));
        for free in [false, true] {
            view.free = free;
            for columns in [0, 1, 2, 5, 20, 59, 75, 76, 80, 100, 300] {
                for rows in [0, 1, 2, 3, 7, 12, 22, 23, 24, 50, 100] {
                    let picture = picture(&view, columns, rows);
                    assert!(!picture.contains('\u{1b}'));
                }
            }
        }
    }
}

#[test]
fn without_colours_none_are_used() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(&apart(), frame)).unwrap();
    let plain = |colour| colour == Color::Reset;
    assert!(terminal.backend().buffer().content().iter().all(|cell| plain(cell.fg) && plain(cell.bg)));
}

#[test]
fn texts_are_wrapped_at_words_and_wide_words_broken() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
    assert_eq!(wrapped("", 4), [""]);
    assert_eq!(wrapped("ab", 0).concat(), "ab");
}
