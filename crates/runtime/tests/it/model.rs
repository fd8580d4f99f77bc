//! Random operations on one file, compared with a plain buffer; with restarts in between.

use proptest::prelude::*;
use strata_namespace::SetAttr;

use crate::support::*;

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, len: usize, seed: u64 },
    Truncate(usize),
    Punch { at: usize, len: usize },
    Sync,
    Close,
    Put { len: usize, seed: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![1usize..5000, 50_000usize..400_000];
    prop_oneof![
        6 => (0usize..900_000, len.clone(), any::<u64>()).prop_map(|(at, len, seed)| Step::Write { at, len, seed }),
        2 => (0usize..1_000_000).prop_map(Step::Truncate),
        1 => (0usize..900_000, 1usize..300_000).prop_map(|(at, len)| Step::Punch { at, len }),
        2 => Just(Step::Sync),
        2 => Just(Step::Close),
        1 => (0usize..600_000, any::<u64>()).prop_map(|(len, seed)| Step::Put { len, seed }),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_file_behaves_like_a_plain_buffer(steps in proptest::collection::vec(step(), 1..25)) {
        let (world, mut store) = store();
        let mut model: Vec<u8> = Vec::new();
        put(store.namespace(), "f", b"");
        let ino = store.namespace().resolve(&root(), b"/bkt/f").unwrap().ino;
        store.namespace().open(&root(), ino, RW, false).unwrap();
        for step in steps {
            let ns = store.namespace();
            match step {
                Step::Write { at, len, seed } => {
                    let data = noise(seed, len);
                    ns.write(&root(), ino, at as u64, &data).unwrap();
                    if model.len() < at + len { model.resize(at + len, 0); }
                    model[at..at + len].copy_from_slice(&data);
                }
                Step::Truncate(len) => {
                    let set = SetAttr { size: Some(len as u64), ..SetAttr::default() };
                    ns.setattr(&root(), ino, &set).unwrap();
                    model.resize(len, 0);
                }
                Step::Punch { at, len } => {
                    ns.fallocate(&root(), ino, at as u64, len as u64, true, false).unwrap();
                    let end = (at + len).min(model.len());
                    if at < end { model[at..end].fill(0); }
                }
                Step::Sync => ns.fsync(&root(), ino).unwrap(),
                Step::Close => {
                    ns.close(&root(), ino, true).unwrap();
                    ns.open(&root(), ino, RW, false).unwrap();
                }
                Step::Put { len, seed } => {
                    // Staged writes are stored first, then the put replaces all of them.
                    ns.fsync(&root(), ino).unwrap();
                    model = noise(seed, len);
                    put(ns, "f", &model);
                }
                Step::Restart => {
                    let op = root();
                    ns.fsync(&op, ino).unwrap();
                    ns.settle_blocking(&op).unwrap();
                    drop(store);
                    world.restart(0);
                    store = open(&world);
                    store.namespace().open(&root(), ino, RW, false).unwrap();
                }
            }
            let ns = store.namespace();
            prop_assert!(read_file(ns, ino) == model);
            prop_assert_eq!(ns.getattr(&root(), ino).unwrap().size, model.len() as u64);
        }
        let ns = store.namespace();
        prop_assert!(get(ns, "f").unwrap() == model);
        sound(ns);
    }
}
