//! What the row has found, each as the few steps that it takes, and the boundaries of what sessions share.

use super::place::Place;
use super::step::File;
use super::*;

const ANN: Actor = Actor(Some("ann"));
const BOB: Actor = Actor(Some("bob"));

fn place(path: &str) -> Place {
    Place::at(path)
}

/// A store with its sessions, and a test of what they do.
fn with_sessions(test: impl FnOnce(&Rc<Run>)) {
    let world = SimWorld::new(1);
    let _nobody_reported = rehearsal::take_reports();
    let store = Rig::small((1, 0)).open(&world).expect("a store");
    for bucket in BUCKETS {
        store.namespace().create_bucket(&root(), bucket, None).expect("a bucket");
    }
    trash::make(store.namespace()).expect("a trash");
    let run = Rc::new(Run::begin(&world, store.namespace()).expect("sessions"));
    test(&run);
    run.end();
    assert_eq!(run.wrong(), None);
    assert_eq!(locking::counts_agree(store.namespace()), Ok(()));
    assert_eq!(trash::all_followed(store.namespace()), Ok(()));
    assert_eq!(violations(store.namespace()), Vec::<String>::new());
    assert_eq!(leftovers(store.namespace()), Vec::<String>::new());
    told::hold_against(store.namespace()).expect("events and tree agree");
}

impl Run {
    /// A step in whose middle another session takes one.
    fn interrupted(self: &Rc<Self>, step: (usize, Step, Actor), meanwhile: (usize, Step, Actor)) -> bool {
        let run = Rc::clone(self);
        rehearsal::interlude(Box::new(move || assert!(run.take(meanwhile.0, &meanwhile.1, meanwhile.2))));
        let done = self.take(step.0, &step.1, step.2);
        assert!(rehearsal::take_interlude().is_none(), "it was not interrupted");
        assert_eq!(self.wrong(), None);
        done
    }
}

#[test]
fn a_directory_that_gets_its_first_name_while_its_mode_is_set_keeps_the_time_of_that() {
    with_sessions(|run| {
        assert!(run.interrupted((0, Step::Mode(place("one"), 0o700), ANN), (1, Step::MakeDir(place("one/a")), ANN)));
    });
}

#[test]
fn a_lock_of_the_whole_tree_binds_also_where_something_is_locked_already() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Lock(Some(place("one/a")), false, true, 2), ANN));
        let put = Step::Put(place("one/b"), 1);
        assert!(!run.interrupted((1, put.clone(), ANN), (2, Step::Lock(None, true, true, 2), BOB)));
        assert!(run.take(1, &put, BOB));
    });
}

#[test]
fn a_bucket_that_goes_takes_its_locks_along() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Lock(Some(place("one")), true, false, 2), ANN));
        assert!(!run.take(1, &Step::RemoveBucket(0), BOB));
        assert!(run.take(1, &Step::RemoveBucket(0), ANN));
    });
}

#[test]
fn a_change_that_was_computed_before_a_grant_is_refused() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a"), 1), ANN));
        assert!(!run.interrupted(
            (1, Step::Put(place("one/a"), 2), BOB),
            (0, Step::Lock(Some(place("one/a")), false, false, 2), ANN)
        ));
    });
}

#[test]
fn of_two_processes_that_lock_the_same_bytes_at_once_one_gets_them() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a"), 1), ANN));
        let hold = |which| Step::Hold(File::Named(place("one/a")), which, true);
        // Bytes 3 to 5 of the one, 4 and 5 of the other.
        assert!(run.interrupted((0, hold(128 + 8 + 3), ANN), (1, hold(128 + 8 + 4), BOB)));
        let ino = place("one/a").ino(&run.watcher).expect("it is there");
        assert_eq!(run.watcher.holds(&root(), ino).expect("read").len(), 1);
    });
}

#[test]
fn what_one_session_removes_stays_for_the_other_that_has_it_open_and_for_nobody_who_comes_later() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a"), 1), ANN));
        assert!(run.take(1, &Step::Open(place("one/a"), false), ANN));
        assert!(run.take(0, &Step::Unlink(place("one/a")), ANN));
        run.clock.advance(IDLE_NANOS);
        assert!(run.take(2, &Step::Idle, ANN), "the third session says that it has nothing open");
        assert!(!run.take(2, &Step::OpenByNumber(0), ANN));
        assert!(run.take(1, &Step::OpenByNumber(0), ANN));
        assert!(run.take(1, &Step::Write(File::Open(0), 5000, 10), ANN));
        assert!(run.take(1, &Step::Sync(0), ANN));
        assert_eq!(run.wrong(), None);
    });
}

#[test]
fn a_session_that_is_gone_keeps_nothing_open() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a"), 1), ANN));
        assert!(run.take(1, &Step::Open(place("one/a"), false), ANN));
        assert!(run.take(1, &Step::Hold(File::Open(0), 3, true), ANN));
        assert!(run.take(0, &Step::Unlink(place("one/a")), ANN));
        run.take(1, &Step::Restart(place("two/a/a")), ANN);
    });
}

#[test]
fn what_is_written_in_two_sessions_is_each_ones_own_until_it_is_stored_and_then_lies_over_what_is_there() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a"), 1), ANN));
        for session in 0..2 {
            assert!(run.take(session, &Step::Open(place("one/a"), false), ANN));
            assert!(run.take(session, &Step::Write(File::Open(0), 100 * session as u64, 150), ANN));
            assert_eq!(run.wrong(), None);
        }
        assert!(run.interrupted((0, Step::Sync(0), ANN), (1, Step::Sync(0), ANN)));
        assert!(run.take(2, &Step::Open(place("one/a"), false), ANN));
    });
}

#[test]
fn a_row_that_changes_while_its_directory_is_done_with_stays() {
    with_sessions(|run| {
        for path in ["one/a", "two/a"] {
            assert!(run.take(0, &Step::Put(place(path), 1), ANN));
        }
        // A file of several names in the trash itself is brought to it later, and so is the next one.
        assert!(run.take(0, &Step::Throw(place("one/a"), place(".Trash-0/a"), true), ANN));
        let next = Step::Throw(place("two/a"), place(".Trash-0/b"), true);
        assert!(run.interrupted((1, Step::Follow, ANN), (2, next, BOB)));
        assert!(trash::all_followed(&run.watcher).is_err(), "the second has not followed");
        assert!(run.take(1, &Step::Follow, ANN));
        let linked = |path: &str| run.watcher.resolve(&root(), path.as_bytes()).expect("it is there").nlink;
        assert_eq!([linked("/.Trash-0/a"), linked("/.Trash-0/b"), linked("/one/b"), linked("/two/b")], [1; 4]);
    });
}

#[test]
fn a_folder_follows_in_steps_of_any_session_while_others_change_what_is_in_it() {
    with_sessions(|run| {
        for path in ["one/a/a/a", "one/a/b/a"] {
            assert!(run.take(0, &Step::Put(place(path), 1), ANN));
        }
        let throw = Step::Throw(place("one/a"), place(".Trash-0/a"), false);
        let put = Step::Put(place("one/a/b/b"), 2);
        run.interrupted((0, throw, ANN), (1, put, BOB));
        assert!(run.take(1, &Step::Lock(Some(place(".Trash-0/a/b")), true, false, 2), ANN));
        assert!(!run.take(2, &Step::Unlink(place(".Trash-0/a/b/a")), BOB));
        assert!(run.interrupted((0, Step::Follow, ANN), (1, Step::MakeDir(place(".Trash-0/a/a/b")), BOB)));
        assert!(!run.take(2, &Step::Unlink(place(".Trash-0/a/b/a")), BOB));
        assert!(run.take(2, &Step::Follow, ANN));
        assert!(run.take(2, &Step::Unlink(place(".Trash-0/a/b/a")), ANN));
    });
}

#[test]
fn a_bucket_goes_into_the_trash_with_its_content_and_another_is_made_under_its_name() {
    with_sessions(|run| {
        assert!(run.take(0, &Step::Put(place("one/a/a"), 1), ANN));
        assert!(run.take(1, &Step::Throw(place("one"), place(".Trash-0/a"), false), ANN));
        assert!(run.take(1, &Step::MakeBucket(0), ANN));
        assert!(run.interrupted((2, Step::Follow, ANN), (0, Step::Put(place("one/a/a"), 2), ANN)));
        assert!(run.take(1, &Step::RemoveBucket(1), ANN), "nothing of the other one is on its way");
    });
}
