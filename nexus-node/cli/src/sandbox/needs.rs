//! The files that a command needs: its interpreter, its installation, its script.
//!
//! Programs of developers are often links, scripts, or small programs that start another one (*shims*, as of pyenv or rustup).
//! These lead out of the system's directories, mostly below the home directory. This finds where to, before any task comes.
//!
//! | found | read |
//! |---|---|
//! | a program in `PREFIX/bin`, a link to one, or an interpreter after `#!` | `PREFIX`, if it is an installation; else the file |
//! | a virtual environment | it, and the installation that it was made from |
//! | a shim | the program that its manager names with `which` |
//! | a script | its directory, and the `node_modules` above it; alone if the directory is [private](super::private) |

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nexus_node::api::Problem;

use super::policy::{SYSTEM, found};
use super::private::{Private, real};

/// The longest time for a manager of versions to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// The most steps from a command to its last interpreter: shims, scripts and links lead to each other.
const STEPS_MAX: usize = 16;
/// The bytes of a script that are looked at.
const HEAD: usize = 4096;

/// Managers of versions that ask `MANAGER which NAME`, and whose shims say `MANAGER exec`.
const MANAGERS: [&str; 9] = ["asdf", "goenv", "jenv", "mise", "nodenv", "phpenv", "plenv", "pyenv", "rbenv"];
/// The programs of Rust that rustup stands for.
const OF_RUSTUP: [&str; 11] = [
    "cargo",
    "cargo-clippy",
    "cargo-fmt",
    "cargo-miri",
    "clippy-driver",
    "rust-analyzer",
    "rust-gdb",
    "rust-lldb",
    "rustc",
    "rustdoc",
    "rustfmt",
];
/// Programs that start the program among their arguments.
const WRAPPERS: [&str; 7] = ["env", "ionice", "nice", "nohup", "setsid", "stdbuf", "timeout"];
/// Directories of programs below an installation.
const PROGRAMS: [&str; 4] = ["Scripts", "bin", "libexec", "sbin"];
/// Something of these lies in an installation.
const INSTALLED: [&str; 7] = ["conda-meta", "include", "lib", "lib64", "libexec", "pyvenv.cfg", "share"];

/// The files that a command needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// The file that runs.
    pub(crate) program: PathBuf,
    /// The words of the command, with shims resolved and with scripts by whole paths.
    pub(crate) command: Vec<OsString>,
    /// Directories and files that it reads, in the order in which they were found.
    pub(crate) read: Vec<PathBuf>,
    /// The directories of programs that come first on its `PATH`, so that what it starts leads to the same.
    pub(crate) path: Vec<PathBuf>,
    /// A command that shows whether the interpreter works. It runs nothing of the person's.
    pub(crate) trial: Option<Vec<OsString>>,
}

/// The surroundings in which a command is resolved.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    /// The directory that the worker was started in, where people expect relative paths to begin.
    pub(crate) from: &'a Path,
    /// The directory that the command runs in, unless it is an empty one.
    pub(crate) dir: Option<&'a Path>,
    pub(crate) private: &'a Private,
}

impl Needs {
    /// The needs of a command.
    ///
    /// # Errors
    /// There is no such program, or none that its script asks for.
    pub(crate) fn of(command: &[OsString], around: &Around<'_>) -> Result<Self, Problem> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(Problem::new("usage", "there is no command"));
        };
        let mut needs = Self::default();
        let program = needs.resolve(name, around, 0)?;
        // a shim's name would be sought once more inside
        let is_other = found(name).is_none_or(|file| file != program);
        needs.command.push(if is_other { program.clone().into() } else { name.clone() });
        needs.program = program;
        needs.arguments(arguments, around);
        Ok(needs)
    }

    /// Adds the needs of a tool, if it is there.
    pub(crate) fn add_tool(&mut self, name: &str, around: &Around<'_>) {
        if found(name.as_ref()).is_some() {
            // a tool that leads nowhere is no need
            let trial = self.trial.take();
            let _ = self.resolve(name.as_ref(), around, 0);
            self.trial = trial.or(self.trial.take());
        }
    }

    /// Adds something to read, unless it is private or the system's.
    pub(crate) fn add(&mut self, path: &Path, private: &Private) {
        let may = if path.is_dir() { private.may_open(path) } else { path.is_file() && private.may_open_file(path) };
        let is_there = is_of_system(path) || self.read.iter().any(|other| real(path).starts_with(real(other)));
        if may && !is_there {
            // it opens these, too
            self.read.retain(|other| !other.starts_with(path));
            self.read.push(path.to_owned());
        }
    }

    /// Finds the file that a name starts, with all that it needs.
    fn resolve(&mut self, name: &OsStr, around: &Around<'_>, steps: usize) -> Result<PathBuf, Problem> {
        let no = |message: String, hint: &str| Err(Problem::new("failed", message).hint(hint));
        let Some(file) = found(name) else {
            let hint = "name it by a whole path, or a name on the PATH";
            return no(format!("there is no program {}", name.to_string_lossy()), hint);
        };
        if steps > STEPS_MAX {
            let hint = "name the program that it leads to by a whole path";
            return no(format!("{} leads to ever other programs", name.to_string_lossy()), hint);
        }
        if let Some(target) = behind_shim(&file, around.from) {
            return self.resolve(target.as_os_str(), around, steps + 1);
        }
        for link in links(&file) {
            self.installation_of(&link, around.private);
        }
        if !is_of_system(&file)
            && let Some(directory) = file.parent()
            && !self.path.iter().any(|one| one == directory)
        {
            self.path.push(directory.to_owned());
        }
        match interpreter(&file) {
            Some(interpreter) => {
                // a script that the person named by a path may have others beside it
                if Path::new(name).components().count() > 1 {
                    self.script(&file, around.private);
                }
                self.resolve(&interpreter, around, steps + 1).map_err(|problem| {
                    let message = format!("{} begins with `#!`: {}", file.display(), problem.message);
                    Problem { message, ..problem }
                })?;
            }
            None => self.trial = trial(&file),
        }
        Ok(file)
    }

    /// Adds the installation of a program, or its file.
    fn installation_of(&mut self, file: &Path, private: &Private) {
        if is_of_system(file) {
            return;
        }
        let prefix = file.parent().filter(|directory| {
            directory.file_name().and_then(OsStr::to_str).is_some_and(|name| PROGRAMS.contains(&name))
        });
        let prefix = prefix.and_then(Path::parent);
        if let Some(prefix) = prefix {
            if let Some(home) = home_of(&prefix.join("pyvenv.cfg")) {
                // the installation that it was made from
                self.installation_of(&home.join("python"), private);
            }
            if INSTALLED.iter().any(|name| prefix.join(name).exists()) && private.may_open(prefix) {
                return self.add(prefix, private);
            }
        }
        // Homebrew's programs are linked to each other all over its tree
        let brewed = file.ancestors().find(|above| above.ends_with(".linuxbrew"));
        if let Some(brewed) = brewed.filter(|brewed| Some(*brewed) != private.home.as_deref()) {
            self.add(brewed, private);
        }
        self.modules_above(file, private);
        self.add(file, private);
    }

    /// Adds a script, with what lies beside it.
    fn script(&mut self, file: &Path, private: &Private) {
        self.modules_above(file, private);
        match file.parent() {
            Some(directory) if private.may_open(directory) => self.add(directory, private),
            _ => self.add(file, private),
        }
    }

    /// Adds the modules that Node looks for beside a file and above it.
    fn modules_above(&mut self, file: &Path, private: &Private) {
        let is_node =
            file.extension().is_some_and(|end| ["js", "mjs", "cjs", "ts", "mts"].iter().any(|one| end == *one));
        let file = real(file);
        if let Some(modules) = file.ancestors().filter(|above| above.ends_with("node_modules")).last() {
            self.add(modules, private);
        }
        if is_node {
            for above in file.ancestors().skip(1).take_while(|above| Some(*above) != private.home.as_deref()) {
                self.add(&above.join("node_modules"), private);
                self.add(&above.join("package.json"), private);
            }
        }
    }

    /// Takes the arguments over. The script among them gets a whole path: the command runs in another directory.
    fn arguments(&mut self, arguments: &[OsString], around: &Around<'_>) {
        let name = self.program.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        if WRAPPERS.contains(&name.as_str()) {
            let is_program = |word: &&OsString| {
                let text = word.to_string_lossy();
                !text.starts_with('-') && !text.contains('=') && text.parse::<f64>().is_err() && found(word).is_some()
            };
            if let Some(at) = arguments.iter().position(|word| is_program(&word))
                && let Ok(inner) = Self::of(&arguments[at..], around)
            {
                self.command.extend(arguments[..at].iter().cloned().chain(inner.command));
                self.trial = inner.trial;
                for path in inner.read {
                    self.add(&path, around.private);
                }
                return self.path.extend(inner.path);
            }
        }
        let script = script_among(&name, arguments);
        for (at, argument) in arguments.iter().enumerate() {
            let whole = Some(at).filter(|at| Some(*at) == script).and_then(|_| placed(Path::new(argument), around));
            self.command.push(whole.as_ref().map_or_else(|| argument.clone(), |whole| whole.clone().into()));
            if let Some(whole) = whole {
                self.script(&whole, around.private);
            }
        }
    }
}

fn is_of_system(path: &Path) -> bool {
    let path = real(path);
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// A file and each link on the way to it.
fn links(file: &Path) -> Vec<PathBuf> {
    let mut all = vec![file.to_owned()];
    let mut at = file.to_owned();
    while let Ok(to) = std::fs::read_link(&at) {
        at = at.parent().map_or_else(|| to.clone(), |directory| directory.join(&to));
        if all.len() > STEPS_MAX || all.contains(&at) {
            break;
        }
        all.push(at.clone());
    }
    // links of directories on the way, too
    let last = real(file);
    if !all.contains(&last) {
        all.push(last);
    }
    all
}

/// The first bytes of a file.
fn head(file: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    // a directory or an unreadable file has none
    let read = std::fs::File::open(file).and_then(|file| file.take(HEAD as u64).read_to_end(&mut bytes));
    if read.is_err() {
        bytes.clear();
    }
    bytes
}

/// The interpreter that a script names after `#!`, as it is to be sought.
fn interpreter(file: &Path) -> Option<OsString> {
    let head = head(file);
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if Path::new(first).file_name()? != "env" {
        return Some(first.into());
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(OsString::from)
}

/// The `home` of a virtual environment: where the programs of the installation lie that it was made from.
fn home_of(configured: &Path) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(&head(configured)).into_owned();
    let home = text.lines().find_map(|line| line.split_once('=').filter(|(key, _)| key.trim() == "home"))?;
    Some(PathBuf::from(home.1.trim()))
}

/// The program that a shim would start. Its manager is asked where the worker was started. It runs outside of the
/// sandbox, and obeys files of the directory that it runs in. A command of before may have written such files in `--dir`.
fn behind_shim(file: &Path, here: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?;
    let (target, directory) = (real(file), file.parent()?);
    let target_name = target.file_name()?.to_str()?;
    let mut root = None;
    let manager = if target_name != name && ["mise", "volta-shim"].contains(&target_name) {
        match target_name {
            "mise" => target.clone(),
            _ => target.with_file_name("volta"),
        }
    } else if OF_RUSTUP.contains(&name) && (target_name == "rustup" || is_same_file(file, &directory.join("rustup"))) {
        directory.join("rustup")
    } else {
        let head = head(file);
        let text = String::from_utf8_lossy(head.strip_prefix(b"#!")?);
        let calls = |manager: &&&str| {
            text.contains(&format!("{manager}\" exec ")) || text.contains(&format!("{manager} exec "))
        };
        let manager = MANAGERS.iter().find(calls)?;
        let beside = directory.parent().map(|root| root.join("bin").join(manager)).filter(|one| one.is_file());
        // its shims say where it lies, and so does this
        root = beside.as_ref().and(directory.parent()).map(|root| (format!("{}_ROOT", manager.to_uppercase()), root));
        beside.or_else(|| found(manager.as_ref()))?
    };
    let said = answer(Command::new(manager).args(["which", name]).envs(root).current_dir(here))?;
    let target = PathBuf::from(said.lines().next()?.trim());
    (target.is_file() && target != file).then_some(target)
}

#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    number(one).is_some_and(|number_of_one| Some(number_of_one) == number(other))
}

#[cfg(not(unix))]
fn is_same_file(_: &Path, _: &Path) -> bool {
    false
}

/// The words of a command that ends well and soon.
fn answer(command: &mut Command) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (said, told) = mpsc::channel();
    std::thread::spawn(move || {
        use std::io::Read;
        let mut text = String::new();
        // the answer is a path
        let read = stdout.take(HEAD as u64).read_to_string(&mut text);
        let _ = said.send(read.map(|_| text));
    });
    let text = told.recv_timeout(ASK_TIMEOUT).ok().and_then(Result::ok);
    if text.is_none() {
        let _ = child.kill();
    }
    let ended = child.wait().ok()?;
    text.filter(|_| ended.success())
}

/// The name of a program without its version: `python3.12` is `python`.
fn without_version(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

/// The place of the script among an interpreter's arguments.
fn script_among(interpreter: &str, arguments: &[OsString]) -> Option<usize> {
    // options whose word is a program, and options that take the next word
    let (inline, valued): (&[&str], &[&str]) = match without_version(interpreter) {
        "python" | "pypy" => (&["-c", "-m"], &["-W", "-X"]),
        "node" | "nodejs" | "bun" => {
            (&["-e", "-p", "--eval", "--print"], &["-r", "--require", "--import", "--loader", "-C", "--conditions"])
        }
        "deno" => (&["eval"], &["-c", "--config"]),
        "php" => (&["-r"], &["-d"]),
        "ruby" | "perl" | "lua" => (&["-e", "-E"], &["-I", "-r", "-l"]),
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "fish" => (&["-c"], &["-o", "-O", "--rcfile", "--init-file"]),
        "Rscript" => (&["-e"], &[]),
        "java" => {
            return arguments
                .iter()
                .position(|word| word == "-jar")
                .map(|at| at + 1)
                .filter(|at| *at < arguments.len());
        }
        _ => return None,
    };
    let mut at = 0;
    while let Some(word) = arguments.get(at) {
        let word = word.to_string_lossy();
        let is_cluster = |option: &str| {
            // `bash -ec TEXT`
            option.len() == 2 && word.starts_with('-') && !word.starts_with("--") && word.ends_with(&option[1..])
        };
        if inline.contains(&&*word) || inline.iter().any(|option| is_cluster(option)) {
            return None;
        }
        match () {
            () if word == "run" && ["deno", "bun"].contains(&interpreter) => at += 1,
            () if valued.contains(&&*word) => at += 2,
            () if word == "--" => return Some(at + 1).filter(|at| *at < arguments.len()),
            () if word.starts_with('-') && word.len() > 1 => at += 1,
            () => return Some(at),
        }
    }
    None
}

/// A script by its whole path, if it is a file where the command runs or where the worker was started.
fn placed(script: &Path, around: &Around<'_>) -> Option<PathBuf> {
    if script.is_absolute() {
        return script.is_file().then(|| script.to_owned());
    }
    let places = around.dir.into_iter().chain([around.from]);
    places.map(|place| place.join(script)).find(|file| file.is_file())
}

/// A command of an interpreter alone, which shows that it works.
fn trial(program: &Path) -> Option<Vec<OsString>> {
    let name = program.file_name()?.to_str()?;
    let arguments: &[&str] = match without_version(name) {
        // it loads what it always does
        "python" | "pypy" => &["-I", "-c", ""],
        "node" | "nodejs" | "ruby" | "perl" | "lua" => &["-e", ""],
        "sh" | "bash" | "dash" | "zsh" | "ksh" => &["-c", ":"],
        "bun" | "cargo" | "deno" | "git" | "php" | "rustc" => &["--version"],
        "java" => &["-version"],
        _ => return None,
    };
    let words = std::iter::once(program.as_os_str().to_owned());
    Some(words.chain(arguments.iter().map(OsString::from)).collect())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "helpers of a test, which is to end where it cannot go on")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A home directory with tools.
    struct Machine {
        base: tempfile::TempDir,
        private: Private,
    }

    impl Machine {
        fn new() -> Self {
            let base = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
            std::fs::create_dir_all(base.path().join("home/work")).unwrap();
            let private = Private::new(Some(&base.path().join("home")), &[]);
            Self { base, private }
        }

        fn at(&self, path: &str) -> PathBuf {
            real(self.base.path()).join("home").join(path)
        }

        fn file(&self, path: &str, text: &str) -> PathBuf {
            let path = self.at(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn link(&self, path: &str, to: &Path) -> PathBuf {
            let path = self.at(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(to, &path).unwrap();
            path
        }

        /// The words of a command, and what it reads below home.
        fn needs(&self, command: &[&str]) -> (Vec<String>, Vec<String>) {
            let around = Around { from: &self.at("work"), dir: None, private: &self.private };
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            let needs = Needs::of(&command, &around).unwrap();
            let shown = |path: &Path| path.strip_prefix(self.at("")).unwrap_or(path).display().to_string();
            let words = needs.command.iter().map(|word| shown(Path::new(word))).collect();
            (words, needs.read.iter().map(|path| shown(path)).collect())
        }
    }

    /// promise: Sandbox | A worker finds what its command needs: shims, links, `#!`, virtual environments, and scripts beside it
    #[test]
    fn programs_below_home_lead_to_their_installations() {
        let machine = Machine::new();
        machine.file(".pyenv/versions/3.11/lib/os.py", "");
        let python = machine.file(".pyenv/versions/3.11/bin/python3", "\x7fELF");
        let manager = format!("#!/bin/sh\n[ \"$1\" = which ] && echo {}\n", python.display());
        machine.file(".pyenv/bin/pyenv", &manager);
        let shim = machine.file(".pyenv/shims/python3", "#!/bin/sh\nexec \"/x/pyenv\" exec \"$program\" \"$@\"\n");
        let of =
            |program: &Path, arguments: &[&str]| machine.needs(&[&[program.to_str().unwrap()], arguments].concat());
        let versions = ".pyenv/versions/3.11".to_owned();
        let resolved = format!("{versions}/bin/python3");
        assert_eq!(of(&shim, &[]), (vec![resolved.clone()], vec![versions.clone()]), "a shim");
        let link = machine.link("bin/py", &python);
        assert_eq!(of(&link, &[]).1, ["bin/py".to_owned(), versions.clone()], "a link");
        // a virtual environment
        machine.file("work/venv/pyvenv.cfg", &format!("home = {}\n", python.parent().unwrap().display()));
        let in_venv = machine.link("work/venv/bin/python", &python);
        let (words, read) = of(&in_venv, &["s.py"]);
        assert_eq!(words, ["work/venv/bin/python", "s.py"], "not there: as it came");
        assert_eq!(read, [versions.clone(), "work/venv".to_owned()]);
        machine.file("work/s.py", "");
        let (words, read) = of(&in_venv, &["-X", "utf8", "s.py", "s.py"]);
        assert_eq!(words[3..], ["work/s.py", "s.py"], "the script alone has a place");
        assert_eq!(read.last().unwrap(), "work");
        // a script of it
        let tool = machine.file("work/venv/bin/tool", &format!("#!{}\n", in_venv.display()));
        assert!(of(&tool, &[]).1.contains(&versions), "#!");
        assert!(machine.needs(&["env", "A=1", in_venv.to_str().unwrap(), "s.py"]).1.contains(&versions), "a wrapper");
        // no script
        for inline in [&["-c", "s.py"][..], &["-m", "s.py"], &["-Sc", "s.py"]] {
            assert_eq!(of(&in_venv, inline).0[2], "s.py", "{inline:?}");
        }
        machine.file("work/.env", "SECRET=1");
        assert_eq!(of(&in_venv, &["s.py"]).1.last().unwrap(), "work/s.py", "beside keys it is opened alone");
        let own = machine.file(".cargo/bin/tool", "\x7fELF");
        machine.file(".cargo/lib/x", "");
        assert_eq!(of(&own, &[]).1, [".cargo/bin/tool"], "no directory of many programs");
    }

    #[test]
    fn rustup_and_links_of_managers_are_asked() {
        let machine = Machine::new();
        machine.file(".rustup/toolchains/x/lib/y", "");
        let cargo = machine.file(".rustup/toolchains/x/bin/cargo", "\x7fELF");
        machine.file(".cargo/bin/rustup", &format!("#!/bin/sh\necho {}\n", cargo.display()));
        let shim = machine.at(".cargo/bin/cargo");
        std::fs::hard_link(machine.at(".cargo/bin/rustup"), &shim).unwrap();
        let (words, read) = machine.needs(&[shim.to_str().unwrap(), "build"]);
        assert_eq!(
            (words, read),
            (vec![".rustup/toolchains/x/bin/cargo".into(), "build".into()], vec![".rustup/toolchains/x".into()])
        );
        let mise = machine.file("tools/mise", &format!("#!/bin/sh\necho {}\n", cargo.display()));
        let shim = machine.link(".local/share/mise/shims/node", &mise);
        assert_eq!(machine.needs(&[shim.to_str().unwrap()]).1, [".rustup/toolchains/x"]);
        // a manager that answers nothing is a program like others
        machine.file("tools/mise", "#!/bin/sh\nexit 1\n");
        assert_eq!(machine.needs(&[shim.to_str().unwrap()]).0, [".local/share/mise/shims/node"]);
    }

    #[test]
    fn scripts_of_node_read_the_modules_above_them() {
        let machine = Machine::new();
        machine.file("work/app/bin/n.js", "");
        machine.file("work/app/package.json", "{}");
        machine.file("work/app/node_modules/x/i.js", "");
        machine.file("work/node_modules/y/i.js", "");
        let node = machine.file("node/bin/node", "\x7fELF");
        machine.file("node/lib/x", "");
        let (words, read) = machine.needs(&[node.to_str().unwrap(), "--require", "z", "app/bin/n.js"]);
        assert_eq!(words[3], "work/app/bin/n.js");
        let expected = ["node", "work/app/node_modules", "work/app/package.json", "work/node_modules", "work/app/bin"];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        let machine = Machine::new();
        let around = Around { from: &machine.at("work"), dir: None, private: &machine.private };
        let problem = |program: &Path| Needs::of(&[program.into()], &around).unwrap_err();
        assert_eq!(problem(Path::new("no-such-program-anywhere")).code, "failed");
        let script = machine.file("work/s", "#!/no/such/interpreter\n");
        assert!(problem(&script).message.contains("/no/such/interpreter"), "{:?}", problem(&script));
        let itself = machine.file("work/loop", &format!("#!{}\n", machine.at("work/loop").display()));
        assert!(problem(&itself).message.contains("ever other"), "{:?}", problem(&itself));
    }
}
