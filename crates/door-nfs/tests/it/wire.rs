//! Hostile and unusual records: what gets an answer, what ends the connection, and that the door goes on serving.

use std::io::{Read, Write};

use super::client::{Args, Client, Cred, MOUNT, NFS};
use super::nfs::UNSTABLE;
use super::support::Served;

/// The words of the reply to a raw record, behind the xid.
fn answer(client: &mut Client, record: &[u8]) -> Vec<u32> {
    client.stream().write_all(record).unwrap();
    let (_, mut reply) = client.receive().unwrap();
    std::iter::from_fn(|| reply.u32().ok()).collect()
}

/// Whether the door closes the connection after these bytes.
fn ends(served: &Served, bytes: &[u8]) -> bool {
    let mut client = served.client(Cred::user(0));
    client.stream().write_all(bytes).unwrap();
    let mut rest = Vec::new();
    match client.stream().read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn framed(words: &[u32]) -> Vec<u8> {
    let len = u32::try_from(words.len() * 4).unwrap();
    let mut bytes = (len | 1 << 31).to_be_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    bytes
}

#[test]
fn calls_that_are_not_offered_are_refused_by_the_right_name() {
    let served = Served::start();
    let mut client = served.client(Cred::user(0));
    let record = |client: &Client, program, procedure| client.record(1, program, procedure, &Args::default());
    let unknown = record(&client, (200_000, 1), 0);
    assert_eq!(answer(&mut client, &unknown), [1, 0, 0, 0, 1], "PROG_UNAVAIL");
    let version = record(&client, (NFS.0, 4), 0);
    assert_eq!(answer(&mut client, &version), [1, 0, 0, 0, 2, 3, 3], "PROG_MISMATCH");
    let procedure = record(&client, NFS, 22);
    assert_eq!(answer(&mut client, &procedure), [1, 0, 0, 0, 3], "PROC_UNAVAIL");
    let garbage = client.record(1, NFS, 1, &Args::default().u32(1000));
    assert_eq!(answer(&mut client, &garbage), [1, 0, 0, 0, 4], "GARBAGE_ARGS");
    // A boolean is 0 or 1: whether the mode 0o777 is meant cannot be known.
    let (_, data) = served.root();
    let mode = Args::default().opaque(&data).u32(7).u32(0o777).u32(0).u32(0).u32(0).u32(0).u32(0).u32(0);
    let mode = client.record(1, NFS, 2, &mode);
    assert_eq!(answer(&mut client, &mode), [1, 0, 0, 0, 4], "a boolean that is none");
    let path = client.record(1, MOUNT, 1, &Args::default().u32(u32::MAX));
    assert_eq!(answer(&mut client, &path), [1, 0, 0, 0, 4]);
    let rpc_version = framed(&[1, 0, 3, NFS.0, 3, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&mut client, &rpc_version), [1, 1, 0, 2, 2], "RPC_MISMATCH");
    let flavor = framed(&[1, 0, 2, NFS.0, 3, 0, 6, 0, 0, 0]);
    assert_eq!(answer(&mut client, &flavor), [1, 1, 1, 2], "AUTH_REJECTEDCRED");
    let groups = framed(&[1, 0, 2, NFS.0, 3, 0, 1, 20, 0, 0, 0, 0, 17, 0, 0]);
    assert_eq!(answer(&mut client, &groups), [1, 1, 1, 1], "more groups than AUTH_SYS has");
    client.call(NFS, 0, &Args::default()).unwrap();
}

#[test]
fn streams_without_meaning_are_ended() {
    let served = Served::start();
    assert!(ends(&served, &[0xff; 64]), "a record of 2 GiB");
    assert!(ends(&served, &framed(&[1, 1, 0, 0, 0, 0])), "a reply instead of a call");
    assert!(ends(&served, &framed(&[1])), "a header that is cut");
    assert!(ends(&served, &[0, 0, 0, 0].repeat(300)), "empty fragments without end");
    let mut fragments = Vec::new();
    for _ in 0..300 {
        fragments.extend_from_slice(&4_u32.to_be_bytes());
        fragments.extend_from_slice(&[0; 4]);
    }
    assert!(ends(&served, &fragments), "fragments without end");
    assert!(ends(&served, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"), "another protocol");
    served.client(Cred::user(0)).call(NFS, 0, &Args::default()).unwrap();
}

#[test]
fn a_record_may_come_in_fragments_and_byte_by_byte() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let record = client.record(9, NFS, 1, &Args::default().opaque(&data));
    let mut pieces = Vec::new();
    for (n, piece) in record[4..].chunks(20).enumerate() {
        let last = (n + 1) * 20 >= record.len() - 4;
        let len = u32::try_from(piece.len()).unwrap() | if last { 1 << 31 } else { 0 };
        pieces.extend_from_slice(&len.to_be_bytes());
        pieces.extend_from_slice(piece);
    }
    for byte in pieces {
        client.stream().write_all(&[byte]).unwrap();
    }
    let (xid, reply) = client.receive().unwrap();
    assert_eq!((xid, Client::accepted(reply).unwrap().u32().unwrap()), (9, 0));
}

#[test]
fn many_calls_on_their_way_are_all_answered() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let file = client.file(&data, "f");
    let block = vec![7; 100_000];
    let mut open = std::collections::BTreeSet::new();
    for n in 0..150_u64 {
        let write = Args::default().opaque(&file).u64(n * 100_000).u32(100_000).u32(UNSTABLE).opaque(&block);
        open.insert(client.send(NFS, 7, &write).unwrap());
        open.insert(client.send(NFS, 1, &Args::default().opaque(&file)).unwrap());
        if n % 10 == 9 {
            open.insert(client.send(NFS, 21, &Args::default().opaque(&file).u64(0).u32(0)).unwrap());
        }
        // A client that takes its replies now and then.
        while open.len() > 40 {
            let (xid, reply) = client.receive().unwrap();
            assert_eq!(Client::accepted(reply).unwrap().u32().unwrap(), 0);
            assert!(open.remove(&xid));
        }
    }
    while !open.is_empty() {
        let (xid, reply) = client.receive().unwrap();
        assert_eq!(Client::accepted(reply).unwrap().u32().unwrap(), 0);
        assert!(open.remove(&xid));
    }
    assert_eq!(client.getattr(&file).unwrap().size, 15_000_000);
}
