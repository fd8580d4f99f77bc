//! A retransmitted call is answered again, and executed once.

use std::sync::atomic::Ordering;

use super::client::{Client, Cred, NFS, NOENT, OK};
use super::nfs::dir_op;
use super::support::Served;

const REMOVE: u32 = 12;

/// Sends a call with a given xid and returns its status.
fn call_as(client: &mut Client, xid: u32, procedure: u32, args: &super::client::Args) -> u32 {
    use std::io::Write;
    let record = client.record(xid, NFS, procedure, args);
    client.stream().write_all(&record).unwrap();
    let (answered, reply) = client.receive().unwrap();
    assert_eq!(answered, xid);
    Client::accepted(reply).unwrap().u32().unwrap()
}

#[test]
fn a_retransmission_gets_the_first_answer_also_on_another_connection() {
    let served = Served::start();
    let (mut client, data) = served.root();
    client.file(&data, "f");
    let args = dir_op(&data, "f");
    assert_eq!(call_as(&mut client, 77, REMOVE, &args), OK);
    assert_eq!(call_as(&mut client, 77, REMOVE, &args), OK);
    let mut reconnected = served.client(Cred::user(0));
    assert_eq!(call_as(&mut reconnected, 77, REMOVE, &args), OK);
    assert_eq!(call_as(&mut reconnected, 78, REMOVE, &args), NOENT, "another call");
    assert_eq!(served.door().metrics().replies_repeated.load(Ordering::Relaxed), 2);
}

#[test]
fn a_call_in_execution_is_joined() {
    let served = Served::start();
    let (mut client, data) = served.root();
    let mut others: Vec<Client> = (0..7).map(|_| served.client(Cred::user(0))).collect();
    for round in 0..20 {
        let name = format!("f{round}");
        client.file(&data, &name);
        let xid = 5000 + round;
        // All calls are on their way before the first can be durable.
        for client in &mut others {
            use std::io::Write;
            let record = client.record(xid, NFS, REMOVE, &dir_op(&data, &name));
            client.stream().write_all(&record).unwrap();
        }
        for client in &mut others {
            let (answered, reply) = client.receive().unwrap();
            assert_eq!(answered, xid);
            assert_eq!(Client::accepted(reply).unwrap().u32().unwrap(), OK);
        }
    }
    let metrics = served.door().metrics();
    let joined = metrics.calls_joined.load(Ordering::Relaxed);
    assert_eq!(joined + metrics.replies_repeated.load(Ordering::Relaxed), 20 * 6);
    assert!(joined > 0, "some came while the first waited for its sync");
}
