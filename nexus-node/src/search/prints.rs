use super::words::{quarters, similar};
use crate::ledger::rows::SpaceNo;

/// The fingerprints of some documents, by number, which are found by a similar one without looking at all.
///
/// Two fingerprints that differ in three bits at most are equal in one of their four quarters (Manku, Jain and Das Sarma
/// 2007). So a document is looked up by each quarter. 28 bytes each.
pub(super) struct Prints {
    prints: Vec<u64>,
    spaces: Vec<SpaceNo>,
    /// The documents, in the order of one quarter.
    by_quarter: [Vec<u32>; 4],
}

impl Prints {
    /// Documents of which each has a fingerprint and a space.
    pub(super) fn of(documents: impl IntoIterator<Item = (u64, SpaceNo)>) -> Self {
        let (prints, spaces): (Vec<u64>, Vec<SpaceNo>) = documents.into_iter().unzip();
        let all = || (0_u32..).zip(&prints).filter(|(_, print)| **print != 0).map(|(document, _)| document);
        let by_quarter = std::array::from_fn(|quarter| {
            let mut documents: Vec<u32> = all().collect();
            documents.sort_unstable_by_key(|document| quarter_of(&prints, *document, quarter));
            documents
        });
        Self { prints, spaces, by_quarter }
    }

    /// The documents of a space with a similar fingerprint.
    pub(super) fn similar(&self, print: u64, space: SpaceNo) -> impl Iterator<Item = u32> {
        self.by_quarter.iter().enumerate().flat_map(move |(quarter, documents)| {
            let wanted = quarters(print)[quarter];
            let of = move |document: &u32| quarter_of(&self.prints, *document, quarter);
            let first = documents.partition_point(|document| of(document) < wanted);
            let equal = documents[first..].iter().copied().take_while(move |document| of(document) == wanted);
            equal.filter(move |document| {
                let (here, in_space) = (self.get(*document), self.spaces.get(*document as usize) == Some(&space));
                // a document that is equal in an earlier quarter, too, was found there
                let earlier = quarters(here).iter().zip(quarters(print)).take(quarter).any(|(a, b)| *a == b);
                in_space && !earlier && similar(here, print)
            })
        })
    }

    fn get(&self, document: u32) -> u64 {
        self.prints.get(document as usize).copied().unwrap_or_default()
    }
}

fn quarter_of(prints: &[u64], document: u32, quarter: usize) -> u16 {
    quarters(prints.get(document as usize).copied().unwrap_or_default())[quarter]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_what_looking_at_all_finds(
            prints in prop::collection::vec((prop::sample::select(vec![0_u64, 1, 0xfeed_0000_beef_0007]), any::<[u8; 5]>(), 0..6_usize), 0..60),
            asked in 0..60_usize,
        ) {
            // some bits of a few fingerprints are turned, so that many are near each other
            let documents: Vec<(u64, SpaceNo)> = prints
                .iter()
                .map(|(print, bits, turned)| {
                    let turned = bits.iter().take(*turned).fold(*print, |print, bit| print ^ 1 << (bit % 64));
                    (turned, SpaceNo::from(bits[4] % 2))
                })
                .collect();
            let (print, space) = documents.get(asked).copied().unwrap_or((7, 0));
            let here = Prints::of(documents.iter().copied());
            let mut found: Vec<u32> = here.similar(print, space).collect();
            found.sort_unstable();
            let all = (0_u32..).zip(&documents).filter(|(_, (of, at))| similar(*of, print) && *at == space);
            prop_assert_eq!(found, all.map(|(document, _)| document).collect::<Vec<_>>());
        }
    }
}
