//! What every engine's calls go through: errors and panics are caught, and an engine that panicked is not called again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::EngineError;

/// A database of an engine, and whether it may still be asked.
pub(crate) struct Guarded<T> {
    engine: &'static str,
    /// `None` only while it is dropped.
    db: Option<T>,
    panicked: AtomicBool,
}

impl<T> std::fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("engine", &self.engine)
            .field("panicked", &self.panicked)
            .finish_non_exhaustive()
    }
}

impl<T> Guarded<T> {
    /// Opens a database by `open`, in a thread of its own, so that no state of the caller's is unwound through if the recovery
    /// of a damaged file panics.
    ///
    /// # Errors
    /// Whatever `open` says or panics with.
    pub(crate) fn open<F>(engine: &'static str, open: F) -> Result<Self, EngineError>
    where
        F: FnOnce() -> Result<T, EngineError> + Send + 'static,
        T: Send + 'static,
    {
        let opener = std::thread::Builder::new().name(format!("{engine}-open")).spawn(open);
        let db = opener
            .map_err(|error| failed(engine, "open", &error))?
            .join()
            .map_err(|panic| panicked(engine, "open", panic.as_ref()))??;
        Ok(Self { engine, db: Some(db), panicked: AtomicBool::new(false) })
    }

    /// Asks the database for something.
    ///
    /// # Errors
    /// Whatever it says or panics with; that it panicked before.
    pub(crate) fn call<R, E: std::error::Error>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<R, EngineError> {
        let db = match &self.db {
            Some(db) if !self.panicked.load(Ordering::Acquire) => db,
            _ => {
                let message = "it panicked before and was not called again".into();
                return Err(EngineError::Panicked { engine: self.engine, operation, message });
            }
        };
        match catch_unwind(AssertUnwindSafe(|| body(db))) {
            Ok(result) => result.map_err(|error| failed(self.engine, operation, &error)),
            Err(panic) => {
                self.panicked.store(true, Ordering::Release);
                Err(panicked(self.engine, operation, panic.as_ref()))
            }
        }
    }
}

impl<T> Drop for Guarded<T> {
    /// An engine writes when it is dropped, and may panic when it does.
    fn drop(&mut self) {
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::warn!(
                engine = self.engine,
                "the index's engine panicked while it was closed; the index is checked when it is opened again"
            );
        }
    }
}

pub(crate) fn failed(engine: &'static str, operation: &'static str, error: &dyn std::error::Error) -> EngineError {
    EngineError::Failed { engine, operation, message: error.to_string() }
}

fn panicked(engine: &'static str, operation: &'static str, panic: &(dyn std::any::Any + Send)) -> EngineError {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "no message".into());
    EngineError::Panicked { engine, operation, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_panicked_is_not_called_again() {
        let db = Guarded::open("test", || Ok(7)).unwrap();
        assert_eq!(db.call("read", |db| Ok::<_, std::fmt::Error>(*db)).unwrap(), 7);
        let error = db.call("read", |_| -> Result<(), std::fmt::Error> { panic!("a page is torn") }).unwrap_err();
        assert!(matches!(&error, EngineError::Panicked { message, .. } if message == "a page is torn"), "{error}");
        let mut called = false;
        let error = db.call("read", |_| {
            called = true;
            Ok::<_, std::fmt::Error>(())
        });
        assert!(matches!(error, Err(EngineError::Panicked { .. })) && !called);
    }

    #[test]
    fn a_panic_of_an_opening_is_an_error() {
        let error = Guarded::<()>::open("test", || panic!("no header")).unwrap_err();
        assert!(matches!(&error, EngineError::Panicked { operation: "open", .. }), "{error}");
    }
}
