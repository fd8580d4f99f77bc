//! What is remembered stays within its bounds.

use super::*;
use crate::types::NodeKind;
use strata_seam::Timestamp;

fn inode(ino: u64) -> Inode {
    Inode::new(Ino(ino), NodeKind::Directory, 0o755, (0, 0), Timestamp(0))
}

#[test]
fn the_oldest_is_forgotten_first_and_what_was_forgotten_takes_no_room() {
    let mut state = State::default();
    let count = REMEMBERED_MAX as u64;
    state.keep(inode(2), None, 0);
    for ino in 3..count * 3 {
        state.keep(inode(ino), None, 0);
        state.forget(Ino(ino));
    }
    assert!(state.known.contains_key(&Ino(2)), "those that came and went do not push it out");
    assert_eq!((state.known.len(), state.order.len()), (1, 1));
    for ino in 3..count + 3 {
        state.keep(inode(ino), None, 0);
    }
    assert!(!state.known.contains_key(&Ino(2)));
    assert_eq!((state.known.len(), state.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
}

#[test]
fn an_inode_removed_twice_is_remembered_once() {
    let mut state = State::default();
    state.keep(inode(2), None, 0);
    state.keep(inode(2), None, 0);
    assert_eq!((state.known.len(), state.order.len()), (1, 1));
}
