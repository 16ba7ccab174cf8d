//! Texts to write.

/// A text of about 250 bytes: 40 of 2,025 words, other ones for each number.
pub(crate) fn text(n: usize) -> String {
    const ENDS: [&str; 5] = ["n", "l", "rt", "sk", "m"];
    const STARTS: [&str; 9] = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo"];
    let mut random = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |of: &[&'static str]| {
        // xorshift64 (Marsaglia)
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        of[usize::try_from(random >> 33).unwrap_or_default() % of.len()]
    };
    let words = (0..40).map(|_| [next(&STARTS), next(&ENDS), next(&STARTS), next(&ENDS)].concat());
    words.collect::<Vec<_>>().join(" ")
}
