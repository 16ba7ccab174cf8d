//! JSON with comments: sets one value and keeps every other byte.

use serde_json::Value;

/// Sets the value at a path of names, and creates missing objects on the way.
pub(super) fn set(text: &str, path: &[&str], value: &Value) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(format!("{}\n", wrapped(path, value, 0)));
    }
    let mut reader = Reader { text, at: 0 };
    reader.skip()?;
    let root = reader.object()?;
    reader.skip()?;
    if reader.at < text.len() {
        return Err(reader.expected("the end"));
    }
    set_in(text, &root, path, value, 1)
}

/// The text of the value at a path of names.
pub(super) fn held<'a>(text: &'a str, path: &[&str]) -> Result<Option<&'a str>, String> {
    let mut range = 0..text.len();
    for name in path {
        let mut reader = Reader { text: &text[..range.end], at: range.start };
        reader.skip()?;
        let object = reader.object()?;
        let Some(member) = object.members.iter().rev().find(|member| member.name == *name) else { return Ok(None) };
        range = member.start..member.end;
    }
    Ok(Some(&text[range]))
}

fn set_in(text: &str, object: &Object, path: &[&str], value: &Value, depth: usize) -> Result<String, String> {
    let (Some((name, rest)), mut known) = (path.split_first(), object.members.iter().rev()) else {
        return Ok(text.to_owned());
    };
    let Some(member) = known.find(|member| member.name == *name) else {
        return Ok(insert(text, object, name, &wrapped(rest, value, depth), depth));
    };
    let held = &text[member.start..member.end];
    if rest.is_empty() {
        if serde_json::from_str::<Value>(held).ok().as_ref() == Some(value) {
            return Ok(text.to_owned());
        }
        return Ok(format!("{}{}{}", &text[..member.start], pretty(value, depth), &text[member.end..]));
    }
    let mut reader = Reader { text, at: member.start };
    let inner = reader.object().map_err(|error| format!("{name}: {error}"))?;
    set_in(text, &inner, rest, value, depth + 1)
}

/// Adds a member at the end of an object.
fn insert(text: &str, object: &Object, name: &str, value: &str, depth: usize) -> String {
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let member = format!("{}: {value}", Value::from(name));
    let indent = "  ".repeat(depth);
    match object.members.last() {
        None => {
            let (front, back) = (&text[..object.open], text[object.open..object.close].trim_end());
            let rest = &text[object.close..];
            let outer = "  ".repeat(depth - 1);
            format!("{front}{back}{line_end}{indent}{member}{line_end}{outer}{rest}")
        }
        Some(last) => {
            // After the last member: on a line of its own if that one has its own, with the same indent.
            let line = text[..last.name_start].rfind('\n').map_or(0, |at| at + 1);
            let before = &text[line..last.name_start];
            let own_line = before.trim().is_empty() && line > object.open;
            let separator = if own_line { format!("{line_end}{before}") } else { " ".to_owned() };
            let (end, comma) = match last.comma {
                Some(comma) => (comma + 1, ""),
                None => (last.end, ","),
            };
            // A comment after the last member stays after it.
            let said = if own_line { comment_behind(&text[end..object.close]) } else { 0 };
            let (remark, rest) = text[end..].split_at(said);
            format!("{}{comma}{remark}{separator}{member}{rest}", &text[..end])
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

/// An object in a text: the places of its braces and its members.
struct Object {
    /// The place after the opening brace.
    open: usize,
    /// The place of the closing brace.
    close: usize,
    members: Vec<Member>,
}

struct Member {
    name: String,
    name_start: usize,
    start: usize,
    end: usize,
    comma: Option<usize>,
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
        let line = self.text[..self.at].matches('\n').count() + 1;
        format!("line {line}: {what} was expected")
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

    fn object(&mut self) -> Result<Object, String> {
        self.object_at(0)
    }

    fn object_at(&mut self, depth: usize) -> Result<Object, String> {
        self.take('{')?;
        let mut object = Object { open: self.at, close: self.at, members: Vec::new() };
        loop {
            self.skip()?;
            if self.rest().starts_with('}') {
                object.close = self.at;
                self.at += 1;
                return Ok(object);
            }
            if object.members.last().is_some_and(|member| member.comma.is_none()) {
                return Err(self.expected("','"));
            }
            let name_start = self.at;
            let name = self.string()?;
            self.skip()?;
            self.take(':')?;
            self.skip()?;
            let start = self.at;
            self.value(depth + 1)?;
            let end = self.at;
            self.skip()?;
            let comma = self.rest().starts_with(',').then_some(self.at);
            self.at += usize::from(comma.is_some());
            object.members.push(Member { name, name_start, start, end, comma });
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(self.expected("less nesting"));
        }
        match self.rest().chars().next() {
            Some('{') => self.object_at(depth).map(drop),
            Some('[') => self.array(depth),
            Some('"') => self.string().map(drop),
            _ => {
                let length = self.rest().find([',', ']', '}', ' ', '\t', '\r', '\n', '/']).unwrap_or(self.rest().len());
                let word = &self.rest()[..length];
                if word.is_empty() || serde_json::from_str::<Value>(word).is_err() {
                    return Err(self.expected("a value"));
                }
                self.at += length;
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), String> {
        self.take('[')?;
        let mut may_go_on = true;
        loop {
            self.skip()?;
            if self.rest().starts_with(']') {
                self.at += 1;
                return Ok(());
            }
            if !may_go_on {
                return Err(self.expected("','"));
            }
            self.value(depth + 1)?;
            self.skip()?;
            may_go_on = self.rest().starts_with(',');
            self.at += usize::from(may_go_on);
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
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| self.expected("a string"))
    }
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
}
