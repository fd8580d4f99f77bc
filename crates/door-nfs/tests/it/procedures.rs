//! Every procedure once, with what its reply must hold, and its refusals.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::client::{
    ACCES, Args, BADHANDLE, Cred, EXIST, INVAL, ISDIR, MOUNT, NAMETOOLONG, NFS, NOENT, NOT_SYNC, NOTDIR, NOTEMPTY,
    PORTMAP, ROFS, STALE, Set, XDEV,
};
use strata_door_nfs::Export;

use super::nfs::{FILE_SYNC, UNSTABLE};
use super::support::{Served, config, export};

#[test]
fn null_answers_in_all_three_programs() {
    let served = Served::start();
    let mut client = served.client(Cred::None);
    for program in [NFS, MOUNT, PORTMAP] {
        client.call(program, 0, &Args::default()).unwrap().end();
    }
}

#[test]
fn portmap_tells_the_door_s_own_port_and_takes_no_registrations() {
    let served = Served::start();
    let mut client = served.client(Cred::None);
    let mut port = |program: u32, protocol: u32| {
        let args = Args::default().u32(program).u32(3).u32(protocol).u32(0);
        client.call(PORTMAP, 3, &args).unwrap().u32().unwrap()
    };
    let own = u32::from(served.address.port());
    assert_eq!([port(NFS.0, 6), port(MOUNT.0, 6), port(NFS.0, 17), port(99, 6)], [own, own, 0, 0]);
    let args = Args::default().u32(NFS.0).u32(3).u32(6).u32(1);
    assert_eq!(client.call(PORTMAP, 1, &args).unwrap().u32().unwrap(), 0);
}

/// Calls portmap over UDP; `None` if no answer came.
fn ask_datagram(
    address: SocketAddr,
    xid: u32,
    program: u32,
    version: u32,
    procedure: u32,
    args: &[u32],
) -> Option<Vec<u32>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let header = [xid, 0, 2, program, version, procedure, 0, 0, 0, 0];
    let call: Vec<u8> = header.iter().chain(args).flat_map(|word| word.to_be_bytes()).collect();
    socket.send_to(&call, address).unwrap();
    let mut buf = [0; 1024];
    let len = socket.recv(&mut buf).ok()?;
    Some(buf[..len].chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect())
}

#[test]
fn portmap_over_udp_tells_the_same_to_those_whom_an_export_admits() {
    let served = Served::start();
    let (address, _stop) = served.portmap_datagrams();
    let port = u32::from(served.address.port());
    // xid, reply, accepted, no verifier, success, and the port.
    let accepted = |xid: u32, result: &[u32]| Some([&[xid, 1, 0, 0, 0, 0], result].concat());
    assert_eq!(ask_datagram(address, 7, PORTMAP.0, 2, 3, &[NFS.0, 3, 6, 0]), accepted(7, &[port]));
    assert_eq!(ask_datagram(address, 8, PORTMAP.0, 2, 3, &[NFS.0, 3, 17, 0]), accepted(8, &[0]));
    assert_eq!(ask_datagram(address, 9, PORTMAP.0, 2, 3, &[PORTMAP.0, 2, 17, 0]), accepted(9, &[111]));
    // A call with another version gets the supported ones, so that clients ask again with one of them.
    assert_eq!(ask_datagram(address, 10, PORTMAP.0, 5, 3, &[]), Some(vec![10, 1, 0, 0, 0, 2, 2, 4]));
    // NFS itself is on TCP alone; a datagram that is no call gets no answer.
    assert_eq!(ask_datagram(address, 11, NFS.0, 3, 0, &[]), Some(vec![11, 1, 0, 0, 0, 1]));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send_to(b"no call", address).unwrap();
    assert!(socket.recv(&mut [0; 16]).is_err());
    let strangers =
        Served::with(config(vec![Export { clients: vec!["192.0.2.0/24".parse().unwrap()], ..export("/") }]));
    let (address, _stop) = strangers.portmap_datagrams();
    assert_eq!(ask_datagram(address, 12, PORTMAP.0, 2, 4, &[]), None);
}

#[test]
fn mount_walks_below_an_export_and_lists_what_may_be_mounted() {
    let served = Served::start();
    let (mut client, data) = served.root();
    client.mkdir(&data, "deep", &Set::mode(0o755)).unwrap();
    client.file(&data, "file");
    let deep = client.mount("/data/deep").unwrap().unwrap();
    assert_eq!(client.getattr(&deep).unwrap().kind, 2);
    assert_eq!(client.mount("/data/none").unwrap().unwrap_err(), NOENT);
    assert_eq!(client.mount("/data/file").unwrap().unwrap_err(), NOTDIR);
    assert_eq!(client.mount("/data/../other").unwrap().unwrap_err(), INVAL);

    let mut exports = client.call(MOUNT, 5, &Args::default()).unwrap();
    assert!(exports.bool().unwrap());
    assert_eq!(exports.opaque().unwrap(), b"/");
    let mut dump = client.call(MOUNT, 2, &Args::default()).unwrap();
    assert!(dump.bool().unwrap());
    client.call(MOUNT, 4, &Args::default()).unwrap();
    let mut dump = client.call(MOUNT, 2, &Args::default()).unwrap();
    assert!(!dump.bool().unwrap(), "UMNTALL forgets the client's mounts");
}

#[test]
fn files_are_created_written_read_cut_and_removed() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let made = client.create(&data, "f", 1, &Set::mode(0o640)).unwrap();
    assert_eq!((made.attr.kind, made.attr.mode, made.attr.size, made.attr.nlink), (1, 0o640, 0, 1));
    assert_eq!(client.create(&data, "f", 1, &Set::default()).unwrap_err(), EXIST);
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let written = client.write(&made.handle, 0, UNSTABLE, &bytes).unwrap();
    assert_eq!((written.count, written.committed), (300_000, UNSTABLE));
    assert_eq!(client.read(&made.handle, 1000, 5000).unwrap(), (bytes[1000..6000].to_vec(), false));
    client.commit(&made.handle).unwrap();
    assert_eq!(client.read(&made.handle, 250_000, 100_000).unwrap(), (bytes[250_000..].to_vec(), true));
    assert_eq!(client.read(&made.handle, 300_000, 10).unwrap(), (vec![], true));
    assert_eq!(client.read(&made.handle, u64::MAX, 10).unwrap(), (vec![], true));
    let synced = client.write(&made.handle, 299_998, FILE_SYNC, b"tail").unwrap();
    assert_eq!((synced.committed, synced.file.after.unwrap().size), (FILE_SYNC, 300_002));
    // Rewritten parts, staged over what was stored, show in one read.
    client.write(&made.handle, 150_000, UNSTABLE, b"middle").unwrap();
    let (middle, _) = client.read(&made.handle, 149_990, 30).unwrap();
    assert_eq!(middle, [&bytes[149_990..150_000], b"middle", &bytes[150_006..150_020]].concat());
    let cut = Set { size: Some(10), ..Set::default() };
    client.setattr(&made.handle, &cut, None).unwrap();
    assert_eq!(client.read(&made.handle, 0, 100).unwrap(), (bytes[..10].to_vec(), true));
    // An unchecked CREATE opens what is there, and cuts it if asked to.
    let again = client.create(&data, "f", 0, &Set { size: Some(0), mode: Some(0o777), ..Set::default() }).unwrap();
    assert_eq!((again.attr.fileid, again.attr.size, again.attr.mode), (made.attr.fileid, 0, 0o640));
    client.remove(&data, "f").unwrap();
    assert_eq!(client.getattr(&made.handle).unwrap_err(), STALE);
    assert_eq!(client.read(&made.handle, 0, 1).unwrap_err(), STALE);
    assert_eq!(client.write(&made.handle, 0, UNSTABLE, b"x").unwrap_err(), STALE);
    assert_eq!(client.lookup(&data, "f").unwrap_err(), NOENT);
    assert_eq!(client.remove(&data, "f").unwrap_err(), NOENT);
}

#[test]
fn attributes_are_set_under_a_guard() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let file = client.file(&data, "f");
    let set = Set {
        mode: Some(0o4711),
        uid: Some(7),
        gid: Some(8),
        size: None,
        atime: Some((100, 5)),
        mtime: Some((200, 6)),
    };
    let before = client.getattr(&file).unwrap();
    client.setattr(&file, &set, Some(before.ctime)).unwrap();
    let after = client.getattr(&file).unwrap();
    assert_eq!((after.mode, after.uid, after.gid), (0o4711, 7, 8));
    assert_eq!((after.atime, after.mtime), ((100, 5), (200, 6)));
    assert!(after.ctime > before.ctime);
    assert_eq!(client.setattr(&file, &Set::mode(0), Some(before.ctime)).unwrap_err(), NOT_SYNC);
    assert_eq!(client.getattr(&file).unwrap(), after);
}

#[test]
fn of_two_clients_with_the_same_guard_one_sets() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let file = client.file(&data, "f");
    for round in 0..30 {
        let seen = client.getattr(&file).unwrap().ctime;
        let set = |mode: u32| {
            let (mut client, _) = served.root();
            let file = file.clone();
            std::thread::spawn(move || client.setattr(&file, &Set::mode(mode), Some(seen)).map(|_| mode))
        };
        let setters = [set(0o600), set(0o640)];
        let results = setters.map(|setter| setter.join().unwrap());
        let done: Vec<u32> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(done.len(), 1, "round {round}: {results:?}");
        assert!(results.iter().all(|result| result.is_ok() || *result.as_ref().unwrap_err() == NOT_SYNC));
        assert_eq!(client.getattr(&file).unwrap().mode, done[0]);
    }
}

#[test]
fn directories_links_and_special_nodes_are_made_and_removed() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let dir = client.mkdir(&data, "d", &Set::mode(0o750)).unwrap();
    assert_eq!((dir.attr.kind, dir.attr.mode), (2, 0o750));
    assert_eq!(client.mkdir(&data, "d", &Set::default()).unwrap_err(), EXIST);
    let link = client.symlink(&dir.handle, "s", b"../somewhere").unwrap();
    assert_eq!((link.attr.kind, link.attr.size), (5, 12));
    assert_eq!(client.readlink(&link.handle).unwrap(), b"../somewhere");
    assert_eq!(client.readlink(&dir.handle).unwrap_err(), INVAL);
    let device = client.mknod(&dir.handle, "b", 3, Some((8, 300))).unwrap();
    assert_eq!((device.attr.kind, device.attr.rdev), (3, (8, 300)));
    assert_eq!(client.mknod(&dir.handle, "c", 4, Some((1, 3))).unwrap().attr.kind, 4);
    assert_eq!(client.mknod(&dir.handle, "sock", 6, None).unwrap().attr.kind, 6);
    assert_eq!(client.mknod(&dir.handle, "fifo", 7, None).unwrap().attr.kind, 7);
    let file = client.file(&dir.handle, "f");
    let (attr, _) = client.link(&file, &data, "second").unwrap();
    assert_eq!(attr.unwrap().nlink, 2);
    assert_eq!(client.link(&dir.handle, &data, "no").unwrap_err(), ISDIR);

    assert_eq!(client.rmdir(&data, "d").unwrap_err(), NOTEMPTY);
    assert_eq!(client.remove(&data, "d").unwrap_err(), ISDIR);
    assert_eq!(client.rmdir(&data, "second").unwrap_err(), NOTDIR);
    assert_eq!(client.rmdir(&data, ".").unwrap_err(), INVAL);
    assert_eq!(client.rmdir(&data, "..").unwrap_err(), EXIST);
    client.rename((&dir.handle, "f"), (&data, "moved")).unwrap();
    assert_eq!(client.lookup(&dir.handle, "f").unwrap_err(), NOENT);
    assert_eq!(client.lookup(&data, "moved").unwrap().0, file, "a handle survives a rename");
    assert_eq!(client.rename((&data, "none"), (&data, "x")).unwrap_err(), NOENT);
    client.rename((&data, "moved"), (&data, "second")).unwrap();
    for name in ["s", "b", "c", "sock", "fifo"] {
        client.remove(&dir.handle, name).unwrap();
    }
    assert_eq!(client.lookup(&dir.handle, "..").unwrap().0, data);
    assert_eq!(client.lookup(&dir.handle, ".").unwrap().0, dir.handle);
    client.rmdir(&data, "d").unwrap();
    assert_eq!(client.getattr(&dir.handle).unwrap_err(), STALE);
}

#[test]
fn names_that_no_entry_can_have_are_refused() {
    let served = Served::start();
    let (mut client, data) = served.root();
    assert_eq!(client.lookup(&data, "").unwrap_err(), INVAL);
    assert_eq!(client.create(&data, "a/b", 0, &Set::default()).unwrap_err(), INVAL);
    assert_eq!(client.create(&data, "..", 0, &Set::default()).unwrap_err(), EXIST);
    assert_eq!(client.mkdir(&data, &"n".repeat(256), &Set::default()).unwrap_err(), NAMETOOLONG);
    client.mkdir(&data, &"n".repeat(255), &Set::default()).unwrap();
    assert_eq!(client.symlink(&data, "s", &[b't'; 4096]).unwrap_err(), NAMETOOLONG);
}

#[test]
fn the_file_system_tells_what_it_is_like() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let stat = client.about(18, &data).unwrap();
    assert_eq!(stat.len(), 13);
    assert!(stat[..2] > stat[2..4], "more bytes in all than free");
    let info = client.about(19, &data).unwrap();
    assert_eq!((info[0], info[3]), (1 << 20, 1 << 20), "transfers of 1 MiB");
    let conf = client.about(20, &data).unwrap();
    assert_eq!(conf[1], 255);
}

#[test]
fn handles_that_the_door_did_not_make_are_bad_and_do_not_cross_exports() {
    let served = Served::with(config(vec![export("/"), export("/data"), export("/other")]));
    let mut client = served.client(Cred::user(0));
    let data = client.mount("/data").unwrap().unwrap();
    let other = client.mount("/other").unwrap().unwrap();
    let file = client.file(&data, "f");
    let mut forged = file.clone();
    forged[31] ^= 1;
    assert_eq!(client.getattr(&forged).unwrap_err(), BADHANDLE);
    assert_eq!(client.getattr(&[]).unwrap_err(), BADHANDLE);
    assert_eq!(client.link(&file, &other, "x").unwrap_err(), XDEV);
    assert_eq!(client.rename((&data, "f"), (&other, "f")).unwrap_err(), XDEV);
    assert_eq!(client.lookup(&data, "..").unwrap().0, data, "the root of an export has nothing above");
    assert_ne!(client.getattr(&data).unwrap().fsid, client.getattr(&other).unwrap().fsid);
}

#[test]
fn buckets_of_one_export_are_apart_like_file_systems() {
    let served = Served::with(config(vec![export("/")]));
    let mut client = served.client(Cred::user(0));
    let root = client.mount("/").unwrap().unwrap();
    let (data, other) = (client.lookup(&root, "data").unwrap().0, client.lookup(&root, "other").unwrap().0);
    let file = client.file(&data, "f");
    assert_eq!(client.link(&file, &other, "x").unwrap_err(), XDEV);
    assert_eq!(client.rename((&data, "f"), (&other, "f")).unwrap_err(), XDEV);
    assert_eq!(client.rename((&root, "data"), (&other, "data")).unwrap_err(), XDEV);
    assert_eq!(client.lookup(&data, "f").unwrap().0, file);
}

#[test]
fn a_read_only_export_refuses_every_change() {
    let mut rule = export("/data");
    rule.read_only = true;
    let served = Served::with(config(vec![rule]));
    let (mut client, data) = served.root();
    assert_eq!(client.create(&data, "f", 0, &Set::default()).unwrap_err(), ROFS);
    assert_eq!(client.remove(&data, "f").unwrap_err(), ROFS);
    assert_eq!(client.setattr(&data, &Set::mode(0o700), None).unwrap_err(), ROFS);
    assert_eq!(client.access(&data, 0x3f).unwrap(), 0x03, "read and look up");
    assert_eq!(client.mount("/other").unwrap().unwrap_err(), ACCES);
}
