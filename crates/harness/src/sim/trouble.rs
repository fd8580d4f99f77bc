//! What befalls the disks of a simulated store: every fault of the catalogue, on at most `parity` disks of each set at a time.

use strata_seam::DiskErrorKind;
use strata_seam::sim::{DiskImage, Fault, FaultKind, IoOp, SimRng, SimWorld, When};

/// Bytes of a disk that is not full.
pub(crate) const CAPACITY: u64 = 1 << 40;

/// A set whose disks may be struck: how many of them until the next heal, and all of them.
pub(crate) type Struck = (u8, Vec<String>);

/// The disks in trouble, and what has to be undone before a heal.
#[derive(Debug)]
pub(crate) struct Trouble {
    sets: Vec<Struck>,
    rng: SimRng,
    /// Disks that may be struck until the next heal, at most parity of each set.
    bad: Vec<String>,
    struck: bool,
    /// Whether something was lost or changed without anybody being told.
    silent: bool,
    reopen: bool,
    /// Taken earlier, to come back with.
    image: Option<(String, DiskImage)>,
    gone: Vec<String>,
    /// Disks that said to have synced and had not.
    lied: Vec<String>,
}

impl Trouble {
    /// No trouble yet.
    pub(crate) fn new(sets: Vec<Struck>, seed: u64) -> Self {
        let mut trouble = Self {
            sets,
            rng: SimRng::new(seed),
            bad: Vec::new(),
            struck: false,
            silent: false,
            reopen: false,
            image: None,
            gone: Vec::new(),
            lied: Vec::new(),
        };
        trouble.draw();
        trouble
    }

    /// Draws the disks of the next episode.
    fn draw(&mut self) {
        self.bad.clear();
        for nth in 0..self.sets.len() {
            self.draw_of(nth);
        }
    }

    fn draw_of(&mut self, nth: usize) {
        let (parity, disks) = &self.sets[nth];
        let count = self.bad.len() + 1 + self.rng.below(u64::from(*parity)) as usize;
        while self.bad.len() < count {
            let name = &disks[self.rng.below(disks.len() as u64) as usize];
            if !self.bad.contains(name) {
                self.bad.push(name.clone());
            }
        }
    }

    /// A set is to join the store: its disks fail like the others.
    pub(crate) fn joins(&mut self, set: Struck) {
        if !self.sets.contains(&set) {
            self.sets.push(set);
            self.draw_of(self.sets.len() - 1);
        }
    }

    /// These disks are none of the store any more.
    pub(crate) fn leave(&mut self, disks: &[String]) {
        self.sets.retain(|(_, own)| !own.iter().any(|disk| disks.contains(disk)));
        for names in [&mut self.bad, &mut self.gone, &mut self.lied] {
            names.retain(|disk| !disks.contains(disk));
        }
    }

    /// Whether the disk may be struck.
    pub(crate) fn may_strike(&self, disk: &str) -> bool {
        self.bad.iter().any(|bad| bad == disk)
    }

    /// Whether anything has happened since the last heal.
    pub(crate) fn is_on(&self) -> bool {
        self.struck
    }

    /// Whether some of that could not be known of before every byte is read.
    pub(crate) fn was_silent(&self) -> bool {
        self.silent
    }

    /// Whether the last blow shows only after a restart.
    pub(crate) fn needs_reopening(&self) -> bool {
        self.reopen
    }

    /// One blow at one of the disks; what it was.
    pub(crate) fn strike(&mut self, world: &SimWorld, rng: &mut SimRng) -> String {
        self.struck = true;
        let disk = self.bad[rng.below(self.bad.len() as u64) as usize].clone();
        let fault = |kind: FaultKind| Fault::new(kind).on(&disk);
        let times = When::Next(1 + rng.below(6));
        let kind = rng.below(19);
        self.silent |= matches!(kind, 6..=8 | 14 | 17);
        let what = match kind {
            0 => planned(world, fault(FaultKind::Fail(DiskErrorKind::Medium)).when(times)),
            1 => planned(world, fault(FaultKind::Fail(DiskErrorKind::Medium)).of(IoOp::Read)),
            2 => planned(world, fault(FaultKind::Fail(DiskErrorKind::Medium)).of(IoOp::Write)),
            3 => planned(world, fault(FaultKind::FailedSyncReverts).when(times)),
            4 => planned(world, fault(FaultKind::Fail(DiskErrorKind::Medium)).of(IoOp::Sync).when(times)),
            5 => planned(world, fault(FaultKind::ShortWrite).when(times)),
            6 => planned(world, fault(FaultKind::LostWrite).when(times)),
            7 => {
                let offset = rng.below(200) * 4096;
                planned(world, fault(FaultKind::Misdirected { file: None, offset }).when(times))
            }
            8 => {
                self.lied.push(disk.clone());
                planned(world, fault(FaultKind::Lie).when(times))
            }
            9 => planned(world, fault(FaultKind::StaleRead).when(times)),
            10 => planned(world, fault(FaultKind::DamagedRead)),
            11 => planned(world, fault(FaultKind::Slow(30_000_000_000)).when(times)),
            12 => {
                world.set_read_only(&disk, true);
                "read-only".to_owned()
            }
            13 => {
                world.vanish(&disk);
                self.gone.push(disk.clone());
                "vanished".to_owned()
            }
            14 => {
                let rotten = 1 + rng.below(40);
                (0..rotten).for_each(|_| rot(world, &disk, rng));
                format!("{rotten} spots of rot")
            }
            15 => {
                self.image = Some((disk.clone(), world.disk_image(&disk)));
                "its image taken".to_owned()
            }
            16 => match self.image.take() {
                Some((old, image)) if self.bad.contains(&old) => {
                    world.bring_back_with(&old, &image);
                    self.gone.retain(|gone| *gone != old);
                    self.reopen = true;
                    format!("{old} back with old content")
                }
                _ => "nothing".to_owned(),
            },
            17 => {
                let files = world.files(&disk).into_iter().map(|file| file.name);
                let segments: Vec<String> = files.filter(|name| name.starts_with("seg-")).collect();
                let concerned = 1 + rng.below(1 + segments.len() as u64) as usize;
                let exchanged = rng.one_in(2);
                for _ in 0..concerned.min(segments.len()) {
                    let mut any = || &segments[rng.below(segments.len() as u64) as usize];
                    let (one, other) = (any(), any());
                    if exchanged {
                        world.exchange_files(&disk, one, other);
                    } else {
                        world.remove_file(&disk, one);
                    }
                }
                format!("segment files {}", if exchanged { "exchanged" } else { "removed" })
            }
            _ => {
                let files = world.files(&disk);
                let used: u64 = files.iter().map(|file| file.len).sum();
                world.set_capacity(&disk, used + rng.below(2 << 20));
                "nearly full".to_owned()
            }
        };
        format!("{disk}: {what}")
    }

    /// A process has ended: what waits for that is done.
    pub(crate) fn reopened(&mut self, world: &SimWorld) {
        self.reopen = false;
        // A pulled disk may be plugged in again at any start.
        if self.rng.one_in(2) {
            self.gone.drain(..).for_each(|disk| world.bring_back(&disk));
        }
    }

    /// The operator mends every disk, or puts a blank one in the place of one: these. Under a running store (`out`: the
    /// disks it has set aside) only in the place of one that it has no use for.
    pub(crate) fn mend(&mut self, world: &SimWorld, rng: &mut SimRng, out: Option<&[String]>) -> Vec<String> {
        world.clear_faults();
        // Files that a running store has open on a disk that was away are dead, and it notices when it uses them.
        self.silent |= out.is_some_and(|out| self.gone.iter().any(|disk| !out.contains(disk)));
        // What such a disk lacks can be read until it loses its memory: later than this it would be a fault of the next
        // episode, on top of others.
        self.lied.drain(..).for_each(|disk| world.vanish(&disk));
        for disk in self.sets.iter().flat_map(|(_, disks)| disks) {
            world.set_read_only(disk, false);
            world.set_capacity(disk, CAPACITY);
            world.bring_back(disk);
        }
        self.gone.clear();
        let mut blank = Vec::new();
        for disk in &self.bad {
            if self.struck && rng.one_in(4) && out.is_none_or(|out| out.contains(disk)) {
                world.bring_back_with(disk, &DiskImage::default());
                blank.push(disk.clone());
            }
        }
        blank
    }

    /// These sets are whole: the next episode strikes others of their disks.
    pub(crate) fn healed(&mut self, sets: Vec<Struck>) {
        (self.struck, self.silent) = (false, false);
        self.image = None;
        self.sets = sets;
        self.draw();
    }
}

fn planned(world: &SimWorld, fault: Fault) -> String {
    let what = format!("{fault:?}");
    world.set_fault(fault);
    what
}

/// One spot of some file of the disk goes bad: a bit, or a sector of noise.
fn rot(world: &SimWorld, disk: &str, rng: &mut SimRng) {
    let files = world.files(disk);
    let Some(file) = files.get(rng.below(files.len() as u64) as usize).filter(|file| file.len > 0) else { return };
    // Most of a segment is empty; what is written lies in front.
    let reach = if rng.one_in(3) { file.len } else { file.len.min(200 << 10) };
    let offset = rng.below(reach);
    if rng.one_in(2) {
        world.flip_bit(disk, &file.name, offset, rng.below(8) as u8);
    } else {
        let mut sector = [0; 512];
        rng.fill(&mut sector);
        world.poke(disk, &file.name, offset / 512 * 512, &sector);
    }
}
