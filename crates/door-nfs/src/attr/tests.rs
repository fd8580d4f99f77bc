//! Times, devices, sizes and the proof behind pre-operation attributes.

use proptest::prelude::*;
use strata_seam::Ino;

use super::*;

fn attr(change: u64) -> Attr {
    Attr {
        ino: Ino(42),
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1,
        gid: 2,
        nlink: 1,
        rdev: 0,
        size: 0,
        allocated: 0,
        atime: Timestamp(0),
        mtime: Timestamp(0),
        ctime: Timestamp(0),
        btime: Timestamp(0),
        change,
    }
}

#[test]
fn only_size_and_times_matter_to_a_cache() {
    let one = attr(7);
    assert!(same_to_caches(&one, &attr(8)));
    assert!(!same_to_caches(&one, &Attr { size: one.size + 1, ..attr(7) }));
    let later = Timestamp(one.ctime.0 + 1);
    assert!(!same_to_caches(&one, &Attr { ctime: later, ..attr(7) }));
}

#[test]
fn times_outside_the_wire_s_range_are_shown_as_its_ends() {
    assert!(same_time(wire_time(Timestamp(-1)), nfstime3 { seconds: 0, nseconds: 0 }));
    assert!(same_time(wire_time(Timestamp(i64::MAX)), nfstime3 { seconds: u32::MAX, nseconds: 0 }));
    assert!(same_time(wire_time(Timestamp(1_500_000_000)), nfstime3 { seconds: 1, nseconds: 500_000_000 }));
}

#[test]
fn a_second_has_at_most_a_thousand_million_nanoseconds() {
    let wire = sattr3 {
        mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 1, nseconds: 1_000_000_000 }),
        ..sattr3::default()
    };
    assert!(matches!(set_attr(&wire).unwrap_err().0, nfsstat3::NFS3ERR_INVAL));
}

#[test]
fn a_size_beyond_the_largest_file_is_too_big() {
    let wire = sattr3 { size: set_size3::size(FILE_LEN_MAX + 1), ..sattr3::default() };
    assert!(matches!(set_attr(&wire).unwrap_err().0, nfsstat3::NFS3ERR_FBIG));
}

#[test]
fn an_exclusively_created_file_is_known_by_its_times() {
    let verifier = [0xff, 1, 2, 3, 4, 5, 6, 7];
    let (mtime, atime) = verifier_times(verifier);
    let made = Attr { mtime, atime, ..attr(1) };
    assert!(made_by(&made, verifier));
    assert!(!made_by(&made, [0xff, 1, 2, 3, 4, 5, 6, 8]));
    assert!(!made_by(&Attr { size: 1, ..made.clone() }, verifier));
    assert!(!made_by(&Attr { kind: NodeKind::Fifo, ..made }, verifier));
}

proptest! {
    #[test]
    fn device_numbers_survive_the_wire(major in any::<u32>(), minor in any::<u32>()) {
        let device = wire_device(device_of(specdata3 { specdata1: major, specdata2: minor }));
        prop_assert_eq!((device.specdata1, device.specdata2), (major, minor));
    }

    #[test]
    fn times_of_the_wire_survive_the_store(seconds in any::<u32>(), nseconds in 0u32..1_000_000_000) {
        let time = nfstime3 { seconds, nseconds };
        prop_assert!(same_time(wire_time(time_of(time).unwrap()), time));
    }
}
