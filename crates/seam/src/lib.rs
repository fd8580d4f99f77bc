//! Layer 0: the vocabulary of the store and the seams through which the outside world comes in.
//!
//! Identifiers are newtypes, so that the compiler refuses a swap. Time, randomness and disks are traits: whatever is
//! built on them runs unchanged over real files and over the simulated twins in [`sim`], which is what lets a seed
//! replay any failure. Nothing here does I/O of its own.

mod aligned;
mod cidr;
mod clock;
mod disk;
mod entropy;
mod id;
mod latency;
mod name;
mod pace;
pub mod planted;
pub mod rehearsal;
mod said;
pub mod sim;
mod stop;
mod work;

pub use aligned::AlignedBuf;
pub use cidr::{Cidr, CidrError};
pub use clock::{Clock, SystemClock, Timestamp};
pub use disk::{Disk, DiskError, DiskErrorKind, DiskFile, DiskSpace, FileInfo, SECTOR_LEN, WriteMode};
pub use entropy::{Entropy, SystemEntropy};
pub use id::{ChunkId, DiskIndex, Epoch, Ino, Lsn, Position, SegmentId, SessionId, SetId};
pub use latency::{BOUNDS_NANOS, Latencies, LatencyCounts, Stopwatch};
pub use name::{FILE_NAME_LEN_MAX, is_file_name};
pub use pace::{Budget, Pace, Share};
pub use said::Said;
pub use stop::Stop;
pub use work::{Crew, Duty, Failure, Round, Worker, WorkerState, WorkerStatus, remaining};
