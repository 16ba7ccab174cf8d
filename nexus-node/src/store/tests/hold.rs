use proptest::collection::vec;
use proptest::prelude::*;
use redb::StorageBackend;

use super::super::hold::Hold;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    SetLen(u64),
    Write { offset: u64, data: Vec<u8> },
    Read { offset: u64, bytes: usize },
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    const END: u64 = 20_000;
    prop_oneof![
        2 => (0..END).prop_map(Step::SetLen),
        4 => (0..END, vec(any::<u8>(), 0..6_000)).prop_map(|(offset, data)| Step::Write { offset, data }),
        4 => (0..END, 0..9_000_usize).prop_map(|(offset, bytes)| Step::Read { offset, bytes }),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn held_writes_read_back_change_nothing_and_are_played_in_the_end(
        image in vec(any::<u8>(), 0..15_000),
        reset in any::<bool>(),
        steps in vec(step(), 0..30),
    ) {
        let disk = Disk::from_image(image.clone());
        let hold = Hold::new(Arc::new(disk.clone())).unwrap();
        if reset {
            hold.reset();
        }
        let mut model = if reset { Vec::new() } else { image.clone() };
        for step in steps {
            match step {
                Step::SetLen(len) => {
                    hold.set_len(len).unwrap();
                    model.resize(len as usize, 0);
                }
                Step::Write { offset, data } => {
                    let (start, end) = (offset as usize, offset as usize + data.len());
                    prop_assert_eq!(hold.write(offset, &data).is_ok(), end <= model.len());
                    if let Some(part) = model.get_mut(start..end) {
                        part.copy_from_slice(&data);
                    }
                }
                Step::Read { offset, bytes } => {
                    let mut found = vec![1; bytes];
                    let expected = model.get(offset as usize..offset as usize + bytes);
                    prop_assert_eq!(hold.read(offset, &mut found).is_ok(), expected.is_some());
                    if let Some(expected) = expected {
                        prop_assert!(found == expected);
                    }
                }
                Step::Sync => hold.sync_data().unwrap(),
            }
            prop_assert_eq!(hold.len().unwrap(), model.len() as u64);
        }
        prop_assert!(disk.image() == image, "the disk changed before its time");
        hold.release().unwrap();
        prop_assert!(disk.image() == model, "the disk does not hold what was written");
        hold.sync_data().unwrap();
        prop_assert_eq!(hold.len().unwrap(), model.len() as u64);
    }
}
