//! Shares of a door's places, or of bytes: a holder that already has many gets no more, long before the others find none.
//!
//! A holder may take more while it has fewer than [`PART`] times as many as are left. So one alone gets three quarters of all,
//! however many there are, and each of several gets as many as the others; the last to come still finds some.
//! No number has to be guessed for what a "client" may need, and where places are plenty nobody notices.
//!
//! Invariants: places in use never exceed the limit; memory is one entry per holder with a place.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Places somebody may have for each that is left.
const PART: usize = 3;

/// The places of a door, by who holds them.
pub struct Shares<K> {
    max: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    used: usize,
    by_holder: HashMap<K, usize>,
}

/// Some places, given back when dropped.
pub struct Held<K: Hash + Eq> {
    shares: Arc<Shares<K>>,
    holder: K,
    amount: usize,
}

impl<K> std::fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shares").field("max", &self.max).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// A number of places that holders share.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::new(State { used: 0, by_holder: HashMap::new() }) })
    }

    /// One place for `holder`; `None` if none is free or the holder has its share.
    #[must_use]
    pub fn take(self: &Arc<Self>, holder: K) -> Option<Held<K>> {
        self.take_many(holder, 1)
    }

    /// `amount` places for `holder` at once; `None` if there are not so many or they would exceed the holder's share.
    #[must_use]
    pub fn take_many(self: &Arc<Self>, holder: K, amount: usize) -> Option<Held<K>> {
        let mut state = self.state.lock();
        let left = self.max.saturating_sub(state.used).checked_sub(amount)?;
        let own = state.by_holder.get(&holder).copied().unwrap_or(0);
        if has_its_share(own, left) {
            return None;
        }
        state.used += amount;
        state.by_holder.insert(holder.clone(), own + amount);
        drop(state);
        Some(Held { shares: Arc::clone(self), holder, amount })
    }

    /// Places in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state.lock().used
    }
}

impl<K: Hash + Eq> Drop for Held<K> {
    fn drop(&mut self) {
        let mut state = self.shares.state.lock();
        state.used -= self.amount;
        if let Some(own) = state.by_holder.get_mut(&self.holder) {
            *own -= self.amount;
            if *own == 0 {
                state.by_holder.remove(&self.holder);
            }
        }
    }
}

/// Whether somebody with `own` places gets no more while so many are left.
pub(crate) fn has_its_share(own: usize, left: usize) -> bool {
    own > 0 && own >= left.saturating_mul(PART)
}

/// The holder as which an address counts: an IPv4 address, or the first 64 bits of an IPv6 address, because one client may have all
/// addresses below these.
#[must_use]
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_gets_most_and_whoever_comes_next_still_finds_places() {
        let shares = Shares::new(256);
        let mut held = Vec::new();
        let mut take_all = |holder: &'static str| {
            let before = held.len();
            while let Some(place) = shares.take(holder) {
                held.push(place);
            }
            held.len() - before
        };
        assert_eq!(take_all("greedy"), 192);
        assert!((40..=48).contains(&take_all("second")));
        assert!(take_all("third") >= 8);
        drop(held);
        assert_eq!(shares.used(), 0);
        assert!(shares.state.lock().by_holder.is_empty());
    }

    #[test]
    fn a_single_place_is_given_to_whoever_comes() {
        let shares = Shares::new(1);
        let first = shares.take(1).unwrap();
        assert!(shares.take(2).is_none());
        drop(first);
        assert!(shares.take(2).is_some());
    }

    #[test]
    fn bytes_are_shared_like_places() {
        let shares = Shares::new(1000);
        assert!(shares.take_many("greedy", 1001).is_none());
        let first = shares.take_many("greedy", 600).unwrap();
        assert!(shares.take_many("greedy", 300).is_none());
        assert!(shares.take_many("other", 300).is_some());
        drop(first);
        assert_eq!(shares.used(), 0);
    }

    #[test]
    fn addresses_of_one_client_are_one_holder() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.2"), of("192.0.2.1"));
    }
}
