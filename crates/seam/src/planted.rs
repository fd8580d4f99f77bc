//! Bugs planted on purpose, so that the tests can be tested: does anything notice when one sync is left out?
//!
//! Each [`Bug`] is one small change at the place where a real one could be made: [`planted`] there asks whether it is to
//! be made now. Without the feature `planted-bugs` the answer is the constant `false` and no trace is left in the
//! program. With it, the harness switches one bug on for its whole process.

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $name:ident,)+) => {
        /// A bug that can be switched on.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[doc = $what])+ $name,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)+];

            /// Its name, as in the source.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Bug::$name => stringify!($name),)+ }
            }

            /// What goes wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Bug::$name => concat!($($what,)+),)+ }
            }
        }
    };
}

bugs! {
    // The ledger: writing
    /// A stripe is written into the operating system's memory only, and called durable
    StripeNotSynced,
    /// Buffered stripes before a durable one are not synced with it
    EarlierStripesNotSynced,
    /// The sync that a waiter asked for is left out
    SyncSkipped,
    /// An append is acknowledged before its stripe is written
    AcknowledgedEarly,
    /// A segment is left behind without syncing it
    RollWithoutSync,
    /// A stripe counts as written with one disk less than the quorum
    QuorumIgnored,
    /// A disk that failed a write goes on being written
    FailedDiskKept,
    /// The other disks are not told that one missed a write
    LostDiskNotTold,
    /// A disk is set aside because the server lacks descriptors
    ExhaustionBlamed,
    /// A block's place is remembered one byte late
    LocationOffByOne,
    // The ledger: superblocks
    /// A new set counts as made as soon as its first disk was told of it
    MadeByItsFirstDisk,
    /// A superblock is written over the slot that holds the newest state
    SuperblockSameSlot,
    /// A superblock is not synced
    SuperblockNotSynced,
    /// A superblock's checksum is not checked
    SuperblockUnchecked,
    /// A disk that missed the last openings counts as current
    StaleDiskTrusted,
    /// A new opening is not told to the disks
    OpeningNotStored,
    /// A stripe that was not taken is written in another segment without a new opening
    CutStripeForgotten,
    /// Disks are told that earlier versions must not read them after the first record that these cannot read
    MarkTooLate,
    // The ledger: recovery
    /// Frames of openings that were overruled are taken for the log
    HistoryIgnored,
    /// The tail of the log is kept without checking its bytes
    TailUnchecked,
    /// The tail of the log is kept but not made whole
    TailNotMended,
    /// Only the damaged frames of the tail are written again, not those that may be in memory alone
    TailPartlyRewritten,
    /// What was found in memory after a killed process is not synced
    TailNotSynced,
    /// The log ends silently at the first stripe that cannot be read
    TruncatedInsteadOfRefused,
    /// A missing disk counts as proof that a stripe was never written
    SilenceTakenForAbsence,
    /// Appends of one stripe are replayed last first
    ReplayOutOfOrder,
    // The ledger: reading and healing
    /// The checksum of a read is not checked
    ReadUnchecked,
    /// Pieces that a stripe is rebuilt from are not checked
    RebuildUnchecked,
    /// A frame's checksum is not checked when a stripe is loaded
    FrameUnchecked,
    /// A heal says that it wrote a frame, and does not
    HealSkipsTheWrite,
    /// A heal passes over damaged frames and fills in missing ones only
    HealMissesDamage,
    /// A frame header's checksum is not checked
    HeaderUnchecked,
    /// A heal says that a disk lacks nothing although it found gaps
    HealClaimsTooMuch,
    /// A pass reads a removed file through what is open of it
    RemovedFileTrusted,
    /// A heal does not ask whether the files that are written are still those of their names
    WrittenFilesNotAsked,
    /// Frames that a disk failed to sync are trusted because they can be read
    DoubtedFramesTrusted,
    // The ledger: disks taken back, segments given back
    /// A disk taken back counts as complete
    ReturnedDiskTrusted,
    /// A disk taken back counts as sound up to now
    ReturnedDiskSoundTooFar,
    /// Files of segments that were given back stay
    FreedFilesKept,
    /// Data may have the room that is kept for removals and the mover
    RoomNotKept,
    /// Data may have the room that was promised to written bytes
    PromiseNotKept,
    /// Removals may have the room that a checkpoint needs
    RemovalsTakeTheLast,
    /// What waited while the quorum was lost is forgotten when it is back
    QueueForgotten,
    // The ledger: several sets
    /// The log goes on on another set without syncing what it wrote on the one before
    SetChangedWithoutSync,
    /// The others are told of a set before it is made
    JoinToldTooEarly,
    /// A set that joins is written, and no disk was told that it is one of the store
    JoinNotTold,
    /// A set that is being emptied goes on being written
    DrainingSetWritten,
    /// A set counts as empty while segments lie on it
    SetTakenForEmpty,
    /// A set that leaves is wiped before the others are told
    WipedBeforeTold,
    /// The sets that stay are not told that one left
    LeaveNotTold,
    /// The oldest list of sets counts, not the newest
    OldListOfSetsCounts,
    // The index
    /// An engine of another store is taken
    ForeignIndexTaken,
    /// The engine claims to be one change further than it is
    IndexClaimsMore,
    /// What the engine has is believed before its span was verified
    SpanNotVerified,
    /// A pair that is kept in memory stays there when the engine's is changed
    HotNotForgotten,
    // Events
    /// An event is left out of its commit
    EventForgotten,
    /// An event is in its commit twice
    EventDoubled,
    /// A reader of events that goes on behind a start is told once more what it has confirmed
    CursorTakenBack,
    /// Segments that a reader of events needs are given back
    CursorNotHeld,
    // Content
    /// A reference is counted only when it is the first
    SecondReferenceNotCounted,
    /// A release counts nothing down
    ReleaseForgotten,
    /// A page's children are let go with every owner, not with the last
    ChildrenReleasedTwice,
    /// The children of a page that comes alive again are not counted
    RevivedPageNotCounted,
    /// A chunk counts as stored before the ledger took it
    ChunkKnownTooEarly,
    /// The cache names blocks by their stripe alone
    CacheKeyTooShort,
    /// A block's place in its stripe is taken for the chunk's
    ChunkOffsetLost,
    /// Pages of unfinished ingests are not let go after a start
    UnfinishedKept,
    /// Content refers to chunks of another dedup domain
    DomainNotChecked,
    // Content: changes beside others
    /// A change is committed although what it read was changed meanwhile
    PremisesUnchecked,
    /// A change that relies on a set does not read the row that stands for it
    SetUnguarded,
    /// A change has an effect in the process while it is computed
    EffectInBody,
    /// A directory is made without the placeholder of its name
    PlaceholderForgotten,
    /// The times of a directory without names are put back over those of its first one
    AbsentTimesUnguarded,
    /// Events of a change that was thrown away are told with the one that is made instead
    EventsOfThrownAwayKept,
    /// A lock is granted without a word in the record that changes in its bucket read
    GrantNotCounted,
    /// Locks that other sessions granted bind nobody here
    LocksOfOthersIgnored,
    /// A lock of a process is set although the row of them was written meanwhile
    HoldUnguarded,
    /// What is removed is erased although another session has it open
    OthersOpenIgnored,
    /// The last name of a file goes without asking again who is there that may have it open
    ComersIgnored,
    /// What was marked for another session is erased by the first that has done with it
    MarksOfOthersIgnored,
    /// Staged bytes are let go while the change that stores them is computed
    StagedFreedInBody,
    /// Paths in events are those that this session learnt once, whatever others rename
    PathsOfOthersKept,
    /// A folder is thrown away, and no row says that its content has still to follow
    FollowingForgotten,
    /// The row of a directory goes although it says that there is something new to follow
    ChangedRowRemoved,
    /// Locks are looked for by the bucket that an inode says, although it lies in another one
    LocksByTheBucketAlone,
    // Content: the mover and checkpoints
    /// The mover forgets a chunk without looking again whether it is counted
    ReferenceNotRechecked,
    /// The mover does not wait for those who may rely on what it forgets
    HoldersNotWaitedFor,
    /// The mover begins a round of any size, without looking whether it can be ended
    RoundLargerThanRoom,
    /// The mover does not ask slow readers what they may read
    ReadersNotAsked,
    /// The mover does not ask streams that are being taken in what they rely on
    StreamsNotAsked,
    /// Chunks about to be forgotten count as present
    CondemnedStillOffered,
    /// Segments are given back before the checkpoint that does without them
    FreedBeforeCheckpoint,
    /// The log behind a checkpoint is given back with what is before it
    LogFreedBehindCheckpoint,
    /// A checkpoint's root is stored before its pieces are durable
    CheckpointNotDurable,
    /// A checkpoint does not say which segments before it are wanted
    KeptSegmentsForgotten,
    /// An index from before the log's start is taken
    IndexBeforeLogTaken,
    // The name space
    /// A rename is two commits
    RenameInTwoCommits,
    /// The condition of a put is checked before its commit, not in it
    ConditionUnchecked,
    /// A sealed extent is put one byte late
    ExtentOffByOne,
    /// A sync of a file forgets what is staged
    FsyncForgetsStaged,
    /// Readers are shown what cannot be written, and wait for it
    StalledShown,
    /// An answer does not wait for what it rests on
    SettleForgotten,
    /// An overwrite does not release the old content
    OverwriteKeepsOld,
    /// A link does not count
    LinkNotCounted,
    /// A truncation keeps the bytes behind the new end
    TruncateKeepsTail,
    /// Files unlinked while open are not removed after a start
    UnlinkedKept,
    /// Numbers are given out beyond what was reserved
    NumbersNotReserved,
    /// A deleted upload keeps its parts
    PartsKept,
}

/// Whether this bug is to be made now.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether this bug is to be made now.
#[cfg(feature = "planted-bugs")]
#[must_use]
#[inline]
pub fn planted(bug: Bug) -> bool {
    switch::is_on(bug)
}

#[cfg(feature = "planted-bugs")]
pub use switch::plant;

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    /// The bug that is on, counted from one; zero for none.
    static ON: AtomicU32 = AtomicU32::new(0);

    pub(super) fn is_on(bug: Bug) -> bool {
        ON.load(Ordering::Relaxed) == bug as u32 + 1
    }

    /// Switches a bug on for the rest of this process, or all of them off.
    pub fn plant(bug: Option<Bug>) {
        ON.store(bug.map_or(0, |bug| bug as u32 + 1), Ordering::Relaxed);
    }
}
