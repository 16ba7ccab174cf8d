//! The author of an imported memory by its proof, and the proof of a text for an export.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use nexus_crdt::{Core, Dot, PROOF_BYTES_MAX, Proven, check_proof};

use crate::memory::ImportedFrom;

/// The longest proof in base64.
const TEXT_BYTES_MAX: usize = PROOF_BYTES_MAX.div_ceil(3) * 4;
/// The most verdicts that are held, of a few hundred bytes each.
const HELD_MAX: usize = 4_096;

/// The proofs that were checked. The core that a record was created with never changes, so each is checked once and
/// not for every list in which it stands.
#[derive(Default)]
pub(crate) struct Proofs(Mutex<BTreeMap<Dot, Option<Checked>>>);

/// A proof that holds.
#[derive(Clone)]
struct Checked {
    from: ImportedFrom,
    /// The hash of the text.
    text: blake3::Hash,
}

impl Proofs {
    /// The author of a record's text, if its proof holds and is of the text that is shown. A proof that does not hold counts
    /// as absent: anybody may write any bytes there.
    pub(super) fn imported(&self, record: Dot, core: &Core) -> Option<ImportedFrom> {
        let proof = core.proof.as_deref()?;
        let held = self.held().get(&record).cloned();
        let checked = held.unwrap_or_else(|| {
            // not under the lock: a signature takes some time
            let checked = check(proof);
            let mut held = self.held();
            if held.len() >= HELD_MAX {
                held.clear();
            }
            held.insert(record, checked.clone());
            checked
        })?;
        (checked.text == blake3::hash(core.text.as_bytes())).then_some(checked.from)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<Dot, Option<Checked>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(proof: &str) -> Option<Checked> {
    let bytes = Some(proof).filter(|proof| proof.len() <= TEXT_BYTES_MAX)?;
    let Proven { mesh, author, name, at, text, record, .. } =
        check_proof(&BASE64URL_NOPAD.decode(bytes.as_bytes()).ok()?).ok()?;
    let from = ImportedFrom { name: name.to_string(), author, mesh, id: record.into(), created_at: at.time() };
    Some(Checked { from, text: blake3::hash(text.as_bytes()) })
}

#[cfg(feature = "http")]
mod export {
    use nexus_crdt::{Field, prove};

    use super::BASE64URL_NOPAD;
    use crate::error::NodeError;
    use crate::ledger::{self, Chains};
    use crate::memory::Memory;
    use crate::memory::read::Reader;

    impl Reader<'_> {
        /// The proof of who wrote the text of a memory, in base64. That of an imported one goes on as it came. A text that
        /// another record with the same key shows has none.
        pub(crate) fn proof_of(&self, memory: &Memory, chains: &Chains) -> Result<Option<String>, NodeError> {
            let dot = self.resolve(&memory.id.to_string())?;
            let Some(record) = self.record(dot)? else { return Ok(None) };
            if memory.imported.is_some() {
                return Ok(record.core.proof);
            }
            // of one that is read in part only, the write is not looked for
            let Some(chain) = chains.get(&memory.author).filter(|_| !memory.more) else { return Ok(None) };
            let mut writes = vec![(dot, record.core.text)];
            for (write, row) in ledger::live_writes(self.view, record.row.space, dot, Field::TEXT)? {
                writes.extend(serde_json::from_str(&row.value).ok().map(|text| (write, text)));
            }
            for (write, _) in writes.into_iter().filter(|(_, text)| *text == memory.text) {
                let Some(entry) = ledger::entry_of(self.view, write.entry)? else { continue };
                if entry.header().author == memory.author {
                    return Ok(prove(chain, &entry, write.index).map(|proof| BASE64URL_NOPAD.encode(&proof)));
                }
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{
        Draft, EntryId, Field, Hlc, Incarnation, Kind, LogId, SpaceId, Target, Verified, Write, Writes, prove,
    };
    use nexus_identity::{Chain, Claims, Keypair, Role, Timestamp};

    use super::*;

    /// The proof that somebody elsewhere wrote a text, in base64.
    fn proof(text: &str) -> String {
        let (root, alice) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let (mesh, at) = (root.did(), Timestamp::from_ms(7_000));
        let claims = Claims::new(mesh, alice.did(), "alice".parse().unwrap(), [Role::Admin], at);
        let log = LogId { space: SpaceId::default_of(&mesh), author: alice.did(), incarnation: Incarnation([1; 8]) };
        let value = Core { text: text.to_owned(), ..Core::default() }.to_json();
        let write = Write { target: Target::Create { page: 0 }, field: Field::named(Field::CORE), value, over: vec![] };
        let payload = Writes(vec![write]).encode().into();
        let draft = Draft {
            mesh,
            log,
            after: None,
            hlc: Hlc::at(at),
            kind: Kind::WRITES,
            refs: Vec::<EntryId>::new(),
            payload,
        };
        let entry = Verified::write(draft, &alice);
        BASE64URL_NOPAD.encode(&prove(&Chain::found(claims.sign(&root)).unwrap(), &entry, 0).unwrap())
    }

    fn core(text: &str, proof: Option<String>) -> Core {
        Core { text: text.to_owned(), proof, ..Core::default() }
    }

    fn record(n: u16) -> Dot {
        Dot { entry: EntryId::from_bytes([1; 32]), index: n }
    }

    fn shown(text: &str, proof: Option<String>) -> Option<ImportedFrom> {
        Proofs::default().imported(record(0), &core(text, proof))
    }

    /// promise: Entries and memories | A proof that a member made up, or took from another text, shows nothing
    #[test]
    fn a_proof_is_shown_beside_its_own_text_alone() {
        let from = shown("port 5432", Some(proof("port 5432"))).unwrap();
        assert_eq!((from.name.as_str(), from.created_at), ("alice", Timestamp::from_ms(7_000)));
        assert_eq!(shown("alice owes me a beer", Some(proof("port 5432"))), None);
        for junk in ["", "AAAA", "not base64!", &"A".repeat(1 << 20)] {
            assert_eq!(shown("port 5432", Some(junk.to_owned())), None);
        }
        assert_eq!(shown("port 5432", None), None);
    }

    #[test]
    fn a_verdict_that_is_held_is_of_its_record_and_its_text() {
        let (proofs, proof) = (Proofs::default(), proof("port 5432"));
        for _ in 0..2 {
            assert!(proofs.imported(record(0), &core("port 5432", Some(proof.clone()))).is_some());
            assert_eq!(proofs.imported(record(0), &core("port 5433", Some(proof.clone()))), None);
            assert_eq!(proofs.imported(record(1), &core("port 5432", Some("AAAA".to_owned()))), None);
        }
        for n in 0..u16::try_from(HELD_MAX).unwrap() + 9 {
            assert_eq!(proofs.imported(record(n + 2), &core("port 5432", Some("AAAA".to_owned()))), None);
        }
        assert!(proofs.held().len() <= HELD_MAX);
        assert!(proofs.imported(record(0), &core("port 5432", Some(proof))).is_some());
    }
}
