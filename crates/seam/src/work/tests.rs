//! What is shown of a worker, through its rounds, waits and failures.

use super::*;
use crate::sim::SimClock;

const DUTY: Duty = Duty { name: "sweeper", does: "sweeps", unit: "rooms" };
const SECOND: u64 = 1_000_000_000;

fn crew() -> (Arc<SimClock>, Crew, Arc<Worker>) {
    let clock = Arc::new(SimClock::new());
    let crew = Crew::new(clock.clone());
    let worker = crew.add(DUTY, None);
    (clock, crew, worker)
}

#[test]
fn a_round_shows_how_far_it_is_and_of_how_much_and_stays_to_be_seen_when_it_ended() {
    let (clock, crew, worker) = crew();
    assert_eq!(worker.status().state, WorkerState::Idle);
    let began = u64::try_from(clock.now().secs()).unwrap();
    clock.advance(5 * SECOND);
    {
        let _round = worker.begin(Some(10));
        worker.advance(3);
        let seen = crew.status().remove(0);
        assert_eq!((seen.state, seen.since), (WorkerState::Working, began + 5));
        assert_eq!((seen.cursor, seen.bound, seen.rounds), (3, Some(10), 0));
        worker.reach(7, Some(12));
    }
    let seen = worker.status();
    assert_eq!((seen.state, seen.cursor, seen.bound), (WorkerState::Idle, 7, Some(12)));
    assert_eq!((seen.rounds, seen.handled), (1, 7));
    drop(worker.begin(None));
    let seen = worker.status();
    assert_eq!((seen.cursor, seen.bound, seen.handled, seen.rounds), (0, None, 7, 2));
}

#[test]
fn threads_that_share_a_duty_are_one_worker() {
    let (_, crew, worker) = crew();
    let other = crew.add(DUTY, None);
    assert_eq!(crew.status().len(), 1);
    let (one, two) = (worker.begin(None), other.begin(None));
    drop(one);
    assert_eq!(worker.status().state, WorkerState::Working, "the other is still at it");
    drop(two);
    assert_eq!(worker.status().state, WorkerState::Idle);
    assert_eq!(worker.status().rounds, 2);
}

#[test]
fn what_is_waited_for_is_named_until_it_came_or_the_round_ended() {
    let (.., worker) = crew();
    let round = worker.begin(None);
    worker.waits_for("3 readers");
    assert_eq!(worker.status().waits_for.as_deref(), Some("3 readers"));
    assert_eq!(worker.status().state, WorkerState::Waiting);
    worker.goes_on();
    assert_eq!(worker.status().state, WorkerState::Working);
    worker.waits_for("the broom");
    drop(round);
    assert_eq!((worker.status().state, worker.status().waits_for), (WorkerState::Idle, None));
    worker.set_paused(true);
    assert_eq!(worker.status().state, WorkerState::Paused);
}

#[test]
fn a_failure_is_said_once_and_shown_since_when_until_something_goes_right() {
    let (clock, _, worker) = crew();
    let began = u64::try_from(clock.now().secs()).unwrap();
    let again = Duration::from_secs(10);
    assert!(worker.failed(&"no broom", again));
    clock.advance(10 * SECOND);
    assert!(!worker.failed(&"no broom", again), "that was said");
    let seen = worker.status();
    assert_eq!((seen.state, seen.errors), (WorkerState::Failed, 2));
    let failure = seen.failure.unwrap();
    assert_eq!(
        (failure.what.as_str(), failure.since, failure.last, failure.again),
        ("no broom", began, began + 10, Some(began + 20))
    );
    let round = worker.begin(None);
    assert_eq!(worker.status().state, WorkerState::Working);
    assert!(worker.status().failure.is_some(), "not before it went right");
    drop(round);
    assert_eq!(worker.status().state, WorkerState::Failed);
    assert!(!worker.note(&Ok::<_, String>(()), again));
    assert_eq!((worker.status().state, worker.status().failure), (WorkerState::Idle, None));
    worker.count_failure(&Err::<(), _>("whoever asked is told"));
    assert_eq!((worker.status().errors, worker.status().failure), (3, None));
}

#[test]
fn a_round_that_panics_is_a_failure() {
    let (.., worker) = crew();
    let theirs = Arc::clone(&worker);
    let died = std::thread::spawn(move || {
        let _round = theirs.begin(None);
        panic!("as a fault in somebody's code would");
    });
    assert!(died.join().is_err());
    assert_eq!(worker.status().state, WorkerState::Failed);
    assert_eq!(worker.status().errors, 1);
}

#[test]
fn the_loop_goes_on_after_a_failure_and_ends_when_it_is_told_to() {
    let (.., worker) = crew();
    let stop = Stop::default();
    let (mut steps, said) = (0, AtomicU64::new(0));
    worker.work(
        &stop,
        || Duration::from_millis(1),
        |_: &String| {
            said.fetch_add(1, Ordering::Relaxed);
        },
        || {
            steps += 1;
            match steps {
                1..=3 => Err("no broom".to_owned()),
                4 => Ok(Duration::ZERO),
                _ => {
                    stop.ask();
                    Ok(Duration::from_secs(600))
                }
            }
        },
    );
    assert_eq!((steps, said.into_inner()), (5, 1));
    assert_eq!((worker.status().errors, worker.status().failure), (3, None));
}

#[test]
fn what_is_left_takes_as_long_as_the_speed_so_far_says() {
    assert_eq!(remaining(0, 100, Duration::from_secs(5)), None);
    assert_eq!(remaining(25, 100, Duration::from_secs(5)), Some(Duration::from_secs(15)));
    assert_eq!(remaining(200, 100, Duration::from_secs(5)), Some(Duration::ZERO));
}
