//! What every [`Disk`] must do, whichever medium it stands on: one suite for the simulated and the real disk.
//!
//! Only behaviour in good weather is here, since a real disk cannot be told to fail. Each check starts on a disk
//! without files and removes what it made.

use crate::{AlignedBuf, Disk, DiskError, DiskErrorKind, DiskFile, SECTOR_LEN, WriteMode};

const SECTOR: u64 = SECTOR_LEN as u64;

/// Runs every check. The disk must hold no file, and have room for 16 MiB.
///
/// # Panics
/// With the sentence that does not hold.
pub fn check(disk: &dyn Disk) {
    let checks: [(&str, Check); 15] = [
        ("a new disk lists nothing and has room", starts_empty),
        ("a created file reads as zeros, zeroed or only reserved", created_files_read_zero),
        ("creating a file again replaces it by zeros of the new length", creating_again_replaces),
        ("files are listed in order of name with their lengths", lists_in_order),
        ("bytes written at any offset in either mode are read back", reads_what_was_written),
        ("writes of either mode to one range are seen in the order of the calls", modes_do_not_overtake),
        ("a read past the end is a short read, also far past it", short_reads),
        ("a write past the end is refused and changes nothing", writes_past_the_end),
        ("empty reads and writes succeed up to the end", empty_ranges),
        ("two handles of one file see the same bytes", handles_share_content),
        ("replace swaps the whole content, creating the file where there is none", replaces_whole),
        ("a removed file is gone, and removing it again succeeds", removes),
        ("an open file outlives its name", open_files_outlive_names),
        ("opening what does not exist is not found", opening_nothing),
        ("names that are no plain file names are refused", refuses_names),
    ];
    for (sentence, holds) in checks {
        if let Err(error) = holds(disk) {
            panic!("\"{sentence}\" fails on {}: {error} {:?}", disk.label(), error.source);
        }
        let left = disk.list().unwrap_or_else(|error| panic!("list after \"{sentence}\": {error}"));
        assert_eq!(left, [], "\"{sentence}\" left files behind");
    }
}

type Check = fn(&dyn Disk) -> Result<(), DiskError>;

fn kind_of<T>(result: Result<T, DiskError>) -> Option<DiskErrorKind> {
    result.err().map(|error| error.kind)
}

fn content(file: &dyn DiskFile) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0xEE; usize::try_from(file.len()).unwrap_or(usize::MAX)];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn starts_empty(disk: &dyn Disk) -> Result<(), DiskError> {
    let space = disk.space()?;
    assert!(space.free >= 16 << 20 && space.total >= space.free);
    Ok(())
}

fn created_files_read_zero(disk: &dyn Disk) -> Result<(), DiskError> {
    for zeroed in [false, true] {
        for len in [0, 1, SECTOR, (1 << 20) + 5, 3 << 20] {
            let file = disk.create("segment", len, zeroed)?;
            assert_eq!((file.len(), file.is_empty()), (len, len == 0));
            let same = disk.open("segment")?;
            assert_eq!(same.len(), len);
            assert!(content(&*same)?.iter().all(|byte| *byte == 0));
        }
    }
    disk.remove("segment")
}

fn creating_again_replaces(disk: &dyn Disk) -> Result<(), DiskError> {
    disk.create("segment", 3 * SECTOR, true)?.write_at(0, &[1; 3 * SECTOR_LEN], WriteMode::Durable)?;
    let file = disk.create("segment", 2 * SECTOR, true)?;
    assert_eq!(content(&*file)?, [0; 2 * SECTOR_LEN]);
    disk.remove("segment")
}

fn lists_in_order(disk: &dyn Disk) -> Result<(), DiskError> {
    for (name, len) in [("seg-10", 10), ("seg-2", 2), ("a.b_c", 1)] {
        disk.create(name, len, false)?;
    }
    let listed: Vec<_> = disk.list()?.into_iter().map(|file| (file.name, file.len)).collect();
    assert_eq!(listed, [("a.b_c".to_owned(), 1), ("seg-10".to_owned(), 10), ("seg-2".to_owned(), 2)]);
    ["seg-10", "seg-2", "a.b_c"].into_iter().try_for_each(|name| disk.remove(name))
}

fn reads_what_was_written(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create("segment", 1 << 20, true)?;
    let mut model = vec![0; 1 << 20];
    let mut put = |offset: u64, data: &[u8], mode| {
        model[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        file.write_at(offset, data, mode)
    };
    let mut frame = AlignedBuf::zeroed(3 * SECTOR_LEN);
    frame.fill(1);
    put(5 * SECTOR, &frame, WriteMode::Durable)?; // all aligned
    put(9 * SECTOR, &frame[1..=SECTOR_LEN], WriteMode::Durable)?; // the address is not
    put(12 * SECTOR + 7, &[2; 5000], WriteMode::Durable)?; // nothing is
    put(100_001, &[3; 70_000], WriteMode::Buffered)?;
    put((1 << 20) - 1, &[4], WriteMode::Buffered)?;
    assert!(content(&*file)? == model);
    file.sync()?;
    assert!(content(&*file)? == model);
    assert!(content(&*disk.open("segment")?)? == model);
    disk.remove("segment")
}

fn modes_do_not_overtake(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create("segment", 4 * SECTOR, true)?;
    let mut frame = AlignedBuf::zeroed(2 * SECTOR_LEN);
    for round in 1..20_u8 {
        file.write_at(0, &[round; 3 * SECTOR_LEN], WriteMode::Buffered)?;
        frame.fill(100 + round);
        file.write_at(SECTOR, &frame, WriteMode::Durable)?;
        let bytes = content(&*file)?;
        assert_eq!(bytes[..SECTOR_LEN], [round; SECTOR_LEN]);
        assert_eq!(bytes[SECTOR_LEN..3 * SECTOR_LEN], *frame);
    }
    file.sync()?;
    disk.remove("segment")
}

fn short_reads(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create("segment", 100, true)?;
    for (offset, len) in [(0, 101), (99, 2), (100, 1), (1 << 40, 1), (u64::MAX, 1)] {
        assert_eq!(kind_of(file.read_at(offset, &mut vec![0; len])), Some(DiskErrorKind::ShortRead));
    }
    file.read_at(99, &mut [0])?;
    disk.remove("segment")
}

fn writes_past_the_end(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create("segment", SECTOR, true)?;
    for mode in [WriteMode::Buffered, WriteMode::Durable] {
        for offset in [1, SECTOR, 1 << 40, u64::MAX] {
            assert_eq!(kind_of(file.write_at(offset, &[1; SECTOR_LEN], mode)), Some(DiskErrorKind::ShortRead));
        }
    }
    assert_eq!(content(&*disk.open("segment")?)?, [0; SECTOR_LEN]);
    disk.remove("segment")
}

fn empty_ranges(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create("segment", 10, false)?;
    for offset in [0, 10] {
        file.read_at(offset, &mut [])?;
        file.write_at(offset, &[], WriteMode::Durable)?;
        file.write_at(offset, &[], WriteMode::Buffered)?;
    }
    file.sync()?;
    disk.remove("segment")
}

fn handles_share_content(disk: &dyn Disk) -> Result<(), DiskError> {
    let one = disk.create("segment", 2 * SECTOR, true)?;
    let two = disk.open("segment")?;
    one.write_at(0, &[1; SECTOR_LEN], WriteMode::Buffered)?;
    two.write_at(SECTOR, &[2; SECTOR_LEN], WriteMode::Durable)?;
    two.sync()?;
    assert_eq!(content(&*one)?, content(&*two)?);
    assert_eq!(content(&*one)?, [[1; SECTOR_LEN], [2; SECTOR_LEN]].concat());
    disk.remove("segment")
}

fn replaces_whole(disk: &dyn Disk) -> Result<(), DiskError> {
    for text in [&b"a first state"[..], b"longer than the first state", b"x", b""] {
        disk.replace("state", text)?;
        assert_eq!(content(&*disk.open("state")?)?, text);
        assert_eq!(disk.list()?.len(), 1);
    }
    disk.remove("state")
}

fn removes(disk: &dyn Disk) -> Result<(), DiskError> {
    disk.create("segment", SECTOR, false)?;
    for _ in 0..2 {
        disk.remove("segment")?;
        assert_eq!(kind_of(disk.open("segment")), Some(DiskErrorKind::NotFound));
    }
    Ok(())
}

fn open_files_outlive_names(disk: &dyn Disk) -> Result<(), DiskError> {
    disk.replace("state", b"old")?;
    let old = disk.open("state")?;
    disk.replace("state", b"new!")?;
    assert_eq!((content(&*old)?, content(&*disk.open("state")?)?), (b"old".to_vec(), b"new!".to_vec()));
    disk.remove("state")?;
    old.write_at(0, b"O", WriteMode::Buffered)?;
    assert_eq!(content(&*old)?, b"Old");
    Ok(())
}

fn opening_nothing(disk: &dyn Disk) -> Result<(), DiskError> {
    assert_eq!(kind_of(disk.open("nothing")), Some(DiskErrorKind::NotFound));
    Ok(())
}

fn refuses_names(disk: &dyn Disk) -> Result<(), DiskError> {
    for name in ["", "..", "../x", "/etc/hostname", "a/b", ".hidden", "a~", "Upper"] {
        assert_eq!(kind_of(disk.open(name)), Some(DiskErrorKind::NotFound), "open {name}");
        assert_eq!(kind_of(disk.create(name, 1, false)), Some(DiskErrorKind::NotFound), "create {name}");
        assert_eq!(kind_of(disk.replace(name, b"x")), Some(DiskErrorKind::NotFound), "replace {name}");
        assert_eq!(kind_of(disk.remove(name)), Some(DiskErrorKind::NotFound), "remove {name}");
    }
    Ok(())
}
