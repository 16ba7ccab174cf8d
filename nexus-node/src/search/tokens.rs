//! Runs of letters and digits, in the form in which words are compared.

/// The longest token, in bytes. Longer runs of letters are keys and hashes; nobody searches for parts of them.
pub(super) const TOKEN_BYTES_MAX: usize = 64;

/// Calls with each run of letters and digits of a text in order, in lower case and without accents, and with its place.
#[cfg(feature = "search")]
pub(super) fn each_token(text: &str, most: usize, mut each: impl FnMut(&str, std::ops::Range<usize>)) {
    use tantivy::tokenizer::{
        AsciiFoldingFilter, LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer, TokenStream,
    };

    thread_local! {
        static ANALYZER: std::cell::RefCell<TextAnalyzer> = std::cell::RefCell::new(
            TextAnalyzer::builder(SimpleTokenizer::default())
                .filter(RemoveLongFilter::limit(TOKEN_BYTES_MAX))
                .filter(LowerCaser)
                .filter(AsciiFoldingFilter)
                .build(),
        );
    }
    ANALYZER.with_borrow_mut(|analyzer| {
        let mut stream = analyzer.token_stream(text);
        let mut left = most;
        while left > 0 && stream.advance() {
            left -= 1;
            let token = stream.token();
            each(&token.text, token.offset_from..token.offset_to);
        }
    });
}

/// Calls with each run of letters and digits of a text in order, in lower case, and with its place.
#[cfg(not(feature = "search"))]
pub(super) fn each_token(text: &str, most: usize, mut each: impl FnMut(&str, std::ops::Range<usize>)) {
    let mut left = most;
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                if at - from < TOKEN_BYTES_MAX && left > 0 {
                    left -= 1;
                    each(&text[from..at].to_lowercase(), from..at);
                }
            }
            _ => {}
        }
    }
}
