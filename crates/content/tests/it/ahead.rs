//! Changes that are computed before the writer's lock is taken.

use std::sync::Arc;

use strata_content::{Computed, ContentError, Store};

use crate::create;

/// How often a change is computed that is to be computed so often: once more where every first commit is refused.
fn times(often: usize) -> usize {
    often + usize::from(strata_seam::rehearsal::refuses_first())
}

fn value(store: &Arc<Store>, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key).unwrap().map(|entry| entry.value)
}

fn put(store: &Arc<Store>, key: &[u8], value: &[u8]) {
    store
        .transact(false, |tx| {
            tx.put(key, value);
            Ok::<_, ContentError>(())
        })
        .unwrap();
}

/// Computes ahead a change that notes what it reads at `a` in `b`, and has `meanwhile` happen when it is computed first. Returns how often
/// it was computed.
fn copied(store: &Arc<Store>, meanwhile: impl Fn()) -> usize {
    let mut computed = 0;
    store
        .transact_then(
            false,
            Computed::Ahead,
            |tx| {
                computed += 1;
                let read = tx.get(b"a")?.unwrap_or_else(|| b"absent".to_vec());
                tx.put(&b"b"[..], read);
                if computed == 1 {
                    meanwhile();
                }
                Ok::<_, ContentError>(())
            },
            |()| {},
        )
        .unwrap();
    computed
}

#[test]
fn a_change_computed_ahead_is_made_as_it_is_while_what_it_read_is_so() {
    let (_world, store) = create();
    put(&store, b"a", b"one");
    assert_eq!(copied(&store, || put(&store, b"other", b"x")), times(1));
    assert_eq!(value(&store, b"b").unwrap(), b"one");
}

#[test]
fn a_change_computed_ahead_is_computed_again_where_a_row_it_read_is_another_or_has_come_to_be_or_is_gone() {
    let (_world, store) = create();
    assert_eq!(copied(&store, || put(&store, b"a", b"one")), times(2), "it came to be");
    assert_eq!(value(&store, b"b").unwrap(), b"one");
    assert_eq!(copied(&store, || put(&store, b"a", b"two")), times(2), "it is another");
    assert_eq!(value(&store, b"b").unwrap(), b"two");
    let remove = || {
        store
            .transact(false, |tx| {
                tx.delete(&b"a"[..]);
                Ok::<_, ContentError>(())
            })
            .unwrap();
    };
    assert_eq!(copied(&store, remove), times(2), "it is gone");
    assert_eq!(value(&store, b"b").unwrap(), b"absent");
}

#[test]
fn a_change_that_would_be_refused_ahead_is_refused_by_what_is_so_under_the_lock() {
    let (_world, store) = create();
    let mut computed = 0;
    let refused = || ContentError::TooLarge("not yet".to_owned());
    let made = store.transact_then(
        false,
        Computed::Ahead,
        |tx| {
            computed += 1;
            if tx.get(b"a")?.is_none() {
                put(&store, b"a", b"one");
                return Err(refused());
            }
            tx.put(&b"b"[..], &b"done"[..]);
            Ok(())
        },
        |()| {},
    );
    made.unwrap();
    assert_eq!((computed, value(&store, b"b").unwrap()), (times(2), b"done".to_vec()));
}
