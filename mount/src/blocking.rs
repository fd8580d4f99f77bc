//! Where calls that may wait for a disk run.
//!
//! A request is cheapest on the thread that read it, so even an fsync runs there, as long as another thread stays free
//! to serve the rest. Only the call that would take the last one moves to this small pool. The queue before the pool is
//! bounded by [`QUEUE_MAX`]; when it is full the call runs where it is, which is the back-pressure.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// Threads of the pool: how many files may be made durable beside those on the request threads. They mostly wait in the
/// same group commit.
const THREADS: usize = 4;
/// Most calls that wait for a thread of the pool.
const QUEUE_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The pool and the count of request threads that wait.
pub(crate) struct Pool {
    /// Request threads that may wait at the same time: all but one.
    inline_max: usize,
    inline: AtomicUsize,
    queue: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// A pool beside `request_threads` threads that answer requests.
    pub(crate) fn start(request_threads: usize) -> io::Result<Self> {
        let (send, receive) = sync_channel::<Job>(QUEUE_MAX);
        let receive = Arc::new(Mutex::new(receive));
        let threads = (0..THREADS)
            .map(|n| {
                let receive = Arc::clone(&receive);
                std::thread::Builder::new().name(format!("strata-fuse-sync-{n}")).spawn(move || work(&receive))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            inline_max: request_threads.saturating_sub(1),
            inline: AtomicUsize::new(0),
            queue: Mutex::new(Some(send)),
            threads: Mutex::new(threads),
        })
    }

    /// Runs `job` here if a request thread stays free, else on the pool.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if self.inline.fetch_add(1, Ordering::AcqRel) < self.inline_max {
            job();
            self.inline.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        self.inline.fetch_sub(1, Ordering::AcqRel);
        let refused = match &*self.queue.lock() {
            Some(queue) => match queue.try_send(Box::new(job)) {
                Ok(()) => None,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => Some(job),
            },
            None => Some(Box::new(job) as Job),
        };
        if let Some(job) = refused {
            job();
        }
    }

    /// Waits for everything queued and ends the threads.
    pub(crate) fn finish(&self) {
        drop(self.queue.lock().take());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A job that panicked has been reported by the panic itself; its reply was sent as an error.
            let _ = thread.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // The guard is dropped before the job runs.
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_call_runs_on_its_own_thread_while_another_request_thread_is_free() {
        let pool = Pool::start(2).expect("threads");
        let (send, receive) = channel();
        pool.run(move || send.send(std::thread::current().id()).expect("receiver lives"));
        assert_eq!(receive.recv().expect("ran"), std::thread::current().id());
        pool.finish();
    }

    #[test]
    fn the_call_that_would_take_the_last_request_thread_moves_to_the_pool() {
        let pool = Arc::new(Pool::start(2).expect("threads"));
        let (send, receive) = channel();
        let inner = Arc::clone(&pool);
        pool.run(move || inner.run(move || send.send(std::thread::current().id()).expect("receiver lives")));
        assert_ne!(receive.recv().expect("ran"), std::thread::current().id());
        pool.finish();
    }

    #[test]
    fn what_was_queued_is_done_before_the_pool_ends() {
        let pool = Pool::start(1).expect("threads");
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let done = Arc::clone(&done);
            pool.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        pool.finish();
        assert_eq!(done.load(Ordering::Relaxed), 200);
        pool.run({
            let done = Arc::clone(&done);
            move || {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(done.load(Ordering::Relaxed), 201, "after the end calls run where they are");
    }
}
