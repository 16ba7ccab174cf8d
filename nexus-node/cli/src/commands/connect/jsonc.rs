//! JSON with comments: changes one place and keeps every other byte.

use std::borrow::Cow;

use nexus_crdt::whole_characters;
use serde_json::{Map, Value};

/// A step down into a document.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

/// The value of a document, without its comments. An empty text is an empty object.
pub(super) fn value(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() { Ok(Value::Object(Map::new())) } else { Ok(parse(text)?.value(text)) }
}

/// Sets the value at a path of names, and creates missing objects on the way.
pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(format!("{}\n", wrapped(path, value, 0)));
    }
    let root = parse(text)?;
    let mut node = &root;
    for (above, name) in path.iter().enumerate() {
        let Body::Object(members) = &node.body else {
            let owner = path.get(above.saturating_sub(1)).unwrap_or(name);
            return Err(format!("{owner}: {}", expected(text, node.start, "'{'")));
        };
        let depth = above + 1;
        match members.iter().rev().find(|member| member.name == *name) {
            Some(member) => node = &member.node,
            None => {
                let member = format!("{}: {}", Value::from(*name), wrapped(&path[depth..], value, depth));
                return Ok(insert(text, node, &member, depth));
            }
        }
    }
    if node.value(text) == *value {
        return Ok(text.to_owned());
    }
    Ok(format!("{}{}{}", &text[..node.start], pretty(value, path.len()), &text[node.end..]))
}

/// Puts a text in the place of another one. Without that place, nothing changes.
pub(super) fn replace(text: &str, steps: &[Step<'_>], by: &str) -> Result<String, String> {
    replace_part(text, steps, &Value::from(by).to_string())
}

/// The same with a part as it is written elsewhere.
pub(super) fn replace_part(text: &str, steps: &[Step<'_>], by: &str) -> Result<String, String> {
    let root = parse(text)?;
    let Some(node) = root.at(steps) else { return Ok(text.to_owned()) };
    Ok(format!("{}{by}{}", &text[..node.start], &text[node.end..]))
}

/// A part of a document as it is written.
pub(super) fn part<'a>(text: &'a str, steps: &[Step<'_>]) -> Result<Option<&'a str>, String> {
    Ok(parse(text)?.at(steps).map(|node| &text[node.start..node.end]))
}

/// Adds a value at the end of the list at a path, and creates what is missing.
pub(super) fn append(text: &str, path: &[&str], value: &Value) -> Result<String, String> {
    let list = |value: &Value| Value::Array(vec![value.clone()]);
    if text.trim().is_empty() {
        return set(text, path, &list(value));
    }
    let root = parse(text)?;
    let steps: Vec<Step<'_>> = path.iter().copied().map(Step::Name).collect();
    match root.at(&steps) {
        None => set(text, path, &list(value)),
        Some(node) if matches!(node.body, Body::List(_)) => {
            let depth = path.len() + 1;
            Ok(insert(text, node, &pretty(value, depth), depth))
        }
        Some(node) => Err(format!("{}: {}", path.join("."), expected(text, node.start, "'['"))),
    }
}

/// Takes a member or an element out, with its line if it has one of its own. Comments beside it stay. Without that
/// place, nothing changes.
pub(super) fn take(text: &str, steps: &[Step<'_>]) -> Result<String, String> {
    let root = parse(text)?;
    let Some((last, above)) = steps.split_last() else { return Ok(text.to_owned()) };
    let Some(container) = root.at(above) else { return Ok(text.to_owned()) };
    let Some(index) = container.index_of(*last) else { return Ok(text.to_owned()) };
    let (open, close) = (container.start + 1, container.end - 1);
    let child = &container.children()[index];
    let end = child.comma.map_or(child.node.end, |comma| comma + 1);
    // A last one leaves no comma behind.
    let before = index.checked_sub(1).and_then(|index| container.children()[index].comma);
    let spare = before.filter(|_| child.comma.is_none() && index + 1 == container.children().len());
    let rest = &text[end..close];
    let line_rest = rest.find('\n').map(|at| rest[..at].strip_suffix('\r').unwrap_or(&rest[..at]));
    let line = text[open..child.from].rfind('\n').map(|at| open + at);
    let indent = line.map(|line| &text[line + 1..child.from]);
    let (from, to) = match (line, indent, line_rest) {
        (Some(line), Some(indent), Some(line_rest)) if indent.trim().is_empty() && line_rest.trim().is_empty() => {
            let line = if text[..line].ends_with('\r') { line - 1 } else { line };
            (line, end + line_rest.len())
        }
        _ => {
            let next = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            // The space between two on one line goes; a comment there stays.
            let from = spare.map(|comma| comma + 1).filter(|after| text[*after..child.from].trim().is_empty());
            (from.unwrap_or(child.from), if spare.is_some() { end } else { end + next })
        }
    };
    let inside = match spare {
        Some(comma) => format!("{}{}{}", &text[open..comma], &text[comma + 1..from], &text[to..close]),
        None => format!("{}{}", &text[open..from], &text[to..close]),
    };
    let inside = if inside.trim().is_empty() { "" } else { &inside };
    let after = format!("{}{inside}{}", &text[..open], &text[close..]);
    parse(&after).map(|_| after)
}

/// Adds a child at the end of an object or a list.
fn insert(text: &str, container: &Node, child: &str, depth: usize) -> String {
    let (open, close) = (container.start + 1, container.end - 1);
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let indent = "  ".repeat(depth);
    match container.children().last() {
        None => {
            let (front, back) = (&text[..open], text[open..close].trim_end());
            let rest = &text[close..];
            let outer = "  ".repeat(depth - 1);
            format!("{front}{back}{line_end}{indent}{child}{line_end}{outer}{rest}")
        }
        Some(last) => {
            // After the last child: on a line of its own if that one has its own, with the same indent.
            let line = text[..last.from].rfind('\n').map_or(0, |at| at + 1);
            let before = &text[line..last.from];
            let own_line = before.trim().is_empty() && line > open;
            let separator = if own_line { format!("{line_end}{before}") } else { " ".to_owned() };
            let (end, comma) = match last.comma {
                Some(comma) => (comma + 1, ""),
                None => (last.node.end, ","),
            };
            // A comment after the last child stays after it.
            let said = if own_line { comment_behind(&text[end..close]) } else { 0 };
            let (remark, rest) = text[end..].split_at(said);
            format!("{}{comma}{remark}{separator}{child}{rest}", &text[..end])
        }
    }
}

/// The length of the comment on the rest of the line, with the space before it.
fn comment_behind(rest: &str) -> usize {
    let line = rest.find('\n').map_or(rest, |end| &rest[..end]).trim_end();
    let comment = line.trim_start();
    let whole =
        comment.starts_with("//") || (comment.starts_with("/*") && comment.find("*/") == Some(comment.len() - 2));
    if whole { line.len() } else { 0 }
}

/// A value inside of the missing objects.
fn wrapped(path: &[&str], value: &Value, depth: usize) -> String {
    let whole = path.iter().rev().fold(value.clone(), |inner, name| serde_json::json!({ *name: inner }));
    pretty(&whole, depth)
}

fn pretty(value: &Value, depth: usize) -> String {
    // Values have string keys, so writing them cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.replace('\n', &format!("\n{}", "  ".repeat(depth)))
}

/// A value in a text, with its place.
struct Node {
    start: usize,
    end: usize,
    body: Body,
}

enum Body {
    Object(Vec<Child>),
    List(Vec<Child>),
    Plain,
}

/// A member of an object or an element of a list, which has no name.
struct Child {
    name: String,
    from: usize,
    node: Node,
    comma: Option<usize>,
}

impl Node {
    fn children(&self) -> &[Child] {
        match &self.body {
            Body::Object(children) | Body::List(children) => children,
            Body::Plain => &[],
        }
    }

    fn index_of(&self, step: Step<'_>) -> Option<usize> {
        match (&self.body, step) {
            (Body::Object(members), Step::Name(name)) => members.iter().rposition(|member| member.name == name),
            (Body::List(elements), Step::Index(index)) => (index < elements.len()).then_some(index),
            _ => None,
        }
    }

    fn at(&self, steps: &[Step<'_>]) -> Option<&Self> {
        steps.iter().try_fold(self, |node, step| Some(&node.children()[node.index_of(*step)?].node))
    }

    fn value(&self, text: &str) -> Value {
        match &self.body {
            Body::Object(members) => {
                members.iter().map(|member| (member.name.clone(), member.node.value(text))).collect()
            }
            Body::List(elements) => elements.iter().map(|element| element.node.value(text)).collect(),
            // The reader has taken it as a value before.
            Body::Plain => serde_json::from_str(&whole(&text[self.start..self.end])).unwrap_or_default(),
        }
    }
}

/// Reads a text, whose value is an object.
fn parse(text: &str) -> Result<Node, String> {
    let mut reader = Reader { text, at: 0 };
    reader.skip()?;
    if !reader.rest().starts_with('{') {
        return Err(reader.expected("'{'"));
    }
    let root = reader.value(0)?;
    reader.skip()?;
    if reader.at < text.len() {
        return Err(reader.expected("the end"));
    }
    Ok(root)
}

fn expected(text: &str, at: usize, what: &str) -> String {
    let line = text[..at].matches('\n').count() + 1;
    format!("line {line}: {what} was expected")
}

/// The deepest nesting of values.
const DEPTH_MAX: usize = 128;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, what: &str) -> String {
        expected(self.text, self.at, what)
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let length = if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map(|end| end + 2).ok_or_else(|| self.expected("the end of a comment"))?
            } else {
                return Ok(());
            };
            self.at += length;
        }
    }

    fn take(&mut self, letter: char) -> Result<(), String> {
        if !self.rest().starts_with(letter) {
            return Err(self.expected(&format!("{letter:?}")));
        }
        self.at += letter.len_utf8();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(self.expected("less nesting"));
        }
        let start = self.at;
        let body = match self.rest().chars().next() {
            Some('{') => Body::Object(self.children(depth, '}')?),
            Some('[') => Body::List(self.children(depth, ']')?),
            Some('"') => self.string().map(|_| Body::Plain)?,
            _ => {
                let length = self.rest().find([',', ']', '}', ' ', '\t', '\r', '\n', '/']).unwrap_or(self.rest().len());
                let word = &self.rest()[..length];
                if word.is_empty() || serde_json::from_str::<Value>(word).is_err() {
                    return Err(self.expected("a value"));
                }
                self.at += length;
                Body::Plain
            }
        };
        Ok(Node { start, end: self.at, body })
    }

    /// The members of an object or the elements of a list, from its opening to its closing bracket.
    fn children(&mut self, depth: usize, close: char) -> Result<Vec<Child>, String> {
        self.at += 1;
        let mut children: Vec<Child> = Vec::new();
        loop {
            self.skip()?;
            if self.rest().starts_with(close) {
                self.at += 1;
                return Ok(children);
            }
            if children.last().is_some_and(|child| child.comma.is_none()) {
                return Err(self.expected("','"));
            }
            let (from, mut name) = (self.at, String::new());
            if close == '}' {
                name = self.string()?;
                self.skip()?;
                self.take(':')?;
                self.skip()?;
            }
            let node = self.value(depth + 1)?;
            self.skip()?;
            let comma = self.rest().starts_with(',').then_some(self.at);
            self.at += usize::from(comma.is_some());
            children.push(Child { name, from, node, comma });
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        self.take('"')?;
        let mut escaped = false;
        let end = self.rest().char_indices().find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let (end, _) = end.ok_or_else(|| self.expected("the end of a string"))?;
        self.at += end + 1;
        serde_json::from_str(&whole(&self.text[start..self.at])).map_err(|_| self.expected("a string"))
    }
}

/// A string with whole characters. Half of one stays in the file as it is.
fn whole(string: &str) -> Cow<'_, str> {
    whole_characters(string.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PATH: &[&str] = &["mcpServers", "nexus"];

    fn entry() -> Value {
        json!({ "args": ["mcp"], "command": "n" })
    }

    #[track_caller]
    fn sets(before: &str, after: &str) {
        let set_once = set(before, PATH, &entry()).unwrap();
        assert_eq!(set_once, after);
        assert_eq!(set(&set_once, PATH, &entry()).unwrap(), set_once, "twice is once");
    }

    #[test]
    fn the_entry_is_added_and_everything_else_stays_as_it_was() {
        let fresh = "{\n  \"mcpServers\": {\n    \"nexus\": {\n      \"args\": [\n        \"mcp\"\n      ],\n      \"command\": \"n\"\n    }\n  }\n}\n";
        sets("", fresh);
        sets("{}", fresh.trim_end());
        let own = "\"nexus\": {\n      \"args\": [\n        \"mcp\"\n      ],\n      \"command\": \"n\"\n    }";
        sets(
            "{\n  // mine\n  \"theme\": \"dark\", /* } */\n  \"mcpServers\": {\n    \"other\": { \"url\": \"http://x//y\" } // last\n  }\n}\n",
            &format!(
                "{{\n  // mine\n  \"theme\": \"dark\", /* }} */\n  \"mcpServers\": {{\n    \"other\": {{ \"url\": \"http://x//y\" }}, // last\n    {own}\n  }}\n}}\n"
            ),
        );
        // a trailing comma, which many programs allow beside comments
        let trailing = set("{\n  \"mcpServers\": {\n    \"a\": 1,\n  },\n}", PATH, &entry()).unwrap();
        assert!(trailing.contains("\"a\": 1,\n    \"nexus\": {"), "{trailing}");
        let unlike = set("{\"mcpServers\":{\"nexus\":{\"old\":1},\"b\":2}}", PATH, &entry()).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&unlike).unwrap(),
            json!({ "mcpServers": { "nexus": entry(), "b": 2 } })
        );
        let one_line = set("{\"a\":1}", PATH, &entry()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&one_line).unwrap()["a"], 1);
    }

    #[test]
    fn half_of_a_character_in_another_ones_text_stays() {
        let before = r#"{"projects": {"/a/\ud83d": {"last": "cut \ude00"}}, "mcpServers": {"b": 1}}"#;
        let with = set(before, PATH, &entry()).unwrap();
        assert!(with.contains(r#""/a/\ud83d": {"last": "cut \ude00"}"#), "{with}");
        assert_eq!(take(&with, &steps(PATH)).unwrap(), before);
    }

    #[test]
    fn what_cannot_be_understood_is_not_touched() {
        for text in [
            "[]",
            "{",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":}",
            "{\"a\":1}}",
            "{\"mcpServers\":[]}",
            "/* x",
            "{\"a\":\"x",
        ] {
            assert!(set(text, PATH, &entry()).is_err(), "{text}");
        }
        assert!(set(&format!("{{\"a\":{}", "[".repeat(10_000)), PATH, &entry()).is_err());
    }

    fn steps<'a>(names: &[&'a str]) -> Vec<Step<'a>> {
        names.iter().copied().map(Step::Name).collect()
    }

    #[track_caller]
    fn takes(before: &str, after: &str) {
        assert_eq!(take(before, &steps(PATH)).unwrap(), after);
        assert_eq!(take(after, &steps(PATH)).unwrap(), after, "twice is once");
    }

    #[test]
    fn the_entry_is_taken_and_every_other_byte_stays() {
        for (rest, after) in [
            ("\n    \"a\": 1", "\n    \"a\": 1"),
            ("\n    \"a\": 1 // mine", "\n    \"a\": 1 // mine"),
            ("\n    \"a\": 1 /* mine */", "\n    \"a\": 1 /* mine */"),
        ] {
            let before = format!("{{ // top\n  \"mcpServers\": {{{rest}\n  }}, // end\n  \"x\": [1,2]\n}}");
            let with = set(&before, PATH, &entry()).unwrap();
            takes(&with, &before.replace(rest, after));
        }
        // in the middle, with a comment behind it, which stays
        takes(
            "{\"mcpServers\": {\r\n  \"a\": 1,\r\n  \"nexus\": { \"x\": 1 },\r\n  \"b\": 2\r\n}}",
            "{\"mcpServers\": {\r\n  \"a\": 1,\r\n  \"b\": 2\r\n}}",
        );
        takes(
            "{\"mcpServers\": {\n  \"a\": 1, // a\n  \"nexus\": {}, // n\n  \"b\": 2\n}}",
            "{\"mcpServers\": {\n  \"a\": 1, // a\n  // n\n  \"b\": 2\n}}",
        );
        takes("{\"mcpServers\":{\"nexus\":1, \"b\":2}}", "{\"mcpServers\":{\"b\":2}}");
        takes("{\"mcpServers\":{\"a\":1, \"nexus\":1}}", "{\"mcpServers\":{\"a\":1}}");
        takes("{\"mcpServers\":{\"a\":1, /* n */ \"nexus\":1}}", "{\"mcpServers\":{\"a\":1 /* n */ }}");
        takes("{ \"mcpServers\": { \"nexus\": 1 } }", "{ \"mcpServers\": {} }");
        takes("{\"mcpServers\": {\n  // none of mine\n  \"nexus\": 1\n}}", "{\"mcpServers\": {\n  // none of mine\n}}");
        takes("{\"a\": 1}", "{\"a\": 1}");
        takes("{\"mcpServers\": [\"nexus\"]}", "{\"mcpServers\": [\"nexus\"]}");
        let list = "{\"l\": [1, /* two */ 2, 3]}";
        let without = |index| take(list, &[Step::Name("l"), Step::Index(index)]).unwrap();
        assert_eq!([without(0), without(3)], ["{\"l\": [/* two */ 2, 3]}", list]);
        assert_eq!(value(&without(2)).unwrap(), json!({ "l": [1, 2] }));
        assert!(take("{", &steps(PATH)).is_err());
    }

    #[test]
    fn a_list_grows_at_its_end_and_is_made_where_it_is_missing() {
        let path = &["hooks", "Start"];
        for text in
            ["", "{}", "{\"hooks\": {}}", "{\"hooks\": {\"Start\": []}}", "{\"hooks\": {\"Start\": [ // none\n]}}"]
        {
            let once = append(text, path, &json!({ "a": 1 })).unwrap();
            let twice = append(&once, path, &json!({ "b": 2 })).unwrap();
            assert_eq!(value(&twice).unwrap(), json!({ "hooks": { "Start": [{ "a": 1 }, { "b": 2 }] } }), "{twice}");
        }
        assert!(append("{\"hooks\": {\"Start\": 1}}", path, &json!(1)).is_err());
        assert!(append("{\"hooks\": 1}", path, &json!(1)).is_err());
        let other = replace("{\"a\": [{\"b\": 1} /* c */]}", &[Step::Name("a"), Step::Index(0), Step::Name("b")], "x");
        assert_eq!(other.unwrap(), "{\"a\": [{\"b\": \"x\"} /* c */]}");
    }
}
