//! What happens to a store between two servers: its derived index goes, some of its disks lose files or are away.
//!
//! Always within the promise: of each store the same disks are touched, as many as it has parity, so that what one lost
//! and nobody has healed yet is never missing together with something else.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::outside::rng::Rng;
use crate::outside::server::Place;

/// What was done, for the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    IndexRemoved,
    IndexDamaged,
    SegmentsRemoved,
    SegmentDamaged,
    DiskAway,
}

/// Disks that are touched, and those that are away just now.
#[derive(Debug)]
pub(crate) struct Disturber {
    victims: Vec<usize>,
    away: Vec<usize>,
    /// Whether the next server must rebuild the index.
    pub(crate) index_gone: bool,
    /// Those that have been touched at all.
    pub(crate) touched: Vec<usize>,
}

impl Disturber {
    /// For a store on `place`.
    pub(crate) fn new(place: &Place, rng: &mut Rng) -> Self {
        let mut disks: Vec<usize> = (0..place.disks.len()).collect();
        let mut victims = Vec::new();
        while victims.len() < place.parity && !disks.is_empty() {
            victims.push(disks.swap_remove(rng.index(disks.len())));
        }
        Self { victims, away: Vec::new(), index_gone: false, touched: Vec::new() }
    }

    /// Does something now and then. Disks that were away come back.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn disturb(&mut self, place: &Place, rng: &mut Rng) -> io::Result<Vec<Done>> {
        let mut done = Vec::new();
        for disk in std::mem::take(&mut self.away) {
            fs::rename(aside(&place.disks[disk]), &place.disks[disk])?;
        }
        let index = place.data().join("index");
        self.index_gone = false;
        match rng.within(0..40) {
            0 if index.exists() => {
                fs::remove_dir_all(&index)?;
                self.index_gone = true;
                done.push(Done::IndexRemoved);
            }
            1 if damage(&index, rng)? => {
                self.index_gone = true;
                done.push(Done::IndexDamaged);
            }
            2..5 => {
                for disk in self.victims.clone() {
                    if rng.one_in(3) {
                        continue;
                    }
                    let folder = &place.disks[disk];
                    match rng.within(0..3) {
                        0 => {
                            for segment in segments(folder)? {
                                if rng.one_in(2) {
                                    fs::remove_file(segment)?;
                                }
                            }
                            done.push(Done::SegmentsRemoved);
                        }
                        1 if damage_one(&segments(folder)?, rng)? => done.push(Done::SegmentDamaged),
                        _ => {
                            fs::rename(folder, aside(folder))?;
                            self.away.push(disk);
                            done.push(Done::DiskAway);
                        }
                    }
                    self.touched.push(disk);
                }
            }
            _ => {}
        }
        Ok(done)
    }

    /// Disks that are away.
    pub(crate) fn away(&self) -> &[usize] {
        &self.away
    }
}

fn aside(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".away");
    name.into()
}

fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seg-")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Damages a file somewhere below `folder`; false if there is none.
fn damage(folder: &Path, rng: &mut Rng) -> io::Result<bool> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    damage_one(&files, rng)
}

fn damage_one(files: &[PathBuf], rng: &mut Rng) -> io::Result<bool> {
    let Some(path) = rng.choose(files) else { return Ok(false) };
    let len = fs::metadata(path)?.len();
    let file = fs::File::options().write(true).open(path)?;
    let noise = rng.bytes(64);
    file.write_all_at(&noise, rng.within(0..len.max(1)))?;
    Ok(true)
}
