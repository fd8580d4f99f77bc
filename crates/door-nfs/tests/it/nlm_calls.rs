//! The procedures of NLM as calls that return a status or what the tests look at.

use super::client::{Args, Client, Results};

pub(crate) const NLM: (u32, u32) = (100_021, 4);
pub(crate) const NSM: (u32, u32) = (100_024, 1);

pub(crate) const GRANTED: u32 = 0;
pub(crate) const DENIED: u32 = 1;
pub(crate) const NOLOCKS: u32 = 2;
pub(crate) const BLOCKED: u32 = 3;
pub(crate) const GRACE: u32 = 4;
pub(crate) const DEADLCK: u32 = 5;
pub(crate) const ROFS: u32 = 6;
pub(crate) const STALE_FH: u32 = 7;
pub(crate) const FBIG: u32 = 8;
pub(crate) const FAILED: u32 = 9;

/// A lock that a process of a host asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lock {
    pub(crate) host: String,
    pub(crate) file: Vec<u8>,
    pub(crate) process: u32,
    pub(crate) exclusive: bool,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// For writing, by a process of a host.
pub(crate) fn exclusive(host: &str, process: u32, file: &[u8], offset: u64, len: u64) -> Lock {
    Lock { host: host.to_owned(), file: file.to_vec(), process, exclusive: true, offset, len }
}

/// For reading.
pub(crate) fn shared(host: &str, process: u32, file: &[u8], offset: u64, len: u64) -> Lock {
    Lock { exclusive: false, ..exclusive(host, process, file, offset, len) }
}

impl Lock {
    pub(crate) fn put(&self, args: Args) -> Args {
        let owner = format!("{}@{}", self.process, self.host);
        args.opaque(self.host.as_bytes())
            .opaque(&self.file)
            .opaque(owner.as_bytes())
            .u32(self.process)
            .u64(self.offset)
            .u64(self.len)
    }

    /// Reads what [`Self::put`] wrote.
    pub(crate) fn take(args: &mut Results, exclusive: bool) -> Self {
        let host = String::from_utf8(args.opaque().unwrap()).unwrap();
        let file = args.opaque().unwrap();
        args.opaque().unwrap();
        let (process, offset, len) = (args.u32().unwrap(), args.u64().unwrap(), args.u64().unwrap());
        Self { host, file, process, exclusive, offset, len }
    }

    fn lock_args(&self, cookie: &[u8], block: bool, reclaim: bool) -> Args {
        let args = Args::default().opaque(cookie).u32(u32::from(block)).u32(u32::from(self.exclusive));
        self.put(args).u32(u32::from(reclaim)).u32(17)
    }
}

const COOKIE: &[u8] = b"cook";

fn stat(mut results: Results) -> u32 {
    assert_eq!(results.opaque().unwrap(), COOKIE);
    let stat = results.u32().unwrap();
    results.end();
    stat
}

/// The arguments of LOCK.
pub(crate) fn lock_args(lock: &Lock, block: bool) -> Args {
    lock.lock_args(COOKIE, block, false)
}

/// A host tells that it restarted, the so-manieth time.
pub(crate) fn restarted(host: &str, times: u32) -> Args {
    Args::default().opaque(host.as_bytes()).u32(times)
}

impl Client {
    pub(crate) fn lock(&mut self, lock: &Lock) -> u32 {
        stat(self.call(NLM, 2, &lock.lock_args(COOKIE, false, false)).unwrap())
    }

    /// LOCK that waits.
    pub(crate) fn lock_waiting(&mut self, lock: &Lock) -> u32 {
        stat(self.call(NLM, 2, &lock.lock_args(COOKIE, true, false)).unwrap())
    }

    /// LOCK of what was held before the server restarted.
    pub(crate) fn reclaim(&mut self, lock: &Lock) -> u32 {
        stat(self.call(NLM, 2, &lock.lock_args(COOKIE, false, true)).unwrap())
    }

    pub(crate) fn unlock(&mut self, lock: &Lock) -> u32 {
        stat(self.call(NLM, 4, &lock.put(Args::default().opaque(COOKIE))).unwrap())
    }

    pub(crate) fn cancel(&mut self, lock: &Lock) -> u32 {
        let args = Args::default().opaque(COOKIE).u32(1).u32(u32::from(lock.exclusive));
        stat(self.call(NLM, 3, &lock.put(args)).unwrap())
    }

    /// TEST: its status, and what is in the way: for writing or not, the process, the bytes.
    pub(crate) fn test(&mut self, lock: &Lock) -> Result<u32, (bool, u32, u64, u64)> {
        let args = Args::default().opaque(COOKIE).u32(u32::from(lock.exclusive));
        let mut results = self.call(NLM, 1, &lock.put(args)).unwrap();
        assert_eq!(results.opaque().unwrap(), COOKIE);
        let stat = results.u32().unwrap();
        if stat != DENIED {
            results.end();
            return Ok(stat);
        }
        let (exclusive, process) = (results.bool().unwrap(), results.u32().unwrap());
        results.opaque().unwrap();
        let bytes = (results.u64().unwrap(), results.u64().unwrap());
        results.end();
        Err((exclusive, process, bytes.0, bytes.1))
    }

    fn share_call(&mut self, procedure: u32, host: &str, owner: &str, file: &[u8], denies: u32, access: u32) -> u32 {
        let args = Args::default().opaque(COOKIE).opaque(host.as_bytes()).opaque(file).opaque(owner.as_bytes());
        let mut results = self.call(NLM, procedure, &args.u32(denies).u32(access).u32(0)).unwrap();
        assert_eq!(results.opaque().unwrap(), COOKIE);
        let stat = results.u32().unwrap();
        results.u32().unwrap();
        results.end();
        stat
    }

    /// SHARE: what others may not do, and what it is opened for; 1 is reading, 2 is writing.
    pub(crate) fn share(&mut self, host: &str, owner: &str, file: &[u8], denies: u32, access: u32) -> u32 {
        self.share_call(20, host, owner, file, denies, access)
    }

    pub(crate) fn unshare(&mut self, host: &str, owner: &str, file: &[u8]) -> u32 {
        self.share_call(21, host, owner, file, 0, 0)
    }

    /// SM_NOTIFY.
    pub(crate) fn notify(&mut self, host: &str, times: u32) {
        self.call(NSM, 6, &restarted(host, times)).unwrap().end();
    }

    /// FREE_ALL.
    pub(crate) fn free_all(&mut self, host: &str) {
        self.call(NLM, 23, &restarted(host, 0)).unwrap().end();
    }
}

/// Within ten seconds.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("it does not come to pass");
}
