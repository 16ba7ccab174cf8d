//! Processes by number: which of them have one identity, and which of these are one directory's.

/// A number that a process drew at its start.
pub type ProcessNumber = [u8; 16];

/// A process: its number, and those of the processes before it on the same data directory.
///
/// Two processes may have one identity at a time: a copy of a directory, or a thief with the key. On one directory there
/// is only one at a time, so a process whose predecessors are shown proves that these have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    number: ProcessNumber,
    /// The latest first.
    former: Vec<ProcessNumber>,
}

impl Process {
    /// The most former processes that are kept and shown.
    pub const FORMER_MAX: usize = 8;

    /// A new one after these, the latest first. Those beyond [`FORMER_MAX`](Self::FORMER_MAX) are left out.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn after(former: impl IntoIterator<Item = ProcessNumber>) -> Result<Self, getrandom::Error> {
        let mut number = ProcessNumber::default();
        getrandom::fill(&mut number)?;
        Ok(Self { number, former: former.into_iter().take(Self::FORMER_MAX).collect() })
    }

    /// Its number, then the former ones, the latest first: for [`after`](Self::after) at the next start.
    pub fn numbers(&self) -> impl Iterator<Item = &ProcessNumber> {
        std::iter::once(&self.number).chain(&self.former)
    }

    /// Reads one from its parts as bytes. `None` from an older node, or if a part has the wrong length.
    pub(crate) fn from_wire(number: &[u8], former: &[Vec<u8>]) -> Option<Self> {
        let former = former.iter().take(Self::FORMER_MAX).map(|number| number.as_slice().try_into().ok());
        Some(Self { number: number.try_into().ok()?, former: former.collect::<Option<_>>()? })
    }

    /// Its parts as bytes.
    pub(crate) fn to_wire(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        (self.number.to_vec(), self.former.iter().map(|number| number.to_vec()).collect())
    }

    /// Whether the other one has ended, since this one has its directory.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        self.former.contains(&other.number)
    }

    /// Whether the two are one process.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// One by its numbers, for tests and fuzzing.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn of(number: u8, former: &[u8]) -> Self {
        Self { number: [number; 16], former: former.iter().map(|number| [*number; 16]).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_follows_those_of_its_directory_within_a_bound() {
        let mut last = Process::after([]).unwrap();
        let first = last.clone();
        for n in 1..=Process::FORMER_MAX + 3 {
            let next = Process::after(last.numbers().copied()).unwrap();
            assert!(next.follows(&last) && !last.follows(&next) && !next.is(&last));
            assert_eq!(next.follows(&first), n <= Process::FORMER_MAX);
            let (number, former) = next.to_wire();
            assert_eq!(Process::from_wire(&number, &former), Some(next.clone()));
            last = next;
        }
    }

    #[test]
    fn numbers_of_a_wrong_length_are_none_and_many_are_cut() {
        assert_eq!(Process::from_wire(&[], &[]), None);
        assert_eq!(Process::from_wire(&[7; 15], &[]), None);
        assert_eq!(Process::from_wire(&[7; 16], &[vec![7; 17]]), None);
        let many = Process::from_wire(&[7; 16], &vec![vec![8; 16]; 1_000]).unwrap();
        assert_eq!(many.former.len(), Process::FORMER_MAX);
    }
}
