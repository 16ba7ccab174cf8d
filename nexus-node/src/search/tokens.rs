/// The longest token, in bytes. Longer runs of letters are keys and hashes; nobody searches for parts of them.
pub(super) const TOKEN_BYTES_MAX: usize = 64;

/// Calls with each run of letters and digits of a text in order, in its searched form and as it is
/// spelled. The searched form has lower case, no accents, no English endings.
#[cfg(feature = "search")]
pub(super) fn each_token(text: &str, most: usize, mut each: impl FnMut(&str, &str)) {
    use tantivy::tokenizer::{
        AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, TextAnalyzer, TokenStream,
    };

    thread_local! {
        static ANALYZER: std::cell::RefCell<TextAnalyzer> = std::cell::RefCell::new(
            TextAnalyzer::builder(SimpleTokenizer::default())
                .filter(RemoveLongFilter::limit(TOKEN_BYTES_MAX))
                .filter(LowerCaser)
                .filter(AsciiFoldingFilter)
                .filter(Stemmer::new(Language::English))
                .build(),
        );
    }
    ANALYZER.with_borrow_mut(|analyzer| {
        let mut stream = analyzer.token_stream(text);
        let mut left = most;
        while left > 0 && stream.advance() {
            left -= 1;
            let token = stream.token();
            each(&token.text, &text[token.offset_from..token.offset_to]);
        }
    });
}

/// Calls with each run of letters and digits of a text in order, in lower case and as it is spelled.
#[cfg(not(feature = "search"))]
pub(super) fn each_token(text: &str, most: usize, mut each: impl FnMut(&str, &str)) {
    let tokens = text.split(|c: char| !c.is_alphanumeric());
    let tokens = tokens.filter(|token| !token.is_empty() && token.len() < TOKEN_BYTES_MAX);
    for token in tokens.take(most) {
        each(&token.to_lowercase(), token);
    }
}
