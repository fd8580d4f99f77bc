//! The mover as a step of a workload: reclaims of everything, and writers that meet one at its two delicate moments.

use strata_content::{Choice, Content, ContentError, Host, MoverReport};
use strata_namespace::{Condition, Namespace, ObjectMeta, Op, Result};

use super::rig::{ASIDE, BUCKET, noise};
use super::step::bytes;

/// When a put whose bytes are in the store already, counted by nobody, meets a reclaim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Across {
    /// It found them present before they were condemned, and counts them while the reclaim waits for it.
    Early,
    /// It begins after they were condemned, and counts them when they are gone.
    Fresh,
    /// It is taken in while the reclaim runs, which waits for nobody, and counts them when that has ended.
    Slow,
    /// It comes afterwards. Somebody who began to read them when they were counted reads on across the reclaim.
    Read,
}

/// One in so many puts has something long beside it, of so many bytes: more than travels with a commit.
const LONG_ONE_IN: u64 = 6;
const LONG: usize = 700_000;

/// Calls back after each step and while holders from before are there.
struct Acting<'a> {
    pace: &'a mut dyn FnMut(&MoverReport) -> bool,
    wait: &'a mut dyn FnMut() -> bool,
}

impl Host for Acting<'_> {
    fn pace(&mut self, _bytes: u64, report: &MoverReport) -> bool {
        (self.pace)(report)
    }

    fn wait(&mut self, _holders: usize, _report: &MoverReport) -> bool {
        (self.wait)()
    }
}

/// Ends the segment being written and takes up every one. `pace` may call it off; `wait` is asked while ingests and
/// readers from before are there.
pub(crate) fn reclaim(
    ns: &Namespace,
    pace: &mut dyn FnMut(&MoverReport) -> bool,
    wait: &mut dyn FnMut() -> bool,
) -> Result<MoverReport> {
    let store = ns.store();
    store.ledger().begin_segment().map_err(ContentError::from)?;
    Ok(store.reclaim(Choice::All, &mut Acting { pace, wait })?)
}

/// See [`Across`]. Whatever becomes of the reclaim, the put is made.
pub(crate) fn put_across(ns: &Namespace, op: &Op, key: &str, seed: u64, across: Across) -> Result<()> {
    let take = |bytes: &[u8]| -> Result<Content> {
        let mut ingest = ns.ingest(op, BUCKET)?;
        ingest.push(bytes)?;
        Ok(ingest.finish()?)
    };
    let content = || take(&bytes(seed));
    let put = |bucket: &str, key: &str, content: Content| -> Result<()> {
        let (meta, always) = (ObjectMeta::default(), Condition::default());
        ns.put_object(op, bucket, key.as_bytes(), content, None, meta, &always).map(|_| ())
    };
    // The bytes are stored, and nobody counts them any more (unless the tree has them, too).
    put(ASIDE, "garbage", content()?)?;
    let reader = match across {
        Across::Read => Some(ns.get_object(op, ASIDE, b"garbage")?.1),
        Across::Early | Across::Fresh | Across::Slow => None,
    };
    ns.delete_object(op, ASIDE, b"garbage", &Condition::default())?;
    // So long that its blocks are on their way to the disks before anybody owns it.
    let long = (across == Across::Fresh && seed.is_multiple_of(LONG_ONE_IN)).then(|| noise(seed, LONG));
    if let Some(long) = &long {
        put(ASIDE, "long", take(long)?)?;
        ns.delete_object(op, ASIDE, b"long", &Condition::default())?;
    }
    while ns.store().collect()? > 0 {}
    let mut made_long = None;
    let mut made = None;
    let mut done = None;
    let reclaimed = match across {
        Across::Early => {
            made = Some(content()?);
            reclaim(ns, &mut |_| true, &mut || {
                done = made.take().map(|content| put(BUCKET, key, content));
                true
            })
        }
        Across::Fresh => {
            // Somebody from before makes the reclaim wait at the moment when everything is condemned.
            let mut older = Some(content()?);
            let reclaimed = reclaim(ns, &mut |_| true, &mut || {
                made = content().ok();
                made_long = long.as_deref().and_then(|long| take(long).ok());
                older = None;
                true
            });
            drop(older.take());
            reclaimed
        }
        Across::Slow => {
            let all = bytes(seed);
            let (first, rest) = all.split_at(all.len() / 2);
            let mut slow = ns.ingest(op, BUCKET)?;
            slow.push(first)?;
            let reclaimed = reclaim(ns, &mut |_| true, &mut || false);
            slow.push(rest)?;
            made = Some(slow.finish()?);
            reclaimed
        }
        Across::Read => reclaim(ns, &mut |_| true, &mut || false),
    };
    // A disk may fail it; that it is gone, or another's, is the store's own doing.
    if let Some(reader) = reader {
        match reader.read(0, bytes(seed).len()) {
            Ok(read) => assert!(read == bytes(seed), "a reader met other bytes than it began with"),
            Err(error) => {
                assert!(!matches!(error, ContentError::MissingChunk(_)), "a reader lost what it was reading: {error}")
            }
        }
    }
    let done = match (done, made) {
        (Some(done), _) => done,
        (None, Some(made)) => put(BUCKET, key, made),
        (None, None) => put(BUCKET, key, content()?),
    };
    let done = done.and(reclaimed.map(|_| ()));
    match made_long {
        Some(long) => done.and(put(ASIDE, "long", long)),
        None => done,
    }
}
