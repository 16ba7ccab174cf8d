//! The page in a real browser. `.ci/browser` fetches one and runs this.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the real world, which ends where it cannot go on"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::support::{Home, pair, until};

/// The longest wait for anything on the page.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one page, spoken to over a pipe (Chrome DevTools Protocol).
struct Browser {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _profile: tempfile::TempDir,
    session: String,
    next: u64,
    /// All that the page complained of.
    errors: Vec<String>,
}

impl Browser {
    fn start() -> Self {
        let program = std::env::var("NEXUS_CHROMIUM").expect("NEXUS_CHROMIUM names the browser: run .ci/browser");
        let profile = tempfile::tempdir().unwrap();
        // the browser reads from file 3, and writes to file 4
        let line = "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1";
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            line,
            &program,
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--no-first-run",
        ]);
        shell.args(["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]);
        shell.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (session, errors) = (String::new(), Vec::new());
        let mut browser = Self { child, stdin, stdout, _profile: profile, session, next: 1, errors };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for part in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(part, json!({}));
        }
        browser
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.stdin.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let heard = self.hear();
            if heard["id"] == id {
                assert!(heard["error"].is_null(), "{method}: {heard}");
                return heard["result"].clone();
            }
        }
    }

    fn hear(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.stdout.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser ended");
        let heard: Value = serde_json::from_slice(&bytes).unwrap();
        let params = &heard["params"];
        match heard["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.errors.push(params["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                self.errors.push(params["args"].to_string())
            }
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                self.errors.push(params["entry"].to_string());
            }
            _ => {}
        }
        heard
    }

    /// The value of an expression on the page.
    fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            if Instant::now() > end {
                let text = self.value("document.body.innerText");
                panic!("{expression}: not in time; {}\n{:?}", text.as_str().unwrap_or_default(), self.errors);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn open(&mut self, address: &str) {
        self.ask("Page.navigate", json!({ "url": address }));
    }

    /// A view of so many pixels, light or dark.
    fn view(&mut self, width: u32, scheme: &str) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", media);
    }

    /// Keeps a picture, where somebody wants to look at it: `NEXUS_PICTURES` names a directory.
    fn picture(&mut self, name: &str) {
        let Ok(directory) = std::env::var("NEXUS_PICTURES") else { return };
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": false }));
        let bytes = BASE64.decode(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(format!("{directory}/{name}.png"), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn link(home: &Home) -> String {
    home.json(&["web"])["link"].as_str().unwrap().to_owned()
}

/// The list of memories on the page has a text.
fn shows(text: &str) -> String {
    format!("[...document.querySelectorAll('#list .text')].some((it) => it.textContent.includes({}))", json!(text))
}

/// promise: Commands and API | In a real browser each view of the page opens, a conflict is settled by a click, and nothing fails
#[test]
fn the_page_works_in_a_real_browser() {
    if std::env::var_os("NEXUS_CHROMIUM").is_none() {
        eprintln!("no browser is named: `.ci/browser` fetches one, and runs this");
        return;
    }
    let ((laptop, _one), (cloud, _two)) = pair();
    laptop.run(&["remember", "we use pnpm", "--kind", "preference", "--tag", "project:shop"]).ok();
    laptop.run(&["remember", "Kafka it is", "--kind", "decision", "--tag", "project:atlas"]).ok();
    laptop.run(&["vocabulary", "add", "deploy", "ship it"]).ok();
    let mut browser = Browser::start();
    browser.view(1280, "light");
    browser.open(&link(&laptop));
    browser.until(&shows("we use pnpm"));
    assert_eq!(browser.value(&shows("ship it")), false, "a group of words is no memory to read");
    browser.picture("memories-1280-light");

    // a memory of another node appears
    cloud.run(&["remember", "written at the cloud's node"]).ok();
    browser.until(&shows("written at the cloud's node"));
    // a question, and the conditions
    browser.value("document.getElementById('query').value = 'kafka'; document.getElementById('query').dispatchEvent(new Event('input'))");
    browser.until(&format!("{} && !{}", shows("Kafka it is"), shows("pnpm")));
    let set = |field: &str, value: &str, event: &str| {
        format!(
            "(() => {{ const it = document.getElementById('{field}'); it.value = '{value}'; it.dispatchEvent(new Event('{event}')); }})()"
        )
    };
    browser.value(&set("query", "", "input"));
    browser.until(&shows("pnpm"));
    browser.value(&set("project", "shop", "input"));
    browser.until(&format!("{} && !{}", shows("pnpm"), shows("Kafka")));
    browser.value(&set("project", "", "input"));
    browser.value(&set("kind", "decision", "change"));
    browser.until(&format!("{} && !{}", shows("Kafka"), shows("pnpm")));
    browser.value(&set("kind", "", "change"));
    browser.until(&shows("pnpm"));

    // both change a memory while they are apart
    let id = laptop.json(&["remember", "the port is 5432", "--id", "port"])["id"].as_str().unwrap().to_owned();
    until("both have it", || (cloud.run(&["get", &id]).code == 0).then_some(()));
    cloud.run(&["offline"]).ok();
    laptop.run(&["edit", &id, "the port is 5433"]).ok();
    cloud.run(&["edit", &id, "the port is 5434"]).ok();
    cloud.run(&["online"]).ok();
    browser.until("!document.getElementById('conflicts').hidden");
    browser.value("document.getElementById('in-conflict').click()");
    browser.until(&format!("{} && !{}", shows("the port is"), shows("pnpm")));
    browser.picture("conflict-1280-light");
    let choices = "[...document.querySelectorAll('#conflicts-list button:not(.link)')]";
    browser.until(&format!("{choices}.some((it) => it.closest('li').textContent.includes('5434'))"));
    browser.value(&format!(
        "(() => {{ const all = {choices}; (all.find((it) => (it.closest('.conflict, div, p')?.textContent ?? '').includes('5434')) ?? all[0]).click(); }})()"
    ));
    browser.until("document.getElementById('conflicts').hidden");
    until("it is settled", || laptop.json(&["get", &id])["conflicts"].as_object().unwrap().is_empty().then_some(()));
    browser.value("document.getElementById('in-conflict').click()");

    // each view, wide and narrow, light and dark
    laptop.run(&["task", "submit", "review", "--input", "{\"text\": \"look\"}"]).ok();
    let file = laptop.beside("report.txt");
    std::fs::write(&file, "a report").unwrap();
    laptop.run(&["blob", "add", file.to_str().unwrap()]).ok();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")] {
        browser.view(width, scheme);
        let rooms = [
            ("memories", "pnpm"),
            ("tasks", "review"),
            ("files", "8 B"),
            ("members", "cloud"),
            ("keys", "every voter is up"),
        ];
        for (room, has) in rooms {
            browser.value(&format!("location.hash = '#{room}'"));
            browser.until(&format!("!document.getElementById('room-{room}').hidden"));
            let place = format!("document.getElementById('room-{room}').innerText.includes('{has}')");
            browser.until(&place);
            // nothing is wider than the view; a phone's browser widens `innerWidth` to what it finds
            let wide = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(wide <= u64::from(width), "{room} at {width} is {wide} wide");
            browser.picture(&format!("{room}-{width}-{scheme}"));
        }
        browser.value("location.hash = '#memories'");
        browser.until("!document.getElementById('room-memories').hidden");
        if width == 390 {
            let first = "document.getElementById('query').getBoundingClientRect().top";
            let others = "[...document.querySelectorAll('.mesh, #warnings, .node-facts')].map((it) => it.getBoundingClientRect()).filter((it) => it.height > 0).map((it) => it.top)";
            let search = browser.value(&format!("Math.min(...{others}) > {first}"));
            assert_eq!(search, true, "a phone begins with search");
        }
        browser.value("document.querySelector('#list .memory').click()");
        browser.until("document.getElementById('memory').open && document.querySelector('#history li')");
        browser.picture(&format!("memory-{width}-{scheme}"));
        browser.value("document.getElementById('memory-close').click()");
        browser.until("!document.getElementById('memory').open");
    }
    browser.value("location.hash = '#tasks'");
    browser.until("document.querySelector('#board .memory.task')");
    browser.value("document.querySelector('#board .memory.task').click()");
    browser.until("document.getElementById('task').open && document.querySelector('#task-events li')");
    browser.picture("task-390-dark");
    assert!(browser.errors.is_empty(), "{:#?}", browser.errors);
}

/// promise: Documents | The page shows the marks of a text on its letters, with their values
#[test]
fn a_text_is_shown_with_its_marks() {
    if std::env::var_os("NEXUS_CHROMIUM").is_none() {
        eprintln!("no browser is named: `.ci/browser` fetches one, and runs this");
        return;
    }
    let home = Home::new();
    let _node = home.up();
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "text", "\"größe of words\""]);
    home.json(&["doc", "mark", "plan", "text", "--from", "0", "--to", "8", "bold", "true"]);
    home.json(&["doc", "mark", "plan", "text", "--from", "6", "--to", "14", "link", "\"javascript:alert(1)\""]);
    let mut browser = Browser::start();
    browser.view(1280, "light");
    browser.open(&link(&home));
    browser.until("document.querySelector('.rooms a')");
    browser.value("location.hash = '#documents'");
    browser.until("document.querySelector('#documents-list button.link')");
    browser.value("document.querySelector('#documents-list button.link').click()");
    browser.until("document.querySelector('#document-runs .mark-bold')");
    let of = |look: &str| {
        format!("[...document.querySelectorAll('#document-runs .mark-{look}')].map((it) => it.textContent).join('|')")
    };
    assert_eq!(browser.value(&of("bold")), "größe |of");
    assert_eq!(browser.value(&of("other")), "of| words");
    let titles = browser.value("[...document.querySelectorAll('#document-runs span')].map((it) => it.title).join('|')");
    assert!(titles.as_str().unwrap().ends_with("; link: javascript:alert(1)"), "{titles}");
    assert_eq!(browser.value("document.querySelectorAll('#document-runs a').length"), 0, "a link is no link here");
    browser.picture("document-marks-1280-light");
    // a mark that goes while the page is open goes there, too
    home.json(&["doc", "unmark", "plan", "text", "--from", "0", "--to", "6", "bold"]);
    browser.until(&format!("{} === 'of'", of("bold")));
    assert!(browser.errors.is_empty(), "{:#?}", browser.errors);
}

/// promise: Tasks | On the page a person sees the lines of a change to files, and with a passphrase is asked for it before a task is approved
#[test]
fn an_approver_sees_changes_and_is_asked_for_the_passphrase() {
    if std::env::var_os("NEXUS_CHROMIUM").is_none() {
        eprintln!("no browser is named: `.ci/browser` fetches one, and runs this");
        return;
    }
    let home = Home::new();
    let _node = home.up();
    let set = home.as_person("PUT", "/v1/approving", &json!({ "passphrase": "a good passphrase" }).to_string());
    assert_eq!(set.status, 200, "{set:?}");
    let diff = "--- a/deploy.sh\n+++ b/deploy.sh\n@@ -1,3 +1,3 @@\n #!/bin/sh\n-make deploy\u{202e}\n+make deploy TARGET=prod\n";
    let input = json!({ "repository": "shop", "diff": diff }).to_string();
    let submitted = home.json(&["task", "submit", "deploy", "--input", &input, "--needs-approval"]);
    let id = submitted["id"].as_str().unwrap();
    let mut browser = Browser::start();
    browser.view(1280, "light");
    browser.open(&link(&home));
    browser.until("document.querySelector('.rooms a')");
    browser.value("location.hash = '#tasks'");
    browser.until("document.querySelector('.ask .change .add')");
    let marked = "[...document.querySelectorAll('.ask .change span')].map((it) => it.className).join(' ')";
    assert_eq!(browser.value(marked), "file file hunk  del add");
    assert_eq!(browser.value("document.querySelector('.ask .change .del').textContent"), "-make deploy⟨U+202E⟩\n");
    browser.picture("approval-changes-1280-light");
    let approve = "[...document.querySelectorAll('.ask .decide button')].find((it) => it.textContent === 'Approve')";
    // a list that has just moved takes no click
    browser.until(&format!("({approve}.click(), document.getElementById('pass').open)"));
    let about = "document.getElementById('pass-about').innerText.includes('deploy, from')";
    browser.until(&format!("document.activeElement.id === 'pass-text' && {about}"));
    assert_eq!(browser.value("document.getElementById('pass-why').hidden"), true);
    browser.picture("passphrase-1280-light");
    let give = |passphrase: &str| {
        let text = format!("document.getElementById('pass-text').value = '{passphrase}'");
        format!("(() => {{ {text}; document.querySelector('#pass-form [type=submit]').click(); }})()")
    };
    browser.value(&give("another passphrase"));
    let wrong = "document.getElementById('pass-why').innerText.includes('the passphrase is wrong')";
    browser.until(&format!("document.getElementById('pass').open && {wrong}"));
    assert_eq!(browser.value("document.getElementById('pass-text').value"), "", "it is kept nowhere");
    assert_eq!(home.json(&["task", "show", id])["state"], "awaiting_approval");
    for (width, scheme) in [(1280, "light"), (390, "dark")] {
        browser.view(width, scheme);
        let wide = browser.value("document.documentElement.scrollWidth").as_u64().unwrap();
        assert!(wide <= u64::from(width), "the passphrase at {width} is {wide} wide");
        browser.picture(&format!("passphrase-wrong-{width}-{scheme}"));
    }
    browser.value(&give("a good passphrase"));
    until("it is approved", || (home.json(&["task", "show", id])["approval"]["approved"] == true).then_some(()));
    browser.until("!document.querySelector('.ask')");
    assert_eq!(browser.value("document.getElementById('pass-text').value"), "", "it is kept nowhere");
    // the browser itself notes each refusal
    let own = browser.errors.iter().filter(|error| !error.contains("\"network\""));
    assert_eq!(own.count(), 0, "{:#?}", browser.errors);
}

/// Draws maps with so many other members, and returns what is wrong with the labels of each.
const LABELS: &str = r"(async () => {
    const { drawMap } = await import('/map.js');
    const svg = document.getElementById('map').cloneNode(false);
    document.querySelector('.mesh').append(svg);
    const wrong = [];
    for (const many of [1, 2, 3, 4, 5, 7, 8, 9, 10, 16, 24]) {
        const peers = Array.from({ length: many }, (_, n) => ({
            did: `did:key:${n}`, name: `a-member-with-a-long-name-${n}`, state: 'up', synced: true, behind: n % 2 ? 12345 : 0, cause: null,
        }));
        drawMap(svg, { did: 'did:key:me', name: 'the-node-of-this-page', offline: false }, peers);
        const boxes = [...svg.querySelectorAll('.name, .state')].map((text) => ({ text: text.textContent, box: text.getBBox() }));
        for (const { text, box } of boxes) {
            const within = (x, y) => x > box.x && x < box.x + box.width && y > box.y && y < box.y + box.height;
            if (box.x < 0 || box.y < 0 || box.x + box.width > 360 || box.y + box.height > 240) wrong.push(`${many}: ${text} is cut off`);
            for (const line of svg.querySelectorAll('line')) {
                const [x1, y1, x2, y2] = ['x1', 'y1', 'x2', 'y2'].map((name) => Number(line.getAttribute(name)));
                for (let at = 0; at <= 1; at += 0.01) {
                    if (within(x1 + at * (x2 - x1), y1 + at * (y2 - y1))) { wrong.push(`${many}: a line crosses ${text}`); break; }
                }
            }
            const meets = (other) => box.x < other.x + other.width && other.x < box.x + box.width
                && box.y + 2 < other.y + other.height - 2 && other.y + 2 < box.y + box.height - 2;
            if (boxes.filter(({ box: other }) => meets(other)).length > 1) wrong.push(`${many}: ${text} is not alone`);
        }
    }
    svg.remove();
    return wrong;
})()";

/// A drop of a file on the page. Returns whether the browser would leave the page for it.
const DROP: &str = "(() => { const held = new DataTransfer(); held.items.add(new File(['x'], 'x.txt')); \
    return document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: held, bubbles: true, cancelable: true })); })()";

/// A drop of the file of the document `plan`, and of a file that is none.
const DROP_DOCUMENTS: &str = "fetch('/v1/documents/plan/file').then((answer) => answer.arrayBuffer()).then((bytes) => { \
    const held = new DataTransfer(); \
    held.items.add(new File([bytes], 'dropped.automerge')); held.items.add(new File(['x'], 'bad.automerge')); \
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: held, bubbles: true, cancelable: true })); })";

/// promise: Commands and API | A document of Automerge that is dropped on the page is taken in, and a bad file is named
#[test]
fn a_document_that_is_dropped_on_the_page_is_taken_in() {
    if std::env::var_os("NEXUS_CHROMIUM").is_none() {
        eprintln!("no browser is named: `.ci/browser` fetches one, and runs this");
        return;
    }
    let home = Home::new();
    let _node = home.up();
    home.json(&["doc", "create", "plan"]);
    home.json(&["doc", "set", "plan", "text", "\"from a file\""]);
    let mut browser = Browser::start();
    browser.view(1280, "light");
    browser.open(&link(&home));
    browser.value("location.hash = '#documents'");
    browser.until("document.getElementById('documents-list')?.innerText.includes('plan')");
    browser.value(DROP_DOCUMENTS);
    browser.until("document.getElementById('documents-list').innerText.includes('dropped')");
    browser.until("/1 document is taken in.*bad.automerge/s.test(document.getElementById('toast').innerText)");
    assert_eq!(home.json(&["doc", "get", "dropped", "text"])["value"], json!("from a file"));
}

/// promise: Commands and API | On the page a name stays text, and a command to copy adds, fetches or names what it says
/// promise: Commands and API | On the page's map no line runs through a label
#[test]
fn the_page_shows_names_as_text_and_commands_to_copy() {
    if std::env::var_os("NEXUS_CHROMIUM").is_none() {
        eprintln!("no browser is named: `.ci/browser` fetches one, and runs this");
        return;
    }
    let ((laptop, _one), (cloud, _two)) = pair();
    let desk = Home::new();
    let ticket = laptop.json(&["invite"])["ticket"].as_str().unwrap().to_owned();
    let did = desk.json(&["join", &ticket, "--name", "<b>desk</b>"])["did"].as_str().unwrap().to_owned();
    let _three = desk.up();
    let mut browser = Browser::start();
    browser.view(1280, "light");
    browser.open(&link(&laptop));
    let text = |id: &str, has: &str| format!("document.getElementById('{id}')?.innerText.includes({})", json!(has));

    // a name is a text in every list, and the command to end a membership names the DID
    browser.until(&text("peers", "<b>desk</b>"));
    browser.value("location.hash = '#members'");
    browser.until(&text("members-list", "<b>desk</b>"));
    assert_eq!(browser.value("document.querySelectorAll('b b').length"), 0);
    assert_eq!(browser.value("document.querySelector('#members-list li').innerText.includes('this node')"), true);
    browser.until(&text("members-count", "3 members"));
    let revoke = format!("nexus-node revoke {did}");
    let commands = "[...document.querySelectorAll('#members-list code')].map((it) => it.textContent)";
    browser.until(&format!("{commands}.includes({})", json!(revoke)));
    assert_eq!(browser.value(LABELS), json!([]));

    // the commands for files do what they say
    let command = |browser: &mut Browser, within: &str| {
        let text = browser.value(&format!("document.querySelector('{within} .command code').textContent"));
        text.as_str().unwrap().split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    browser.value("location.hash = '#files'");
    browser.until("!document.getElementById('files-none').hidden");
    let (file, copy) = (laptop.beside("report"), laptop.beside("copy"));
    std::fs::write(&file, "a whole report").unwrap();
    let mut add = command(&mut browser, "#files-add");
    *add.last_mut().unwrap() = file.to_str().unwrap().to_owned();
    add.extend(["--tag".to_owned(), "<i>report</i>.txt".to_owned()]);
    laptop.run(&add.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    browser.until(&text("files-list", "<i>report</i>.txt"));
    assert_eq!(browser.value("document.querySelectorAll('#files-list i').length"), 0);
    browser.value("document.querySelector('#files-list summary').click()");
    browser.picture("file-1280-light");
    let mut get = command(&mut browser, "#files-list");
    assert!(!get.last().unwrap().contains(['<', '/']), "a path that a shell takes as it is: {get:?}");
    *get.last_mut().unwrap() = copy.to_str().unwrap().to_owned();
    laptop.run(&get.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    assert_eq!(std::fs::read(&copy).unwrap(), b"a whole report");
    browser.value("document.querySelector('#files-list .command button').click()");
    browser.until("/Copied|selected/.test(document.getElementById('toast').textContent)");
    assert_eq!(browser.value(DROP), false, "the page stays");
    browser.until("document.querySelector('#toast code')?.textContent === 'nexus-node blob add PATH'");

    // the readers of a task are named, this node as such
    cloud.run(&["task", "submit", "review", "--needs-approval", "--input", "\"look\""]).ok();
    browser.value("location.hash = '#tasks'");
    browser.until("document.querySelector('#board .ask')");
    let readers = browser.value("[...document.querySelectorAll('#board .ask dt')].find((it) => it.textContent === 'Read by').nextSibling.textContent");
    let readers = readers.as_str().unwrap();
    assert!(readers.starts_with("this node, ") && !readers.contains("other member"), "{readers}");
    assert!(readers.contains("cloud") && readers.contains("<b>desk</b>") && !readers.contains("laptop"), "{readers}");

    // a command in a warning is a command, without its marks
    laptop.run(&["offline"]).ok();
    browser.until("document.querySelector('#warnings code')?.textContent === 'nexus-node online'");
    assert_eq!(browser.value("document.getElementById('warnings').textContent.includes('`')"), false);
    browser.picture("offline-1280-light");
    assert!(browser.errors.is_empty(), "{:#?}", browser.errors);
}
