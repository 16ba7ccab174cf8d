/// The number of different words.
const VOCABULARY: usize = 20_000;
/// The least and the most words of a text.
const TEXT_WORDS: (u64, u64) = (12, 60);

/// Texts whose words are as frequent as in a language: the n-th most frequent one has the share 1/n
/// (Zipf). The same number gives the same text.
pub(super) struct Words {
    words: Vec<String>,
    /// The sum of the shares of all words up to each one.
    shares: Vec<f64>,
}

impl Words {
    pub(super) fn new() -> Self {
        let syllables = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu", "dan", "fel", "gor", "hin", "pul"];
        let word = |n: usize| {
            let (mut rest, mut word) = (n + syllables.len(), String::new());
            while rest > 0 {
                word.push_str(syllables[rest % syllables.len()]);
                rest /= syllables.len();
            }
            // an ending that no stemmer removes, so that each stays a word of its own
            word + "k"
        };
        let mut sum = 0.0;
        let mut shares = Vec::with_capacity(VOCABULARY);
        for n in 1..=VOCABULARY {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = 1.0 / n as f64;
            sum += share;
            shares.push(sum);
        }
        Self { words: (0..VOCABULARY).map(word).collect(), shares }
    }

    /// All words.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    fn word(&self, random: &mut Random) -> &str {
        let all = self.shares.last().copied().unwrap_or_default();
        let at = random.share() * all;
        let place = self.shares.partition_point(|share| *share < at);
        self.words.get(place).map_or("", String::as_str)
    }

    fn some(&self, random: &mut Random, least: u64, most: u64) -> String {
        let count = least + random.next() % (most - least + 1);
        (0..count).map(|_| self.word(random)).collect::<Vec<_>>().join(" ")
    }

    /// A memory's text.
    pub(super) fn text(&self, n: u64) -> String {
        self.some(&mut Random::of(n), TEXT_WORDS.0, TEXT_WORDS.1)
    }

    /// A question of one to four words.
    pub(super) fn question(&self, n: u64) -> String {
        self.some(&mut Random::of(n ^ 0x5eed_0000_0000), 1, 4)
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to 1.
    fn share(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}
