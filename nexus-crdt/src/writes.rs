use crate::entry::Entry;
use crate::error::FormError;
use crate::record::{Write, Writes};

/// A write and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedWrite {
    /// Its index in the entry, whatever else of that was erased: with the entry's id its dot.
    pub index: u16,
    /// Where its value begins in the entry's payload, in bytes.
    pub value_at: u32,
    /// The write.
    pub write: Write,
}

/// The writes of an entry of kind [`crate::Kind::WRITES`] that are here.
///
/// # Errors
/// The first rule of form that they break: the entry is quarantined. [`FormError::Absent`] if the
/// payload is not here.
pub fn writes_of(entry: &Entry) -> Result<Vec<PlacedWrite>, FormError> {
    let leaves = entry.leaves().map_err(|_| FormError::NotCanonical)?;
    let mut placed = Vec::new();
    match leaves {
        None => {
            // behind the count
            let mut at = 4;
            for (index, write) in (0..).zip(Writes::decode(entry.payload())?.0) {
                let next = at + write.encoded_bytes();
                placed.push(place(index, at, write));
                at = next;
            }
        }
        Some(leaves) => {
            let mut writes = Writes::default();
            let mut places = Vec::new();
            for (index, at, bytes) in leaves.present() {
                writes.0.push(borsh::from_slice(bytes).map_err(|_| FormError::NotCanonical)?);
                places.push((index, at));
            }
            if !places.is_empty() {
                writes.check()?;
            }
            placed.extend(places.into_iter().zip(writes.0).map(|((index, at), write)| place(index, at, write)));
        }
    }
    Ok(placed)
}

fn place(index: u16, at: usize, write: Write) -> PlacedWrite {
    let value_at = u32::try_from(at + write.value_at()).unwrap_or(u32::MAX);
    PlacedWrite { index, value_at, write }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ALL_LEAVES, Draft, ENTRY_FORMAT_FIRST, ENTRY_FORMAT_MAX, Kind, Verified};
    use crate::entry_id::EntryId;
    use crate::error::EntryError;
    use crate::fields::Core;
    use crate::fold::Fold;
    use crate::hlc::Hlc;
    use crate::log_id::{Incarnation, LogId};
    use crate::payload::{Content, Leaves, SALT_BYTES};
    use crate::record::{Dot, Field, Target};
    use crate::space::SpaceId;
    use nexus_identity::Keypair;

    fn key() -> Keypair {
        Keypair::from_seed(&[1; 32])
    }

    fn entry(payload: Content) -> Verified {
        let mesh = Keypair::from_seed(&[9; 32]).did();
        let log = LogId { space: SpaceId::default_of(&mesh), author: key().did(), incarnation: Incarnation([0; 8]) };
        let draft = Draft { mesh, log, after: None, hlc: Hlc(1), kind: Kind::WRITES, refs: vec![], payload };
        Verified::write(draft, &key())
    }

    fn create(text: &str) -> Write {
        let value = Core { text: text.to_owned(), ..Core::default() }.to_json();
        Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] }
    }

    fn edit(field: &str) -> Write {
        let record = Dot { entry: EntryId::of(b"elsewhere"), index: 3 };
        let over = vec![Dot { index: 4, ..record }, Dot { index: 9, ..record }];
        Write { target: Target::Edit { record }, field: Field::named(field), value: "\"x\"".to_owned(), over }
    }

    fn in_parts(writes: &[Write]) -> Content {
        let part = |(n, write): (u8, &Write)| ([n; SALT_BYTES], write.encode());
        Content::Parts((0..).zip(writes).map(part).collect())
    }

    /// Reads an entry's parts back as they come from a peer.
    fn received(entry: &Verified, payload: Option<Vec<u8>>) -> Result<Verified, EntryError> {
        let again = Entry::decode(entry.header_bytes().to_vec(), *entry.signature(), payload)?;
        again.verify(&entry.header().mesh)
    }

    #[test]
    fn both_formats_say_the_same_and_where_each_value_is() {
        let writes = vec![create("one"), edit("text"), create("three"), edit("mood")];
        let whole = entry(Content::Whole(Writes(writes.clone()).encode()));
        let parts = entry(in_parts(&writes));
        assert_eq!((whole.header().format(), parts.header().format()), (ENTRY_FORMAT_FIRST, ENTRY_FORMAT_MAX));
        for entry in [&whole, &parts] {
            let placed = writes_of(entry).unwrap();
            assert_eq!(placed.iter().map(|placed| placed.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
            for (placed, write) in placed.iter().zip(&writes) {
                assert_eq!(placed.write, *write);
                let at = placed.value_at as usize;
                assert_eq!(&entry.payload().unwrap()[at..at + write.value.len()], write.value.as_bytes());
                assert_eq!(write.encoded_bytes(), write.encode().len());
            }
            assert_eq!(received(entry, entry.payload().map(<[u8]>::to_vec)).unwrap(), *entry);
        }
    }

    #[test]
    fn an_erased_write_leaves_the_others_under_their_indices_and_the_entry_verifies() {
        let writes: Vec<Write> = (0..40).map(|n| create(&format!("memory {n}"))).collect();
        let parts = entry(in_parts(&writes));
        let left = parts.clone().without(17);
        assert_eq!((left.id(), left.lacks()), (parts.id(), vec![17]));
        assert_eq!(received(&parts, left.payload().map(<[u8]>::to_vec)).unwrap(), left);
        let placed = writes_of(&left).unwrap();
        assert_eq!(placed.len(), 39);
        for placed in placed {
            assert_eq!(placed.write, writes[usize::from(placed.index)]);
            let at = placed.value_at as usize;
            assert_eq!(&left.payload().unwrap()[at..at + placed.write.value.len()], placed.write.value.as_bytes());
        }
        let nothing = parts.clone().without(ALL_LEAVES);
        assert_eq!(nothing.lacks().len(), 40);
        assert_eq!(writes_of(&nothing), Ok(vec![]));
        assert_eq!(received(&parts, nothing.payload().map(<[u8]>::to_vec)).unwrap(), nothing);
        // one piece goes as a whole or not at all
        let whole = entry(Content::Whole(Writes(writes).encode()));
        assert_eq!((whole.clone().without(17), whole.lacks()), (whole.clone(), vec![]));
        let gone = whole.clone().without(ALL_LEAVES);
        assert_eq!((gone.payload(), gone.lacks()), (None, vec![ALL_LEAVES]));
        assert_eq!(writes_of(&gone), Err(FormError::Absent));
    }

    #[test]
    fn what_is_left_of_a_payload_cannot_be_altered() {
        let writes = vec![create("one"), create("two"), create("six")];
        let parts = entry(in_parts(&writes));
        let refused = |bytes: Vec<u8>| received(&parts, Some(bytes)).unwrap_err();
        for left in [parts.clone(), parts.clone().without(1)] {
            let bytes = left.payload().unwrap().to_vec();
            for at in 0..bytes.len() {
                let mut tampered = bytes.clone();
                tampered[at] ^= 1;
                assert!(matches!(refused(tampered), EntryError::PayloadMismatch | EntryError::Payload(_)), "byte {at}");
            }
            assert!(matches!(refused(bytes[..bytes.len() - 1].to_vec()), EntryError::Payload(_)));
            assert!(matches!(refused([bytes, vec![0]].concat()), EntryError::Payload(_)));
        }
        let other = |writes: &[Write]| entry(in_parts(writes)).payload().unwrap().to_vec();
        assert_eq!(refused(other(&[create("two"), create("one"), create("six")])), EntryError::PayloadMismatch);
        assert_eq!(refused(other(&writes[..2])), EntryError::PayloadMismatch);
        // an erased leaf in another's place
        let leaves = parts.leaves().unwrap().unwrap();
        let swapped: Vec<_> = [1, 0, 2].into_iter().map(|at| *leaves.iter().nth(at).unwrap()).collect();
        let forged = swapped.iter().map(|leaf| match leaf {
            crate::payload::Leaf::Present { salt, bytes } => (*salt, bytes.to_vec()),
            crate::payload::Leaf::Erased(_) => unreachable!("all are present"),
        });
        let forged: Vec<_> = forged.collect();
        assert_eq!(refused(Leaves::of(&forged).without(0).encode()), EntryError::PayloadMismatch);
    }

    #[test]
    fn rules_of_form_are_judged_by_what_is_here() {
        let twice = vec![edit("text"), edit("text"), create("beside")];
        let entry = entry(in_parts(&twice));
        assert_eq!(writes_of(&entry), Err(FormError::Twice));
        assert_eq!(writes_of(&entry.without(0)).unwrap().len(), 2);
        let content = self::entry(Content::Parts(vec![([0; SALT_BYTES], b"no write".to_vec())]));
        assert_eq!(writes_of(&content), Err(FormError::NotCanonical));
        assert_eq!(content.content(), Ok(b"no write".as_slice()));
        assert_eq!(content.without(0).content(), Err(FormError::Absent));
    }

    #[test]
    fn an_entry_that_says_one_thing_has_one_leaf() {
        let of = |leaves| entry(Content::Parts(vec![([0; SALT_BYTES], b"said".to_vec()); leaves]));
        assert_eq!(of(1).content(), Ok(b"said".as_slice()));
        for count in [2, 3, 40] {
            assert_eq!(of(count).content(), Err(FormError::Count { what: "leaves", count, max: 1 }));
        }
    }

    #[test]
    fn the_writes_that_are_left_fold_as_they_did_among_the_others() {
        let writes = vec![create("one"), edit("text"), create("three")];
        let parts = entry(in_parts(&writes));
        let fold = |entry: &Verified| {
            let mut fold = Fold::default();
            fold.insert_placed(entry.id(), &writes_of(entry).unwrap());
            fold
        };
        let mut whole = Fold::default();
        whole.insert(parts.id(), &Writes(writes));
        let of = |index| Dot { entry: parts.id(), index };
        let elsewhere = Dot { entry: EntryId::of(b"elsewhere"), index: 3 };
        assert_eq!(fold(&parts).records().collect::<Vec<_>>(), [of(0), of(2)]);
        for record in [of(0), of(2), elsewhere] {
            assert_eq!(fold(&parts).fields(record), whole.fields(record));
            assert!(!whole.fields(record).is_empty());
        }
        let left = fold(&parts.clone().without(0));
        assert_eq!(left.records().collect::<Vec<_>>(), [of(2)]);
        assert_eq!(left.live(elsewhere, "text"), whole.live(elsewhere, "text"));
    }
}
