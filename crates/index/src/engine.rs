//! The seam for ordered key-value stores below the overlay.

/// An error or a caught panic of an engine, in its own words.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The engine reported an error.
    #[error("{engine} failed to {operation}: {message}")]
    Failed {
        /// Which engine.
        engine: &'static str,
        /// What it was asked for.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// The engine panicked; it must not be used any more.
    #[error("{engine} panicked when asked to {operation}: {message}")]
    Panicked {
        /// Which engine.
        engine: &'static str,
        /// What it was asked for.
        operation: &'static str,
        /// What it said.
        message: String,
    },
    /// Somebody else has its files open.
    #[error("{engine} says that another process has its files open")]
    InUse {
        /// Which engine.
        engine: &'static str,
    },
    /// What the engine gave back is not what was put in.
    #[error("the index holds a record that cannot be read: {0}")]
    Damaged(String),
}

/// One key with its new value, or `None` to remove it.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// One key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered key-value store: what the index asks of an engine, and no more, so that another one is a measured choice.
///
/// Keys order as byte strings. A read sees each write batch as a whole at most per key; the index does not rely on more.
pub trait OrderedKv: Send + Sync {
    /// The value at `key`.
    ///
    /// # Errors
    /// Any error or panic of the engine.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// The first `limit` pairs with `lo <= key < hi`, in order. Fewer mean that there are no more.
    ///
    /// # Errors
    /// Any error or panic of the engine.
    fn range(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError>;

    /// The last `limit` pairs with `lo <= key < hi`, last first. Fewer mean that there are no more.
    ///
    /// # Errors
    /// Any error or panic of the engine.
    fn range_back(&self, lo: &[u8], hi: &[u8], limit: usize) -> Result<Vec<Pair>, EngineError>;

    /// Makes all of `writes` at once. Not durable on return, but never torn by a crash and never reordered with others.
    ///
    /// # Errors
    /// Any error or panic of the engine; whether the batch was made is then unknown.
    fn write(&self, writes: Vec<Write>) -> Result<(), EngineError>;

    /// Asks for everything written so far to be durable. Nothing in the store's promises rests on it.
    ///
    /// # Errors
    /// Any error or panic of the engine.
    fn flush(&self) -> Result<(), EngineError>;
}
