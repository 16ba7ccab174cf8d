//! A source of Rust as tokens, and tokens as items. Comments are left out.

/// A word, a number, a text with its quotes, or a mark. `::`, `->` and `=>` are one mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Whether this is a name or a keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, counts) = if first.is_whitespace() {
            (first.len_utf8(), false)
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (comment_length(rest), false)
        } else {
            (token_length(first, rest), true)
        };
        let (text, after) = rest.split_at(length);
        if counts {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The bytes of a comment `/* … */`, which may have others inside.
fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn token_length(first: char, rest: &str) -> usize {
    if let Some(length) = text_length(rest) {
        length
    } else if first == '\'' {
        character_length(rest)
    } else if first.is_alphanumeric() || first == '_' {
        rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len())
    } else if ["::", "->", "=>"].iter().any(|mark| rest.starts_with(mark)) {
        2
    } else {
        first.len_utf8()
    }
}

/// The bytes of a text in quotes with its prefix, if here is one: `"a"`, `b"a"`, `r#"a"#`.
fn text_length(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        let text = after[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text.find(&end).map_or(rest.len(), |at| prefix.len() + hashes + 1 + at + end.len()));
    }
    let (mut escaped, text) = (false, after.strip_prefix('"')?);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + 1 + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// The bytes of a character in quotes, or of a lifetime.
fn character_length(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    let first = inside.next().unwrap_or(' ');
    if first == '\\' {
        return rest[3..].find('\'').map_or(rest.len(), |end| 3 + end + 1);
    }
    if inside.next() == Some('\'') {
        return 1 + first.len_utf8() + 1;
    }
    1 + rest[1..].find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len() - 1)
}

/// An item: a function, a type, a module, an import, the call of a macro.
#[derive(Debug)]
pub(crate) struct Item<'t, 'a> {
    /// Each without `#[` and `]`.
    pub(crate) attributes: Vec<&'t [Token<'a>]>,
    /// Whether it begins with `pub`, however far that reaches.
    pub(crate) lent: bool,
    /// Its keyword: `fn`, `use`, `impl`; the name of a called macro.
    pub(crate) kind: &'a str,
    /// The word behind the keyword; `impl` has none.
    pub(crate) name: &'a str,
    /// All from the keyword on.
    pub(crate) tokens: &'t [Token<'a>],
    /// The part within its braces.
    pub(crate) body: &'t [Token<'a>],
}

impl Item<'_, '_> {
    /// Whether it is there for tests alone.
    pub(crate) fn is_test(&self) -> bool {
        self.attributes.iter().any(|attribute| {
            let words: Vec<&str> = attribute.iter().map(|token| token.text).collect();
            words.starts_with(&["cfg", "(", "test", ")"]) || words.starts_with(&["cfg", "(", "all", "(", "test"])
        })
    }

    pub(crate) fn lines(&self) -> usize {
        self.tokens.last().unwrap().line - self.tokens[0].line + 1
    }
}

/// The place of the bracket that closes the one at a place.
pub(crate) fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 1 => return at,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    panic!("line {}: a bracket is not closed", tokens[open].line)
}

/// The items of a file, of a module's body or of an `impl`.
pub(crate) fn items<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<Item<'t, 'a>> {
    let (mut items, mut attributes, mut at) = (Vec::new(), Vec::new(), 0);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    while at < tokens.len() {
        if text(at) == "#" {
            let inner = usize::from(text(at + 1) == "!");
            let end = closing(tokens, at + 1 + inner);
            if inner == 0 {
                attributes.push(&tokens[at + 2..end]);
            }
            at = end + 1;
            continue;
        }
        if text(at) == ";" {
            at += 1;
            continue;
        }
        let lent = text(at) == "pub";
        if lent {
            at = if text(at + 1) == "(" { closing(tokens, at + 1) + 1 } else { at + 1 };
        }
        while matches!(text(at), "unsafe" | "async" | "extern" | "const")
            && (matches!(text(at + 1), "fn" | "unsafe" | "async" | "extern" | "impl" | "trait")
                || text(at + 1).starts_with('"'))
            || text(at).starts_with('"')
        {
            at += 1;
        }
        let (kind, begins) = (text(at), at);
        let name = match kind {
            "macro_rules" => text(at + 2),
            "impl" => "",
            _ => text(at + 1),
        };
        // a value may have braces and does not end with them
        let braces_end = !matches!(kind, "use" | "const" | "static" | "type");
        let mut body: &[Token<'_>] = &[];
        while at < tokens.len() && text(at) != ";" {
            if matches!(text(at), "(" | "[" | "{") {
                let (open, end) = (at, closing(tokens, at));
                at = end;
                if braces_end && text(open) == "{" {
                    body = &tokens[open + 1..end];
                    break;
                }
            }
            at += 1;
        }
        at = (at + 1).min(tokens.len());
        let attributes = std::mem::take(&mut attributes);
        items.push(Item { attributes, lent, kind, name, tokens: &tokens[begins..at], body });
    }
    items
}

#[test]
fn tokens_leave_out_comments_and_keep_texts_whole() {
    let texts = |source| tokens(source).iter().map(|token: &Token<'_>| token.text).collect::<Vec<&str>>();
    assert_eq!(texts("a::b // c\n/* d /* e */ f */ g->h"), ["a", "::", "b", "g", "->", "h"]);
    assert_eq!(
        texts(r##"r#"a " b"# b"c\"" '"' '\'' '\u{1}' 'x 'y'"##),
        [r##"r#"a " b"#"##, r#"b"c\"""#, "'\"'", "'\\''", "'\\u{1}'", "'x", "'y'"]
    );
    assert_eq!(tokens("a\n\"\n\"\nb").iter().map(|token| token.line).collect::<Vec<usize>>(), [1, 2, 4]);
}

#[test]
fn items_are_told_by_keyword_and_name() {
    let source = "#![x]\n#[cfg(test)]\nmod a { fn b() {} }\npub(in crate::c) const fn d<T>() -> [u8; 3] where T: E { f {} }\n\
                  const G: H = H { i: 1 };\npub use j::{k, l};\nstruct M(N);\nimpl<T> O for P<T> { fn q() {} }\nr! { s }\n\
                  const _: () = ();\nmacro_rules! t { () => {} }";
    let tokens = tokens(source);
    let items = items(&tokens);
    let found: Vec<(&str, &str)> = items.iter().map(|item| (item.kind, item.name)).collect();
    assert_eq!(
        found,
        [
            ("mod", "a"),
            ("fn", "d"),
            ("const", "G"),
            ("use", "j"),
            ("struct", "M"),
            ("impl", ""),
            ("r", "!"),
            ("const", "_"),
            ("macro_rules", "t")
        ]
    );
    assert!(items[0].is_test() && !items[1].is_test());
    assert!(items[1].lent && !items[2].lent);
}
