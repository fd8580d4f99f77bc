//! The connections of a door: a limited number of them. No address gets all, and silent clients keep none.
//!
//! If all seats are taken, the connection that has been without a request for longest makes room for a new one, as
//! web servers end kept-alive connections when they run out: so no number of silent clients keeps others out. The same holds within
//! an address's share. Only while there is a request on every connection is nobody admitted.
//!
//! Invariants: no more seats are taken than there are. A connection with a request on it is never told to leave, and no request begins
//! on a connection that was told to leave.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::shares::{client, has_its_share};

/// In place of a number of requests: the connection was told to leave.
const LEAVING: u32 = u32::MAX;

/// The connections of a door: a limited number, shared among addresses.
#[derive(Debug)]
pub struct Seats {
    max: usize,
    each_max: usize,
    open: Mutex<Vec<Arc<State>>>,
    /// Some seat has become free, or is without a request; told where somebody waits for it.
    changed: Notify,
    wanted: AtomicBool,
    began: Instant,
}

/// What is known of one connection.
#[derive(Debug)]
struct State {
    address: IpAddr,
    requests: AtomicU32,
    /// When the last request ended, in nanoseconds.
    idle_since: AtomicU64,
    leave: Notify,
}

/// A connection's seat; free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    state: Arc<State>,
}

/// Marks a connection as having a request, until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Seat>);

/// The request of a connection that has one at a time. It counts until its answer was handed over completely, which is later than the end
/// of the work.
#[derive(Debug)]
pub struct Turn {
    seat: Arc<Seat>,
    working: AtomicBool,
    unsent: AtomicBool,
}

/// Marks a request as being worked on, until it is dropped.
#[derive(Debug)]
pub struct Working(Arc<Turn>);

/// Why a connection is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoSeat {
    /// Its address has its share of the connections, and a request on each of them.
    #[error("the address has its share of the connections, with a request on each")]
    Share,
    /// There is a request on every connection.
    #[error("there is a request on every connection")]
    AllBusy,
}

impl State {
    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::SeqCst) == 0
    }
}

impl Seats {
    /// At most `max` seats, of which one address gets its share ([`crate::Shares`]) and at most `each_max`.
    #[must_use]
    pub fn new(max: usize, each_max: usize) -> Arc<Self> {
        let (open, changed, wanted) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Arc::new(Self { max, each_max, open, changed, wanted, began: Instant::now() })
    }

    /// A seat for a connection from `address`. If all are taken, the connection that has been without a request for longest is told to
    /// leave, and its seat is given.
    ///
    /// # Errors
    /// [`NoSeat`].
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Arc<Seat>, NoSeat> {
        let address = client(address);
        let mut open = self.open.lock();
        let own = open.iter().filter(|state| state.address == address).count();
        // Idle connections of other addresses make room, so their seats count as free.
        let idle = open.iter().filter(|state| state.address != address && state.is_idle()).count();
        if own >= self.each_max || has_its_share(own, self.max.saturating_sub(open.len()) + idle) {
            if !make_room(&mut open, |state| state.address == address) {
                return Err(NoSeat::Share);
            }
        } else if open.len() >= self.max && !make_room(&mut open, |_| true) {
            return Err(NoSeat::AllBusy);
        }
        let state = State {
            address,
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(self.now()),
            leave: Notify::new(),
        };
        let state = Arc::new(state);
        open.push(Arc::clone(&state));
        Ok(Arc::new(Seat { seats: Arc::clone(self), state }))
    }

    /// A seat as [`Seats::take`] gives it, but waits while every connection has a request.
    ///
    /// # Errors
    /// [`NoSeat::Share`].
    pub async fn take_when_one_is_free(self: &Arc<Self>, address: IpAddr) -> Result<Arc<Seat>, NoSeat> {
        loop {
            match self.take(address) {
                Err(NoSeat::AllBusy) if self.wanted.swap(true, Ordering::SeqCst) => self.changed.notified().await,
                // A change that came before the notification was awaited is seen by another look.
                Err(NoSeat::AllBusy) => {}
                answer => {
                    self.wanted.store(false, Ordering::SeqCst);
                    return answer;
                }
            }
        }
    }

    fn tell_of_change(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
    }

    /// How many seats are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.open.lock().len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Tells the connection that has been idle for longest, of those that `may` go, to leave. False where there is none.
fn make_room(open: &mut Vec<Arc<State>>, may: impl Fn(&State) -> bool) -> bool {
    loop {
        let idle = open.iter().enumerate().filter(|(_, state)| may(state) && state.is_idle());
        let oldest = idle.min_by_key(|(_, state)| state.idle_since.load(Ordering::Acquire));
        let Some(place) = oldest.map(|(place, _)| place) else { return false };
        let told = &open[place].requests;
        // If a request has begun on it meanwhile, another connection is chosen.
        if told.compare_exchange(0, LEAVING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            open.swap_remove(place).leave.notify_one();
            return true;
        }
    }
}

impl Seat {
    /// Notes that a request begins; false where the connection was told to leave, so that none may.
    #[must_use]
    pub fn begin(&self) -> bool {
        let begun = self
            .state
            .requests
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |requests| (requests != LEAVING).then(|| requests + 1));
        begun.is_ok()
    }

    /// Notes that one is answered.
    pub fn end(&self) {
        if self.state.requests.load(Ordering::Acquire) == 1 {
            self.state.idle_since.store(self.seats.now(), Ordering::Release);
        }
        if self.state.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.seats.tell_of_change();
        }
    }

    /// A request, until what is returned is dropped; `None` as for [`begin`](Self::begin).
    #[must_use]
    pub fn busy(self: &Arc<Self>) -> Option<Busy> {
        self.begin().then(|| Busy(Arc::clone(self)))
    }

    /// Resolves when the connection is to leave, since another takes its seat.
    pub async fn left(&self) {
        self.state.leave.notified().await;
    }
}

impl Turn {
    /// For the connection in this seat.
    #[must_use]
    pub fn new(seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self { seat, working: AtomicBool::new(false), unsent: AtomicBool::new(false) })
    }

    /// Notes that a request is worked on, until what is returned is dropped; `None` where the connection was told to leave, so that
    /// none may begin.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Option<Working> {
        if !self.unsent.load(Ordering::Acquire) && !self.seat.begin() {
            return None;
        }
        self.working.store(true, Ordering::Release);
        self.unsent.store(true, Ordering::Release);
        Some(Working(Arc::clone(self)))
    }

    /// Notes that all that was written has been handed over. Between two pieces of an answer that says nothing.
    pub fn flushed(&self) {
        if !self.working.load(Ordering::Acquire) && self.unsent.swap(false, Ordering::AcqRel) {
            self.seat.end();
        }
    }

    /// Whether a request is worked on, or its answer may not have been handed over whole.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.unsent.load(Ordering::Acquire)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.store(false, Ordering::Release);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.open.lock().retain(|state| !Arc::ptr_eq(state, &self.state));
        self.seats.tell_of_change();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    async fn is_told(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::from_millis(1), seat.left()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_takes_the_seat_of_who_has_been_silent_for_longest() {
        let seats = Seats::new(3, 3);
        let (first, second, third) =
            (seats.take(from(1)).unwrap(), seats.take(from(2)).unwrap(), seats.take(from(3)).unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(first.busy().unwrap());
        let working = second.busy().unwrap();
        let fourth = seats.take(from(4)).unwrap();
        assert!(is_told(&third).await && !is_told(&first).await && !is_told(&second).await);
        assert!(third.busy().is_none(), "nothing begins on a connection that leaves");
        assert_eq!(seats.taken(), 3);
        drop(third);
        assert_eq!(seats.taken(), 3, "its seat is taken by then");
        let all = [first.busy().unwrap(), working, fourth.busy().unwrap()];
        assert_eq!(seats.take(from(5)).unwrap_err(), NoSeat::AllBusy);
        let freed = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(all);
        };
        let (fifth, ()) = tokio::join!(seats.take_when_one_is_free(from(5)), freed);
        assert!(fifth.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn among_many_silent_addresses_one_that_works_keeps_its_connections() {
        let seats = Seats::new(8, usize::MAX);
        let mut silent = Vec::new();
        let mut working = Vec::new();
        for n in 0..40 {
            silent.push(seats.take(from(100 + n)).unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
            if n % 10 == 9 {
                // No connection of its own makes room, although there is no other seat left.
                working.push(seats.take(from(1)).unwrap());
            }
            for seat in &working {
                drop(seat.busy().expect("it was not told to leave"));
            }
        }
        assert_eq!((working.len(), seats.taken()), (4, 8));
    }

    #[tokio::test]
    async fn a_request_is_over_when_its_answer_was_handed_over() {
        let seats = Seats::new(1, 1);
        let turn = Turn::new(seats.take(from(1)).unwrap());
        let working = turn.begin().unwrap();
        turn.flushed();
        assert!(turn.is_on() && seats.take(from(1)).is_err(), "more of the answer comes");
        drop(working);
        assert!(seats.take(from(1)).is_err(), "its end is not flushed");
        // A request right behind it belongs to the same turn.
        drop(turn.begin().unwrap());
        turn.flushed();
        assert!(!turn.is_on() && seats.take(from(1)).is_ok());
        assert!(turn.begin().is_none(), "no request begins on a connection that is to leave");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_its_share_takes_the_seats_of_its_own_silent_connections() {
        let seats = Seats::new(8, usize::MAX);
        let mut greedy = Vec::new();
        for _ in 0..20 {
            greedy.push(seats.take(from(1)).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(seats.taken(), 6, "three quarters of all");
        let others: Vec<_> = (2..4).map(|last| seats.take(from(last)).unwrap()).collect();
        assert!(!is_told(&greedy[19]).await && !is_told(&others[0]).await);
        let busy: Vec<_> = greedy[14..].iter().map(|seat| seat.busy().unwrap()).collect();
        assert_eq!(seats.take(from(1)).unwrap_err(), NoSeat::Share);
        drop((greedy, busy, others));
        assert_eq!(seats.taken(), 0);
        let seats = Seats::new(8, 1);
        let kept = [seats.take(from(1)).unwrap(), seats.take(from(1)).unwrap()];
        assert_eq!(seats.taken(), 1);
        assert!(is_told(&kept[0]).await);
    }
}
