//! Texts in XML.

/// A text as the content of an element.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Undoes [`escaped`]: the last step is the one that began.
#[cfg(test)]
pub(super) fn unescaped(text: &str) -> String {
    let ends = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    ends.iter().fold(text.to_owned(), |text, (name, sign)| text.replace(name, sign))
}

/// The contents of all elements of a name, as they were before they were escaped.
#[cfg(test)]
pub(super) fn contents(text: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = text.split(open.as_str()).skip(1);
    parts.map(|part| unescaped(part.split(close.as_str()).next().unwrap())).collect()
}
