//! The procedures of NFS as calls that return a status or what the tests look at. A reply that is shorter or longer
//! than the protocol says fails the test.

use super::client::{Args, Attr, Client, OK, Results, Set, Wcc};

pub(crate) type Handle = Vec<u8>;
/// What came of a procedure, or its status.
pub(crate) type Outcome<T> = Result<T, u32>;

pub(crate) const UNSTABLE: u32 = 0;
pub(crate) const FILE_SYNC: u32 = 2;

/// A listed entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) fileid: u64,
    pub(crate) cookie: u64,
    /// READDIRPLUS only.
    pub(crate) attr: Option<Attr>,
    pub(crate) handle: Option<Handle>,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) entries: Vec<Entry>,
    pub(crate) verifier: [u8; 8],
    pub(crate) end: bool,
}

/// Something new: handle, attributes, and the directory before and after.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) handle: Handle,
    pub(crate) attr: Attr,
    pub(crate) directory: Wcc,
}

/// Data that was written: how much, how stable, the verifier, and the file before and after.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) count: u32,
    pub(crate) committed: u32,
    pub(crate) verifier: Vec<u8>,
    pub(crate) file: Wcc,
}

pub(crate) fn dir_op(directory: &[u8], name: &str) -> Args {
    Args::default().opaque(directory).opaque(name.as_bytes())
}

impl Client {
    fn run<T>(
        &mut self,
        procedure: u32,
        args: &Args,
        read: impl FnOnce(&mut Results) -> std::io::Result<T>,
    ) -> Outcome<T> {
        let (status, mut results) = self.nfs(procedure, args).unwrap();
        if status != OK {
            return Err(status);
        }
        let value = read(&mut results).unwrap();
        results.end();
        Ok(value)
    }

    pub(crate) fn getattr(&mut self, handle: &[u8]) -> Outcome<Attr> {
        self.run(1, &Args::default().opaque(handle), Results::attr)
    }

    pub(crate) fn setattr(&mut self, handle: &[u8], set: &Set, guard: Option<(u32, u32)>) -> Outcome<Wcc> {
        let args = Args::default().opaque(handle).set(set);
        let args = match guard {
            Some((seconds, nanos)) => args.u32(1).u32(seconds).u32(nanos),
            None => args.u32(0),
        };
        self.run(2, &args, Results::wcc)
    }

    pub(crate) fn lookup(&mut self, directory: &[u8], name: &str) -> Outcome<(Handle, Attr)> {
        self.run(3, &dir_op(directory, name), |results| {
            let found = (results.opaque()?, results.post_op()?.unwrap());
            results.post_op()?;
            Ok(found)
        })
    }

    pub(crate) fn access(&mut self, handle: &[u8], asked: u32) -> Outcome<u32> {
        self.run(4, &Args::default().opaque(handle).u32(asked), |results| {
            results.post_op()?;
            results.u32()
        })
    }

    pub(crate) fn readlink(&mut self, handle: &[u8]) -> Outcome<Vec<u8>> {
        self.run(5, &Args::default().opaque(handle), |results| {
            results.post_op()?;
            results.opaque()
        })
    }

    /// The data, and whether the file ends behind it.
    pub(crate) fn read(&mut self, handle: &[u8], offset: u64, count: u32) -> Outcome<(Vec<u8>, bool)> {
        self.run(6, &Args::default().opaque(handle).u64(offset).u32(count), |results| {
            results.post_op()?;
            let count = results.u32()?;
            let end = results.bool()?;
            let data = results.opaque()?;
            assert_eq!(data.len(), count as usize);
            Ok((data, end))
        })
    }

    pub(crate) fn write(&mut self, handle: &[u8], offset: u64, stable: u32, data: &[u8]) -> Outcome<Written> {
        let len = u32::try_from(data.len()).unwrap();
        let args = Args::default().opaque(handle).u64(offset).u32(len).u32(stable).opaque(data);
        self.run(7, &args, |results| {
            Ok(Written {
                file: results.wcc()?,
                count: results.u32()?,
                committed: results.u32()?,
                verifier: results.fixed(8)?,
            })
        })
    }

    fn make(&mut self, procedure: u32, args: &Args) -> Outcome<Made> {
        self.run(procedure, args, |results| {
            Ok(Made {
                handle: results.post_op_handle()?.unwrap(),
                attr: results.post_op()?.unwrap(),
                directory: results.wcc()?,
            })
        })
    }

    /// CREATE: 0 is unchecked, 1 guarded.
    pub(crate) fn create(&mut self, directory: &[u8], name: &str, how: u32, set: &Set) -> Outcome<Made> {
        self.make(8, &dir_op(directory, name).u32(how).set(set))
    }

    pub(crate) fn create_exclusive(&mut self, directory: &[u8], name: &str, verifier: [u8; 8]) -> Outcome<Made> {
        self.make(8, &dir_op(directory, name).u32(2).fixed(&verifier))
    }

    /// A new file with mode 644.
    pub(crate) fn file(&mut self, directory: &[u8], name: &str) -> Handle {
        self.create(directory, name, 1, &Set::mode(0o644)).unwrap().handle
    }

    pub(crate) fn mkdir(&mut self, directory: &[u8], name: &str, set: &Set) -> Outcome<Made> {
        self.make(9, &dir_op(directory, name).set(set))
    }

    pub(crate) fn symlink(&mut self, directory: &[u8], name: &str, target: &[u8]) -> Outcome<Made> {
        self.make(10, &dir_op(directory, name).set(&Set::default()).opaque(target))
    }

    /// MKNOD of a device (3 block, 4 character) or of a socket (6) or FIFO (7).
    pub(crate) fn mknod(
        &mut self,
        directory: &[u8],
        name: &str,
        kind: u32,
        device: Option<(u32, u32)>,
    ) -> Outcome<Made> {
        let mut args = dir_op(directory, name).u32(kind).set(&Set::mode(0o600));
        if let Some((major, minor)) = device {
            args = args.u32(major).u32(minor);
        }
        self.make(11, &args)
    }

    pub(crate) fn remove(&mut self, directory: &[u8], name: &str) -> Outcome<Wcc> {
        self.run(12, &dir_op(directory, name), Results::wcc)
    }

    pub(crate) fn rmdir(&mut self, directory: &[u8], name: &str) -> Outcome<Wcc> {
        self.run(13, &dir_op(directory, name), Results::wcc)
    }

    pub(crate) fn rename(&mut self, from: (&[u8], &str), to: (&[u8], &str)) -> Outcome<(Wcc, Wcc)> {
        let args = dir_op(from.0, from.1).opaque(to.0).opaque(to.1.as_bytes());
        self.run(14, &args, |results| Ok((results.wcc()?, results.wcc()?)))
    }

    pub(crate) fn link(&mut self, handle: &[u8], directory: &[u8], name: &str) -> Outcome<(Option<Attr>, Wcc)> {
        let args = Args::default().opaque(handle).opaque(directory).opaque(name.as_bytes());
        self.run(15, &args, |results| Ok((results.post_op()?, results.wcc()?)))
    }

    pub(crate) fn readdir(&mut self, directory: &[u8], cookie: u64, verifier: [u8; 8], count: u32) -> Outcome<Listed> {
        let args = Args::default().opaque(directory).u64(cookie).fixed(&verifier).u32(count);
        self.run(16, &args, |results| listed(results, false))
    }

    pub(crate) fn readdirplus(
        &mut self,
        directory: &[u8],
        cookie: u64,
        verifier: [u8; 8],
        count: u32,
    ) -> Outcome<Listed> {
        let args = Args::default().opaque(directory).u64(cookie).fixed(&verifier).u32(count).u32(count);
        self.run(17, &args, |results| listed(results, true))
    }

    /// FSSTAT, FSINFO or PATHCONF, by number: what is behind the attributes, in words.
    pub(crate) fn about(&mut self, procedure: u32, handle: &[u8]) -> Outcome<Vec<u32>> {
        self.run(procedure, &Args::default().opaque(handle), |results| {
            results.post_op()?.unwrap();
            Ok(std::iter::from_fn(|| results.u32().ok()).collect())
        })
    }

    /// COMMIT of everything: the verifier.
    pub(crate) fn commit(&mut self, handle: &[u8]) -> Outcome<(Vec<u8>, Wcc)> {
        self.run(21, &Args::default().opaque(handle).u64(0).u32(0), |results| {
            let file = results.wcc()?;
            Ok((results.fixed(8)?, file))
        })
    }
}

fn listed(results: &mut Results, plus: bool) -> std::io::Result<Listed> {
    results.post_op()?;
    let verifier = results.fixed(8)?.try_into().unwrap();
    let mut entries = Vec::new();
    while results.bool()? {
        let mut entry = Entry {
            fileid: results.u64()?,
            name: String::from_utf8(results.opaque()?).unwrap(),
            cookie: results.u64()?,
            attr: None,
            handle: None,
        };
        if plus {
            entry.attr = results.post_op()?;
            entry.handle = results.post_op_handle()?;
        }
        entries.push(entry);
    }
    Ok(Listed { entries, verifier, end: results.bool()? })
}
