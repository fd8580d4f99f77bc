//! The duplicate request cache: a call that is transmitted again is answered with the reply of its first execution.
//!
//! A client that loses its connection sends its open calls again. Executed twice, a REMOVE that succeeded would answer
//! A client that loses its connection sends its open calls again. Executed twice, a REMOVE that succeeded would answer
//! NFS3ERR_NOENT and a CREATE NFS3ERR_EXIST. A call is recognised by client address (not port: the new connection has
//!
//! Invariants: a call in execution is joined, never executed a second time and never dropped; an execution that ends
//! without a reply (its task failed) leaves no entry; entries, bytes and age are bounded. Calls in execution are
//! bounded by the door's request limit and are not counted here.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::rpc::Credential;

/// What an entry costs beside its reply, bytes.
const ENTRY_OVERHEAD: usize = 160;
/// How much of the arguments is hashed, bytes: all of every procedure but WRITE, and of WRITE the handle, the offset,
/// the length and the beginning of its data (as Linux' server does with its first 256 bytes).
const HASHED_LEN_MAX: usize = 8 << 10;
/// Bytes of a WRITE that are hashed.
const HASHED_WRITE_LEN_MAX: usize = 256;

/// What makes a call known again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CallKey {
    client: IpAddr,
    xid: u32,
    procedure: u32,
    digest: [u8; 16],
}

impl CallKey {
    pub(crate) fn new(
        client: IpAddr,
        xid: u32,
        procedure: u32,
        credential: &Credential,
        args: &[u8],
        write: bool,
    ) -> Self {
        let mut hasher = blake3::Hasher::new();
        if let Credential::Sys { uid, gid, .. } = credential {
            hasher.update(&uid.to_be_bytes());
            hasher.update(&gid.to_be_bytes());
        }
        hasher.update(&args.len().to_be_bytes());
        let limit = if write { HASHED_WRITE_LEN_MAX } else { HASHED_LEN_MAX };
        hasher.update(&args[..args.len().min(limit)]);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { client: client.to_canonical(), xid, procedure, digest }
    }
}

/// What to do with a call.
pub(crate) enum Begin {
    /// Execute it, and tell the guard the reply.
    Execute(Execution),
    /// The call was executed: this is the reply's body.
    Repeat(Bytes),
    /// The call is being executed: wait for the body; `None` means that there was no reply, and the call begins anew.
    Join(Join),
}

/// Waits for an execution by another transmission of the same call.
pub(crate) struct Join(watch::Receiver<Option<Bytes>>);

impl Join {
    pub(crate) async fn reply(mut self) -> Option<Bytes> {
        let body = self.0.wait_for(Option::is_some).await.ok()?;
        body.clone()
    }
}

enum Entry {
    Running(watch::Receiver<Option<Bytes>>),
    Done(Bytes),
}

#[derive(Default)]
struct Table {
    entries: HashMap<CallKey, Entry>,
    /// Finished entries, oldest first.
    done: VecDeque<(Instant, CallKey)>,
    bytes: usize,
}

/// Bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyCacheLimits {
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) age_max: Duration,
}

/// See the module.
pub(crate) struct ReplyCache {
    limits: ReplyCacheLimits,
    table: Mutex<Table>,
}

impl ReplyCache {
    pub(crate) fn new(limits: ReplyCacheLimits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    /// Looks `key` up, and marks it as being executed if it is new.
    pub(crate) fn begin(self: &Arc<Self>, key: CallKey, now: Instant) -> Begin {
        let mut table = self.table.lock();
        table.expire(now, self.limits.age_max);
        match table.entries.get(&key) {
            Some(Entry::Done(body)) => Begin::Repeat(body.clone()),
            Some(Entry::Running(receiver)) => Begin::Join(Join(receiver.clone())),
            None => {
                let (sender, receiver) = watch::channel(None);
                table.entries.insert(key, Entry::Running(receiver));
                Begin::Execute(Execution { cache: Arc::clone(self), key, sender, finished: false })
            }
        }
    }
}

impl Table {
    fn expire(&mut self, now: Instant, age_max: Duration) {
        while let Some((since, _)) = self.done.front()
            && now.saturating_duration_since(*since) > age_max
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.done.pop_front()
            && let Some(Entry::Done(body)) = self.entries.remove(&key)
        {
            self.bytes -= body.len() + ENTRY_OVERHEAD;
        }
    }
}

/// A call in execution. Dropped without [`Self::finish`], it leaves no trace, and those who joined begin anew.
pub(crate) struct Execution {
    cache: Arc<ReplyCache>,
    key: CallKey,
    sender: watch::Sender<Option<Bytes>>,
    finished: bool,
}

impl Execution {
    /// Keeps the reply's body and hands it to those who joined.
    pub(crate) fn finish(mut self, body: Bytes, now: Instant) {
        self.finished = true;
        {
            let limits = self.cache.limits;
            let mut table = self.cache.table.lock();
            table.bytes += body.len() + ENTRY_OVERHEAD;
            table.done.push_back((now, self.key));
            table.entries.insert(self.key, Entry::Done(body.clone()));
            while table.done.len() > limits.entries_max || table.bytes > limits.bytes_max {
                table.drop_oldest();
            }
        }
        self.sender.send_replace(Some(body));
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if !self.finished {
            self.cache.table.lock().entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
