//! What the coalescing queue promises.

use proptest::prelude::*;
use strata_seam::Ino;

use super::*;

fn entry(parent: u64, name: &str, old: Option<u64>) -> Change {
    Change::Entry { parent: Ino(parent), name: name.as_bytes().to_vec(), old: old.map(Ino) }
}

fn batch(changes: impl IntoIterator<Item = Change>) -> Batch {
    let mut pending = Pending::default();
    changes.into_iter().for_each(|change| pending.push(change));
    let mut batch = pending.take();
    assert!(pending.is_empty());
    batch.entries.sort();
    batch.inodes.sort();
    batch
}

#[test]
fn changes_of_one_inode_become_one_invalidation_of_the_widest_scope() {
    let changes = [Change::Attr(Ino(5)), Change::Content(Ino(5)), Change::Attr(Ino(5)), Change::Attr(Ino(6))];
    assert_eq!(batch(changes).inodes, [(5, Scope::Data), (6, Scope::Attr)]);
}

#[test]
fn a_changed_name_also_makes_its_directory_and_its_former_inode_stale() {
    let batch = batch([entry(1, "a", Some(9)), entry(1, "a", None), entry(1, "b", None)]);
    assert_eq!(batch.entries, [(1, b"a".to_vec()), (1, b"b".to_vec())]);
    assert_eq!(batch.inodes, [(1, Scope::Data), (9, Scope::Attr)]);
}

#[test]
fn an_overflow_of_the_feed_stands_for_everything() {
    let batch = batch([entry(1, "a", None), Change::Overflow, Change::Attr(Ino(3))]);
    assert!(batch.all && batch.entries.is_empty() && batch.inodes.is_empty());
}

#[test]
fn after_everything_was_taken_single_changes_count_again() {
    let mut pending = Pending::default();
    pending.push(Change::Overflow);
    assert!(pending.take().all);
    pending.push(Change::Attr(Ino(3)));
    let batch = pending.take();
    assert!(!batch.all && batch.inodes == [(3, Scope::Attr)]);
}

#[test]
fn the_queue_never_grows_beyond_its_limit() {
    let mut pending = Pending::default();
    for ino in 0..3 * PENDING_MAX as u64 {
        pending.push(Change::Attr(Ino(ino)));
        assert!(pending.inodes.len() <= PENDING_MAX);
    }
    assert!(pending.take().all);
}

proptest! {
    #[test]
    fn no_change_is_lost_whatever_the_order(inos in prop::collection::vec((0_u64..50, any::<bool>()), 0..200)) {
        let batch = batch(inos.iter().map(|&(ino, data)| if data { Change::Content(Ino(ino)) } else { Change::Attr(Ino(ino)) }));
        for (ino, data) in inos {
            let told = batch.inodes.iter().find(|(told, _)| *told == ino).map(|(_, scope)| *scope);
            let least = if data { Scope::Data } else { Scope::Attr };
            prop_assert!(told >= Some(least));
        }
    }
}
