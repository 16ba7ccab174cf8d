//! The demo as a test: every step holds, and nothing is left behind.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which is to end where it cannot go on"
)]

use crate::support::{self, Home};
use serde_json::Value;

/// promise: Demo and first pages | Every step of the demo holds
#[test]
fn every_step_of_the_demo_holds() {
    let home = Home::new();
    let temp = home.beside("tmp");
    std::fs::create_dir(&temp).unwrap();
    let output = home.command(&["demo", "--exit", "--json", "--nodes", "4"]).env("TMPDIR", &temp).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{log}");
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    let played =
        "start join elect share write cut apart refuse heal agree settle hand approve fetch kill stranger revoke";
    assert_eq!(names.join(" "), played);
    for step in &steps {
        assert!(step["ok"] == true && step["ms"].is_u64() && !step["detail"].as_str().unwrap().is_empty(), "{step}");
    }
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "the directory is gone");
}

/// promise: Demo and first pages | The nodes end with the demo, however it ends; a chosen port that is taken fails
#[test]
fn a_chosen_base_port_that_is_taken_fails() {
    let home = Home::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, error) = home.error(&["demo", "--exit", "--base-port", &port]);
    assert_eq!((code, &error["code"]), (7, &Value::from("in_use")), "{error}");
}

/// promise: Demo and first pages | The nodes end with the demo, however it ends; a chosen port that is taken fails
/// promise: Demo and first pages | The remains of a killed demo go with the next one; a running one's stay
#[cfg(unix)]
#[test]
fn the_nodes_end_with_the_demo_however_it_ends() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    for signal in ["-TERM", "-INT", "-HUP", "-KILL"] {
        let home = Home::new();
        let temp = home.beside("tmp");
        std::fs::create_dir(&temp).unwrap();
        let mut demo = home
            .command(&["demo", "--json"])
            .env("TMPDIR", &temp)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        // The second step has started every node.
        lines.nth(1).unwrap().unwrap();
        let urls: Vec<String> = std::fs::read_dir(std::fs::read_dir(&temp).unwrap().next().unwrap().unwrap().path())
            .unwrap()
            .filter_map(|node| std::fs::read_to_string(node.unwrap().path().join("api-url")).ok())
            .collect();
        assert_eq!(urls.len(), 3);
        assert!(Command::new("kill").args([signal, &demo.id().to_string()]).status().unwrap().success());
        demo.wait().unwrap();
        for url in urls {
            let address = url.trim().trim_start_matches("http://").to_owned();
            support::until("the node is gone", || std::net::TcpStream::connect(&address).is_err().then_some(()));
        }
        if signal == "-KILL" {
            // The next demo cleans up, but not after running ones.
            let other = std::fs::File::create_new(temp.join("nexus-demo-of-another-kind")).unwrap();
            let output = home.command(&["demo", "--exit"]).env("TMPDIR", &temp).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            drop(other);
            std::fs::remove_file(temp.join("nexus-demo-of-another-kind")).unwrap();
        }
        assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "{signal}: the directory is gone");
    }
}

/// promise: Demo and first pages | The remains of a killed demo go with the next one; a running one's stay
#[cfg(unix)]
#[test]
fn a_demo_leaves_the_directory_of_a_living_one_alone() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let home = Home::new();
    let temp = home.beside("tmp");
    std::fs::create_dir(&temp).unwrap();
    let start = || home.command(&["demo", "--json"]).env("TMPDIR", &temp).stdout(Stdio::piped()).spawn().unwrap();
    let mut one = start();
    let mut lines = BufReader::new(one.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let output = start().wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(lines.by_ref().map(Result::unwrap).filter(|line| line.contains("\"ok\":true")).count(), 16);
    assert!(one.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0);
}

/// The demo on a terminal of its own.
#[cfg(target_os = "linux")]
mod on_a_terminal {
    use std::fs::File;
    use std::io::Write;
    use std::process::{Child, Command};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

    use crate::support::{Home, until};
    use crate::terminal;

    struct Terminal {
        ours: File,
        theirs: File,
        shown: Arc<Mutex<Vec<u8>>>,
        demo: Child,
        columns: u16,
        home: Home,
    }

    impl Terminal {
        fn start(columns: u16, rows: u16, colour: bool) -> Self {
            let (ours, theirs) = terminal::open();
            tcsetwinsize(&ours, size(columns, rows)).unwrap();
            let home = Home::new();
            std::fs::create_dir(home.beside("tmp")).unwrap();
            let mut command = home.command(&["demo"]);
            if colour {
                command.env_remove("NO_COLOR");
            }
            let end = || theirs.try_clone().unwrap();
            let command = command.stdin(end()).stdout(end()).stderr(end());
            let demo = command.env("TERM", "xterm-256color").env("TMPDIR", home.beside("tmp")).spawn().unwrap();
            let shown = terminal::shown_on(&ours);
            Self { ours, theirs, shown, demo, columns, home }
        }

        fn press(&mut self, key: &str) {
            self.ours.write_all(key.as_bytes()).unwrap();
        }

        fn text(&self) -> String {
            String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
        }

        /// Waits until a whole picture shows this. A new width brings about a whole picture.
        fn shows(&mut self, text: &str) {
            until(text, || {
                self.shown.lock().unwrap().clear();
                self.columns ^= 1;
                tcsetwinsize(&self.ours, size(self.columns, 24)).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                bare(&self.text()).contains(&bare(text)).then_some(())
            });
        }

        /// Waits for its end, with the terminal and the temporary directory as before. Returns its last
        /// output and its exit code.
        fn ended(&mut self) -> (String, i32) {
            let code = self.demo.wait().unwrap().code().unwrap();
            let whole = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            assert!(tcgetattr(&self.theirs).unwrap().local_modes.contains(whole), "keys are as they were");
            let mut last = String::new();
            until("the screen before is back", || {
                let text = self.text();
                let (_, after) = text.rsplit_once("\u{1b}[?1049l")?;
                last = after.to_owned();
                text.contains("\u{1b}[?25h").then_some(())
            });
            assert_eq!(std::fs::read_dir(self.home.beside("tmp")).unwrap().count(), 0);
            (last, code)
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            let _ = self.demo.kill();
            let _ = self.demo.wait();
        }
    }

    /// A text without cursor moves and colours, and without spaces, which may be cursor moves, too.
    fn bare(text: &str) -> String {
        let mut bare = String::new();
        let mut parts = text.split("\u{1b}[");
        bare.push_str(parts.next().unwrap_or_default());
        for part in parts {
            bare.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
        }
        bare.retain(|c| !c.is_whitespace());
        bare
    }

    fn size(columns: u16, rows: u16) -> Winsize {
        Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
    }

    /// promise: Demo and first pages | On a terminal the demo is a live map with keys, and gives the terminal back
    #[test]
    fn the_map_is_live_and_keys_act_on_it() {
        let mut terminal = Terminal::start(80, 24, false);
        until("the steps are over", || {
            terminal.press(" ");
            std::thread::sleep(Duration::from_millis(300));
            bare(&terminal.text()).contains("yourownmesh").then_some(())
        });
        terminal.shows("✓ revoke");
        terminal.shows("8 memories, 2 peers");
        terminal.press("c");
        terminal.shows("○ cut off");
        terminal.press("w");
        terminal.shows("9 memories, 0 peers");
        terminal.press("h");
        terminal.shows("9 memories, 2 peers");
        terminal.press("\tk");
        terminal.shows("✗ killed");
        terminal.shows("cloud (process");
        let colours = ["\u{1b}[32m", "\u{1b}[38;5;"];
        assert!(!colours.iter().any(|colour| terminal.text().contains(colour)), "NO_COLOR is set");
        terminal.press("q");
        let (last, code) = terminal.ended();
        assert_eq!(code, 0, "{last}");
        assert!(last.contains("ok    revoke") && last.contains("your own mesh:"), "{last}");
    }

    /// promise: Demo and first pages | On a terminal the demo is a live map with keys, and gives the terminal back
    #[test]
    fn the_terminal_is_given_back_at_signals_and_ctrl_c() {
        for by in ["-TERM", "-INT", "-HUP", "ctrl-c", "q"] {
            let mut terminal = Terminal::start(80, 24, true);
            terminal.shows("✓ start");
            match by {
                "ctrl-c" => terminal.press("\u{3}"),
                "q" => terminal.press("q"),
                signal => {
                    let pid = terminal.demo.id().to_string();
                    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
                }
            }
            let (last, code) = terminal.ended();
            assert_eq!(code, if by == "q" { 0 } else { 130 }, "{by}: {last}");
        }
    }

    #[test]
    fn a_small_terminal_gets_the_steps() {
        let mut terminal = Terminal::start(40, 12, true);
        until("a step", || bare(&terminal.text()).contains("start").then_some(()));
        terminal.press("q");
        let (last, code) = terminal.ended();
        assert_eq!(code, 0, "{last}");
    }
}
