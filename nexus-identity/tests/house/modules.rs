//! The modules of a crate without those for tests, and the file that a path leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use super::source::{Item, Token, closing, items, tokens};

/// The sources of a crate by their paths from its folder, with `/`.
pub(crate) type Files = BTreeMap<String, String>;

/// More imports than a name passes on its way to its definition. An import of a crate by its own name would have no end.
const IMPORTS_MAX: usize = 16;

pub(crate) struct Crate {
    /// Its folder in the workspace.
    pub(crate) name: String,
    modules: Vec<Module>,
    pub(crate) types: Vec<Type>,
    pub(crate) functions: Vec<Function>,
}

/// A struct, an enum or a trait.
pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) file: String,
    /// Named fields of a struct.
    pub(crate) fields: usize,
}

pub(crate) struct Function {
    /// With its type, if it has one: `Type::function`.
    pub(crate) name: String,
    pub(crate) file: String,
    /// From `fn` to the last brace.
    pub(crate) lines: usize,
}

/// A module: a file, or one that is within another module's braces.
#[derive(Default)]
struct Module {
    file: String,
    above: Option<usize>,
    below: BTreeMap<String, usize>,
    defines: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of two parts and more, with their lines.
    paths: BTreeMap<Vec<String>, usize>,
    /// Words that may be names of imports, with their lines.
    words: BTreeMap<String, usize>,
}

struct Import {
    path: Vec<String>,
    /// The name here; none for `*`.
    name: Option<String>,
    lent: bool,
}

/// Where a path leads.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Module(usize),
    /// Something that a module defines.
    Inside(usize),
}

/// By the file that names something and the file that defines it: these names.
pub(crate) type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// All crates of the workspace, in its order.
pub(crate) fn workspace() -> &'static [Crate] {
    static CRATES: LazyLock<Vec<Crate>> = LazyLock::new(read_workspace);
    &CRATES
}

fn read_workspace() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap();
    let names = members.split('"').skip(1).step_by(2);
    names.map(|name| Crate::read(name, &root.join(name))).collect()
}

impl Crate {
    fn read(name: &str, folder: &Path) -> Self {
        let mut files = Files::new();
        read(folder, "src", &mut files);
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
        let mut roots: BTreeSet<String> = named.filter(|path| path.starts_with("src/")).map(str::to_owned).collect();
        let usual = |path: &str| {
            path == "src/lib.rs" || path == "src/main.rs" || path.matches('/').count() == 2 && in_bin(path)
        };
        roots.extend(files.keys().filter(|path| usual(path)).cloned());
        Self::new(name, &files, roots.iter().map(String::as_str))
    }

    /// A crate of these files, of which some are roots.
    pub(crate) fn new<'r>(name: &str, files: &Files, roots: impl IntoIterator<Item = &'r str>) -> Self {
        let mut made = Self { name: name.to_owned(), modules: Vec::new(), types: Vec::new(), functions: Vec::new() };
        for root in roots {
            let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
            made.file(files, root, folder, None);
        }
        made
    }

    /// Adds the module of a file, and all below it, which are in a folder.
    fn file(&mut self, files: &Files, file: &str, folder: &str, above: Option<usize>) -> usize {
        let text = files.get(file).unwrap_or_else(|| panic!("{}/{file} is not there", self.name));
        self.module(files, file, folder, &tokens(text), above)
    }

    fn module(&mut self, files: &Files, file: &str, folder: &str, tokens: &[Token<'_>], above: Option<usize>) -> usize {
        let number = self.modules.len();
        self.modules.push(Module { file: file.to_owned(), above, ..Module::default() });
        for item in items(tokens).iter().filter(|item| !item.is_test()) {
            if item.kind == "mod" {
                let inside = format!("{folder}/{}", item.name);
                let below = if item.body.is_empty() && item.tokens.last().unwrap().text == ";" {
                    let file = module_file(files, file, &inside, item);
                    self.file(files, &file, &inside, Some(number))
                } else {
                    self.module(files, file, &inside, item.body, Some(number))
                };
                self.modules[number].below.insert(item.name.to_owned(), below);
            } else {
                self.modules[number].take(item);
                self.measure(file, item);
            }
        }
        number
    }

    fn measure(&mut self, file: &str, item: &Item<'_, '_>) {
        let owner = match item.kind {
            "impl" => implemented(item),
            "trait" => item.name,
            _ => "",
        };
        let inside = if owner.is_empty() { Vec::new() } else { items(item.body) };
        for function in inside.iter().chain([item]).filter(|item| item.kind == "fn") {
            let prefix = if owner.is_empty() { String::new() } else { format!("{owner}::") };
            let (name, file) = (format!("{prefix}{}", function.name), file.to_owned());
            self.functions.push(Function { name, file, lines: function.lines() });
        }
        if matches!(item.kind, "struct" | "enum" | "trait") {
            let fields = if item.kind == "struct" { fields(item.body) } else { 0 };
            self.types.push(Type { name: item.name.to_owned(), file: file.to_owned(), fields });
        }
    }

    /// The arrows from files to those that define what they name. A name that is lent on (`pub use`) is no arrow: whoever takes it
    /// there takes it from the file that defines it.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        let mut add = |from: usize, place: Option<Place>, name: &str| {
            let Some(Place::Inside(to)) = place else { return };
            let (from, to) = (&self.modules[from].file, &self.modules[to].file);
            if from != to {
                arrows.entry((from.clone(), to.clone())).or_default().insert(name.to_owned());
            }
        };
        for (number, module) in self.modules.iter().enumerate() {
            for import in &module.imports {
                let path = import.path.join("::");
                let Some(name) = &import.name else {
                    match self.find(number, &import.path, true, IMPORTS_MAX) {
                        Some(Place::Module(lender)) => {
                            for word in module.words.keys().filter(|word| !module.defines.contains(*word)) {
                                let place = self.step(lender, word, false, IMPORTS_MAX);
                                add(number, place, word);
                            }
                        }
                        place => add(number, place, &path),
                    }
                    continue;
                };
                if !import.lent || module.words.contains_key(name) {
                    add(number, self.find(number, &import.path, false, IMPORTS_MAX), &path);
                }
            }
            for path in module.paths.keys() {
                add(number, self.find(number, path, false, IMPORTS_MAX), &path.join("::"));
            }
        }
        arrows
    }

    /// Where a path leads that is written in a module; nothing for other crates.
    fn find(&self, from: usize, path: &[String], to_module: bool, imports: usize) -> Option<Place> {
        let mut place = match path[0].as_str() {
            "crate" => {
                let mut root = from;
                while let Some(above) = self.modules[root].above {
                    root = above;
                }
                Place::Module(root)
            }
            "self" => Place::Module(from),
            "super" => Place::Module(self.modules[from].above?),
            name => self.step(from, name, to_module || path.len() > 1, imports)?,
        };
        for (at, name) in path.iter().enumerate().skip(1) {
            let Place::Module(module) = place else { break };
            place = if name == "super" {
                Place::Module(self.modules[module].above?)
            } else {
                let to_module = to_module || at + 1 < path.len();
                // a macro may define what is not seen here
                self.step(module, name, to_module, imports).unwrap_or(Place::Inside(module))
            };
        }
        Some(place)
    }

    /// The meaning of a name in a module. A module and a function may have one name.
    fn step(&self, module: usize, name: &str, to_module: bool, imports: usize) -> Option<Place> {
        let here = &self.modules[module];
        let below = here.below.get(name).map(|below| Place::Module(*below));
        let defined = here.defines.contains(name).then_some(Place::Inside(module));
        let own = if to_module { below.or(defined) } else { defined.or(below) };
        if own.is_some() || imports == 0 {
            return own;
        }
        let named = here.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        let imported = named.filter_map(|import| self.find(module, &import.path, to_module, imports - 1)).next();
        let stars = here.imports.iter().filter(|import| import.name.is_none());
        let mut starred = stars.filter_map(|import| match self.find(module, &import.path, true, imports - 1)? {
            Place::Module(lender) if lender != module => self.step(lender, name, to_module, imports - 1),
            _ => None,
        });
        imported.or_else(|| starred.next())
    }
}

impl Module {
    /// Adds an item that is no module.
    fn take(&mut self, item: &Item<'_, '_>) {
        if item.kind == "use" {
            return take_imports(&item.tokens[1..item.tokens.len() - 1], &[], item.lent, &mut self.imports);
        }
        if matches!(
            item.kind,
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" | "macro_rules"
        ) {
            self.defines.insert(item.name.to_owned());
        }
        for tokens in item.attributes.iter().copied().chain([item.tokens]) {
            self.take_paths(tokens);
        }
    }

    /// Adds the paths of code, and the imports within it.
    fn take_paths(&mut self, tokens: &[Token<'_>]) {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let mut at = 0;
        while at < tokens.len() {
            let begins = at;
            at += 1;
            if text(begins) == "pub" && text(at) == "(" {
                at = closing(tokens, at) + 1;
            } else if text(begins) == "use" && text(at) != "<" {
                let end = (at..tokens.len()).find(|end| text(*end) == ";").unwrap_or(tokens.len());
                take_imports(&tokens[at..end], &[], false, &mut self.imports);
                at = end;
            } else if tokens[begins].is_word() {
                let before = if begins == 0 { "" } else { text(begins - 1) };
                let mut path = vec![text(begins).to_owned()];
                while text(at) == "::" && tokens.get(at + 1).is_some_and(Token::is_word) {
                    path.push(text(at + 1).to_owned());
                    at += 2;
                }
                if matches!(before, "." | "::" | "fn") {
                    continue;
                }
                // a word in lower case may be a variable
                if path.len() > 1 || path[0].starts_with(char::is_uppercase) || matches!(text(at), "(" | "!") {
                    self.words.insert(path[0].clone(), tokens[begins].line);
                }
                if path.len() > 1 {
                    self.paths.insert(path, tokens[begins].line);
                }
            }
        }
    }
}

/// The names that an import brings; none for `*`.
pub(crate) fn imported(item: &Item<'_, '_>) -> Vec<String> {
    let mut imports = Vec::new();
    take_imports(&item.tokens[1..item.tokens.len() - 1], &[], item.lent, &mut imports);
    imports.into_iter().filter_map(|import| import.name).collect()
}

/// The imports of a tree: of `a::{b, c as d, e::*}` three.
fn take_imports(tokens: &[Token<'_>], above: &[String], lent: bool, imports: &mut Vec<Import>) {
    let (mut path, mut name, mut at) = (above.to_vec(), None, 0);
    while at < tokens.len() {
        match tokens[at].text {
            "{" => {
                let (mut begins, end) = (at + 1, closing(tokens, at));
                let mut depth = 0;
                for comma in at + 1..=end {
                    match tokens[comma].text {
                        "{" => depth += 1,
                        "}" if comma < end => depth -= 1,
                        "," | "}" if depth == 0 => {
                            take_imports(&tokens[begins..comma], &path, lent, imports);
                            begins = comma + 1;
                        }
                        _ => {}
                    }
                }
                return;
            }
            "*" => return imports.push(Import { path, name: None, lent }),
            "as" => {
                name = Some(tokens[at + 1].text.to_owned());
                at += 1;
            }
            // `a::{self}` is `a`
            "self" if !path.is_empty() => {}
            "::" => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if path.len() > above.len() || !above.is_empty() && !tokens.is_empty() {
        let name = name.or_else(|| path.last().cloned());
        imports.push(Import { path, name, lent });
    }
}

/// The type of an `impl`.
fn implemented<'a>(item: &Item<'_, 'a>) -> &'a str {
    let (mut name, mut depth) = ("_", 0);
    for token in &item.tokens[1..] {
        match token.text {
            "<" => depth += 1,
            ">" => depth -= 1,
            "{" | "where" => break,
            "for" if depth == 0 => name = "_",
            _ if depth == 0 && token.is_word() => name = token.text,
            _ => {}
        }
    }
    name
}

/// The number of a struct's named fields, from what is within its braces.
fn fields(body: &[Token<'_>]) -> usize {
    let (mut fields, mut depth) = (0, 0);
    for token in body {
        match token.text {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth -= 1,
            ":" if depth == 0 => fields += 1,
            _ => {}
        }
    }
    fields
}

/// The file of a module that another file declares.
fn module_file(files: &Files, by: &str, inside: &str, item: &Item<'_, '_>) -> String {
    let told = item.attributes.iter().find(|attribute| attribute[0].text == "path");
    if let Some(told) = told {
        let mut parts: Vec<&str> = by.split('/').collect();
        parts.pop();
        for part in told.last().unwrap().text.trim_matches('"').split('/') {
            match part {
                ".." => parts.truncate(parts.len() - 1),
                _ => parts.push(part),
            }
        }
        return parts.join("/");
    }
    let inside = inside.trim_start_matches('/');
    let file = format!("{inside}.rs");
    if files.contains_key(&file) { file } else { format!("{inside}/mod.rs") }
}

fn in_bin(path: &str) -> bool {
    path.starts_with("src/bin/")
}

/// Reads all sources below a folder of a crate.
pub(crate) fn read(root: &Path, folder: &str, files: &mut Files) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            read(root, &path, files);
        } else if path.ends_with(".rs") {
            files.insert(path, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// A crate of a few lines, for tests of the rules.
pub(crate) fn made(files: &[(&str, &str)]) -> Crate {
    let files: Files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    Crate::new("made", &files, ["lib.rs"])
}

#[test]
fn an_arrow_leads_to_the_file_that_defines_the_name() {
    let arrows = |by: &str| -> Vec<String> {
        let root = "mod a; mod b; pub use b::c::C; pub fn top() {} macro!{ hidden }\n#[cfg(test)]\nmod t;";
        let b = "mod c; pub use self::c::{C, d}; pub mod e { pub struct E; }";
        let files = [("lib.rs", root), ("a.rs", by), ("b.rs", b), ("b/c.rs", "pub struct C; pub fn d() {}")];
        made(&files).arrows().into_keys().filter(|(from, _)| from == "a.rs").map(|(_, to)| to).collect()
    };
    assert_eq!(arrows("use crate::C;"), ["b/c.rs"]);
    assert_eq!(arrows("use super::b::{C, e::E as F};"), ["b.rs", "b/c.rs"]);
    assert_eq!(arrows("use super::b; fn f() { b::d() }"), ["b/c.rs"]);
    assert_eq!(arrows("fn f() { crate::top() }"), ["lib.rs"]);
    assert_eq!(arrows("fn f() { super::b::c::C::new() }"), ["b/c.rs"]);
    assert_eq!(arrows("use super::hidden;"), ["lib.rs"]);
    assert_eq!(arrows("fn f() { use crate::b::*; let x: C; }"), ["b/c.rs"]);
    assert_eq!(arrows("use super::b; use other::b::C; // crate::C\nfn f() -> Self { g(\"crate::C\") }"), [""; 0]);
    assert_eq!(arrows("pub use super::b::C;"), [""; 0]);
    assert_eq!(arrows("pub use super::b::C; fn f(c: C) {}"), ["b/c.rs"]);
    assert_eq!(arrows("#[cfg(test)]\nmod tests { use crate::C; }"), [""; 0]);
}
