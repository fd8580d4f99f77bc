//! A lock that hands out its guard as it is: a thread that panics under it leaves it usable, as with `parking_lot`.

use std::fmt;
use std::ops::{Deref, DerefMut};

use shuttle::sync::{self, TryLockError};

/// Mutual exclusion.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(pub(crate) sync::Mutex<T>);

/// Access to what a [`Mutex`] protects.
pub struct MutexGuard<'a, T: ?Sized> {
    pub(crate) lock: &'a sync::Mutex<T>,
    /// `None` only while a [`Condvar`](crate::Condvar) waits.
    pub(crate) guard: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// A free lock.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// What it protected.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until it is free.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        MutexGuard { lock: &self.0, guard: Some(guard) }
    }

    /// Takes it if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = match self.0.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { lock: &self.0, guard: Some(guard) })
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Lets the lock go for as long as `act` takes.
    pub fn unlocked<R>(this: &mut Self, act: impl FnOnce() -> R) -> R {
        drop(this.guard.take());
        let done = act();
        this.guard = Some(this.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        done
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is away only while its thread waits"),
        }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is away only while its thread waits"),
        }
    }
}
