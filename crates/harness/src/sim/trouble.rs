//! What befalls the disks of a simulated set: every fault of the catalogue, on at most `parity` disks at a time.

use strata_seam::DiskErrorKind;
use strata_seam::sim::{DiskImage, Fault, FaultKind, IoOp, SimRng, SimWorld, When};

use super::rig::{Layout, Rig};

/// The disks in trouble, and what has to be undone before a heal.
#[derive(Debug)]
pub(crate) struct Trouble {
    layout: Layout,
    rng: SimRng,
    /// Disks that may be struck until the next heal, at most parity.
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
    pub(crate) fn new(layout: Layout, seed: u64) -> Self {
        let mut trouble = Self {
            layout,
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
        let (data, parity) = self.layout;
        let count = 1 + self.rng.below(u64::from(parity)) as usize;
        self.bad.clear();
        while self.bad.len() < count {
            let name = Rig::disk_name(self.rng.below(u64::from(data + parity)) as usize);
            if !self.bad.contains(&name) {
                self.bad.push(name);
            }
        }
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
        let kind = rng.below(18);
        self.silent |= matches!(kind, 6..=8 | 14);
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
        // What such a disk lacks can be read until it loses its memory: later than this it would be a fault of the next
        // episode, on top of others.
        self.lied.drain(..).for_each(|disk| world.vanish(&disk));
        let (data, parity) = self.layout;
        for disk in (0..usize::from(data + parity)).map(Rig::disk_name) {
            world.set_read_only(&disk, false);
            world.set_capacity(&disk, 1 << 40);
            world.bring_back(&disk);
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

    /// The set is whole: the next episode strikes others.
    pub(crate) fn healed(&mut self) {
        (self.struck, self.silent) = (false, false);
        self.image = None;
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
