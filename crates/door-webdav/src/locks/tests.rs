//! Who is in whose way: the rules of RFC 4918 section 7 on bare tables.

use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000);

fn lock(path: &str, token: &str, deep: bool, shared: bool) -> LockRecord {
    LockRecord {
        token: token.into(),
        path: path.into(),
        ino: None,
        deep,
        shared,
        principal: "alice".into(),
        owner_xml: vec![],
        expires: Some(Timestamp(2_000)),
    }
}

fn table(locks: &[LockRecord]) -> Table {
    let mut table = Table::new();
    for lock in locks {
        table.entry(lock.path.clone()).or_default().push(lock.clone());
    }
    table
}

fn refused(locks: &[LockRecord], path: &str, deep: bool, principal: &str, tokens: &[&str]) -> bool {
    let holder =
        Holder { principal: principal.into(), tokens: tokens.iter().map(|token| (*token).to_owned()).collect() };
    let touch = Touch { path: UrlPath::parse(path).unwrap(), deep };
    conflict_with_change(&table(locks), &touch, &holder, &|lock| live(lock, NOW)).is_some()
}

#[test]
fn a_locked_resource_changes_only_with_its_token_in_its_owners_hand() {
    let locks = [lock("/b/f", "t", false, false)];
    assert!(refused(&locks, "/b/f", false, "alice", &[]));
    assert!(refused(&locks, "/b/f", false, "bob", &["t"]));
    assert!(!refused(&locks, "/b/f", false, "alice", &["t"]));
    assert!(!refused(&locks, "/b/ff", false, "bob", &[]));
}

#[test]
fn a_deep_lock_covers_everything_below_and_a_flat_one_only_itself() {
    assert!(refused(&[lock("/b/d", "t", true, false)], "/b/d/x/y", false, "bob", &[]));
    assert!(!refused(&[lock("/b/d", "t", false, false)], "/b/d/x", false, "bob", &[]));
    assert!(refused(&[lock("/", "t", true, false)], "/b", false, "bob", &[]));
}

#[test]
fn a_tree_changes_only_with_all_the_tokens_below_it() {
    let locks = [lock("/b/d/x", "x", false, false), lock("/b/d/y", "y", false, false)];
    assert!(refused(&locks, "/b/d", true, "alice", &["x"]));
    assert!(!refused(&locks, "/b/d", true, "alice", &["x", "y"]));
    assert!(!refused(&locks, "/b/d", false, "bob", &[]));
}

#[test]
fn of_several_shared_locks_one_held_is_enough() {
    let mut other = lock("/b/f", "o", false, true);
    other.principal = "bob".into();
    let locks = [lock("/b/f", "t", false, true), other];
    assert!(refused(&locks, "/b/f", false, "alice", &[]));
    assert!(!refused(&locks, "/b/f", false, "alice", &["t"]));
    assert!(!refused(&locks, "/b", true, "alice", &["t"]));
}

#[test]
fn a_lock_meets_a_change_where_one_covers_the_other() {
    let tree = Touch::tree(&UrlPath::parse("/b/d").unwrap());
    let one = Touch::one(&UrlPath::parse("/b/d").unwrap());
    for (path, deep, meets_tree, meets_one) in [
        ("/b/d", false, true, true),
        ("/b/d/x/y", false, true, false),
        ("/b", true, true, true),
        ("/b", false, false, false),
        ("/b/dd", true, false, false),
        ("/", true, true, true),
    ] {
        let wanted = lock(path, "t", deep, false);
        assert_eq!((meets(&tree, &wanted), meets(&one, &wanted)), (meets_tree, meets_one), "{path} {deep}");
    }
}

#[test]
fn an_expired_lock_is_in_nobodys_way() {
    let mut old = lock("/b/f", "t", false, false);
    old.expires = Some(NOW);
    assert!(!refused(&[old], "/b/f", false, "bob", &[]));
}

#[test]
fn a_lineage_runs_from_the_root_down() {
    assert_eq!(lineage(b"/a/b/c").collect::<Vec<_>>(), [b"/".as_slice(), b"/a", b"/a/b", b"/a/b/c"]);
    assert_eq!(lineage(b"/").collect::<Vec<_>>(), [b"/".as_slice()]);
}

proptest! {
    /// The table's range scan and prefix walk against a plain filter over all locks.
    #[test]
    fn what_covers_and_what_lies_below_is_what_the_paths_say(
        paths in prop::collection::vec("(/[ab!]{1,2}){1,3}", 1..8), asked in "(/[ab!]{1,2}){1,3}", deep in any::<bool>(),
    ) {
        let locks: Vec<_> = paths.iter().enumerate().map(|(at, path)| lock(path, &at.to_string(), deep, false)).collect();
        let table = table(&locks);
        let mut found: Vec<_> = covering(&table, asked.as_bytes()).map(|lock| lock.token.clone()).collect();
        let mut expected: Vec<_> = locks.iter()
            .filter(|lock| lock.path == asked.as_bytes() || deep && asked.as_bytes().starts_with(&[&lock.path[..], b"/"].concat()))
            .map(|lock| lock.token.clone()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
        let mut found: Vec<_> = below(&table, asked.as_bytes()).map(|lock| lock.token.clone()).collect();
        let mut expected: Vec<_> = locks.iter()
            .filter(|lock| lock.path.starts_with(&[asked.as_bytes(), b"/"].concat()))
            .map(|lock| lock.token.clone()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}
