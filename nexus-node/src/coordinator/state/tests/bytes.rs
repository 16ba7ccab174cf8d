use super::*;

const BYTES: &[u8] = b"\xff\0\xc3";

/// A log of format 2 with a key of bytes.
fn log() -> Log {
    let mut log = Log::new();
    log.apply(&in_format(2, LEADER, 1, Command::Raise(2)));
    let member = Did::from_bytes([1; 32]);
    assert_eq!(log.apply(&in_format(2, member, 1, Command::Put(put("k", BYTES)))), [Outcome::Done { revision: 1 }]);
    log
}

#[test]
fn bytes_are_kept_compared_and_counted_as_they_are() {
    let mut log = log();
    let item = log.machine.get("k").unwrap();
    assert_eq!((item.value.as_slice(), item.text()), (BYTES, None));
    let full = log.machine.encode();
    assert_eq!(Machine::decode(&full, 2).unwrap(), log.machine);
    // the lossy text of the bytes is another value
    let cas = |expect: &[u8]| Command::Cas { expect: Some(expect.to_vec()), put: put("k", "text") };
    let lossy = String::from_utf8_lossy(BYTES).into_owned();
    assert!(matches!(log.propose(1, cas(lossy.as_bytes())), Outcome::Refused(Refusal::Mismatch { .. })));
    assert!(matches!(log.propose(1, cas(BYTES)), Outcome::Done { .. }));
}

#[test]
fn a_snapshot_of_an_earlier_format_has_texts_alone() {
    for with_answer in [false, true] {
        let mut log = log();
        if with_answer {
            // the key is gone, and an answer still shows it
            let txn = Txn { then: vec![Step::Get("k".to_owned()), Step::Delete("k".to_owned())], ..Txn::default() };
            log.propose(1, Command::Txn(txn));
            assert_eq!(log.machine.get("k"), None);
        }
        for format in [0, 1] {
            let earlier = Machine { format, ..log.machine.clone() };
            assert_eq!(Machine::decode(&earlier.encode(), 2), Err(ReadError::Malformed), "{format} {with_answer}");
        }
    }
}

#[test]
fn a_reader_of_texts_is_told_each_outcome() {
    let item = Item { value: BYTES.to_vec(), revision: 1, created: 1, by: LEADER, ttl_ms: None };
    let text = Item { value: "\u{fffd}\0\u{fffd}".into(), ..item.clone() };
    let outcomes = |item: &Item| {
        [
            Outcome::Txn { held: true, revision: 1, items: vec![Some(item.clone()), None] },
            Outcome::Refused(Refusal::Mismatch { found: Some(item.clone()) }),
            Outcome::Done { revision: 2 },
        ]
    };
    for (format, told) in [(0, &text), (1, &text), (2, &item)] {
        let bytes = Outcome::encode_all(format, &outcomes(&item));
        assert_eq!(Outcome::decode_all(format, &bytes).unwrap(), outcomes(told));
    }
}
