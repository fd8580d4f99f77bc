//! Golden vectors of arguments as clients send them, and hostile ones.

use nfsserve::nfs::{set_atime, set_mode3, set_mtime, set_size3};
use proptest::prelude::*;

use super::*;

fn words(list: &[u32]) -> Bytes {
    list.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>().into()
}

/// A handle of four bytes before `rest`.
fn decode(procedure: u32, rest: &[u32]) -> Result<Request, XdrError> {
    let args = [&[4, 0x0102_0304], rest].concat();
    let arguments = Arguments::decode(procedure, words(&args))?;
    assert_eq!(arguments.handle.as_ref(), &[1, 2, 3, 4]);
    Ok(arguments.request)
}

#[test]
fn setattr_with_every_field_and_a_guard() {
    let rest = [1, 0o644, 1, 7, 1, 8, 1, 0, 4096, 2, 10, 11, 1, 1, 20, 21];
    let Ok(Request::Setattr { attributes, guard: Some(guard) }) = decode(2, &rest) else { panic!() };
    assert!(matches!(attributes.mode, set_mode3::mode(0o644)));
    assert!(matches!(attributes.size, set_size3::size(4096)));
    assert!(matches!(attributes.atime, set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 10, nseconds: 11 })));
    assert!(matches!(attributes.mtime, set_mtime::SET_TO_SERVER_TIME));
    assert_eq!((guard.seconds, guard.nseconds), (20, 21));
}

#[test]
fn setattr_with_nothing() {
    let Ok(Request::Setattr { attributes, guard: None }) = decode(2, &[0; 7]) else { panic!() };
    assert!(matches!(attributes.mode, set_mode3::Void));
    assert!(matches!(attributes.mtime, set_mtime::DONT_CHANGE));
}

#[test]
fn write_carries_its_data_and_stability() {
    let rest = [0, 65_536, 6, 2, 8, 0x6162_6364, 0x6566_6768];
    let Ok(Request::Write { offset, stable, data }) = decode(7, &rest) else { panic!() };
    assert_eq!((offset, stable), (65_536, Stable::File));
    assert_eq!(data.as_ref(), b"abcdef", "count decides, not the length of the opaque");
}

#[test]
fn write_with_less_data_than_it_counts_is_garbage() {
    assert_eq!(decode(7, &[0, 0, 5, 0, 4, 0]).unwrap_err(), XdrError::Short);
}

#[test]
fn write_of_an_unknown_stability_is_garbage() {
    assert_eq!(decode(7, &[0, 0, 0, 3, 0]).unwrap_err(), XdrError::BadValue);
}

#[test]
fn create_in_its_three_ways() {
    let name = [3, 0x6162_6300];
    let with = |how: &[u32]| decode(8, &[&name[..], how].concat());
    assert!(matches!(with(&[0, 0, 0, 0, 0, 0, 0]), Ok(Request::Create { how: CreateHow::Unchecked(_), .. })));
    assert!(matches!(with(&[1, 0, 0, 0, 0, 0, 0]), Ok(Request::Create { how: CreateHow::Guarded(_), .. })));
    let Ok(Request::Create { name, how: CreateHow::Exclusive(verifier) }) = with(&[2, 0x0102_0304, 0x0506_0708]) else {
        panic!()
    };
    assert_eq!((name.as_ref(), verifier), (b"abc".as_slice(), [1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(with(&[3, 0, 0]).unwrap_err(), XdrError::BadValue);
}

#[test]
fn mknod_of_a_device_a_pipe_and_a_directory() {
    let name = [1, 0x6100_0000];
    let with = |what: &[u32]| decode(11, &[&name[..], what].concat());
    let Ok(Request::Mknod { what: Special::CharDevice(_, device), .. }) = with(&[4, 0, 0, 0, 0, 0, 0, 1, 3]) else {
        panic!()
    };
    assert_eq!((device.specdata1, device.specdata2), (1, 3));
    assert!(matches!(with(&[7, 0, 0, 0, 0, 0, 0]), Ok(Request::Mknod { what: Special::Fifo(_), .. })));
    assert!(matches!(with(&[2]), Ok(Request::Mknod { what: Special::Other, .. })));
}

#[test]
fn rename_carries_both_places() {
    let rest = [1, 0x6100_0000, 4, 0x0908_0706, 2, 0x6263_0000];
    let Ok(Request::Rename { name, to_directory, to_name }) = decode(14, &rest) else { panic!() };
    assert_eq!((name.as_ref(), to_directory.as_ref(), to_name.as_ref()), (&b"a"[..], &[9, 8, 7, 6][..], &b"bc"[..]));
}

#[test]
fn a_handle_above_64_bytes_is_garbage() {
    let mut args = vec![68];
    args.extend([0; 17]);
    assert_eq!(Arguments::decode(1, words(&args)).unwrap_err(), XdrError::TooLong { limit: 64 });
}

#[test]
fn failures_have_the_shape_of_the_standard() {
    let fail = Fail(nfsstat3::NFS3ERR_ACCES);
    let len = |request: Result<Request, XdrError>| {
        let mut out = Encoder::default();
        request.unwrap().failure_shape().encode(fail, &[], &mut out);
        out.len()
    };
    assert_eq!(len(decode(1, &[])), 4);
    assert_eq!(len(decode(3, &[1, 0x6100_0000])), 8);
    assert_eq!(len(decode(12, &[1, 0x6100_0000])), 12);
    assert_eq!(len(decode(14, &[1, 0x6100_0000, 4, 0, 1, 0x6100_0000])), 20);
    assert_eq!(len(decode(15, &[4, 0, 1, 0x6100_0000])), 16);
}

proptest! {
    #[test]
    fn arguments_that_are_read_are_read_alike_from_no_less_than_they_need(
        procedure in 1u32..22,
        list in proptest::collection::vec(prop_oneof![0u32..9, any::<u32>()], 0..40),
    ) {
        let shown = |words: &[u32]| decode(procedure, words).map(|request| format!("{request:?}"));
        // From some length on the arguments are complete: words behind that change nothing, and less is refused.
        let needed = (0..=list.len()).find(|len| shown(&list[..*len]).is_ok());
        if let Some(needed) = needed {
            let read = shown(&list[..needed]);
            for more in needed..=list.len() {
                prop_assert_eq!(&shown(&list[..more]), &read);
            }
            let mut out = Encoder::default();
            decode(procedure, &list).unwrap().failure_shape().encode(Fail(nfsstat3::NFS3ERR_IO), &[], &mut out);
            prop_assert!(out.len() % 4 == 0 && out.len() >= 4);
        }
    }

    #[test]
    fn procedures_that_do_not_exist_have_no_arguments(procedure in 22u32.., bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Arguments::decode(procedure, Bytes::from(bytes)).is_err());
    }
}
