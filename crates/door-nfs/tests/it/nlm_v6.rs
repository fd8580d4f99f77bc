//! Locks and the portmapper over IPv6: kernels use rpcbind there, and its answers are universal addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use strata_door_nfs::{Export, NfsConfig, NfsLocks};

use super::client::{Args, Client, Cred, MOUNT, NFS, Results};
use super::host::{Came, Host};
use super::nlm::quick;
use super::nlm_calls::*;
use super::support::{Served, config, export};

const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const RPCBIND: (u32, u32) = (100_000, 4);

/// Whether this machine has IPv6 at all; says so where it has not.
fn has_v6() -> bool {
    let bound = UdpSocket::bind((HERE, 0));
    if let Err(error) = &bound {
        eprintln!("skipped: this machine has no ::1 ({error})");
    }
    bound.is_ok()
}

/// A door on ::1 that calls clients at the port of this host.
fn calling(host: &Host) -> Served {
    let locks = NfsLocks { portmap_port: host.port, grace: Duration::from_secs(600), ..quick() };
    let export = Export { clients: vec!["::1/128".parse().unwrap()], ..export("/") };
    Served::listening(NfsConfig { locks, ..config(vec![export]) }, HERE)
}

fn asked(program: u32, version: u32, netid: &str) -> Args {
    Args::default().u32(program).u32(version).opaque(netid.as_bytes()).opaque(b"::1.0.111").opaque(b"")
}

fn at(port: u16) -> String {
    format!("::1.{}.{}", port >> 8, port & 255)
}

fn text(results: &mut Results) -> String {
    String::from_utf8(results.opaque().unwrap()).unwrap()
}

#[test]
fn who_waits_over_ipv6_is_called_over_it_whichever_version_of_rpcbind_the_host_has() {
    if !has_v6() {
        return;
    }
    for version in [4, 3] {
        let host = Host::at((HERE, 0).into(), version);
        let served = calling(&host);
        let (mut one, data) = served.root();
        let mut two = served.client(Cred::user(0));
        let file = one.file(&data, "f");
        let lock = exclusive("one", 7, &file, 0, 0);
        assert_eq!(one.lock(&lock), GRANTED);
        let wanted = exclusive("two", 8, &file, 5, 10);
        assert_eq!(two.lock_waiting(&wanted), BLOCKED);
        assert_eq!(one.unlock(&lock), GRANTED);
        let (from, came) = host.next();
        assert_eq!((came, from.ip()), (Came::Granted(wanted.clone()), HERE));
        assert_eq!(one.test(&lock), Err((true, 8, 5, 10)));
        // The asynchronous form is answered by a call, too.
        let args = lock_args(&exclusive("two", 8, &file, 30, 1), false);
        two.call(NLM, 7, &args).unwrap().end();
        assert_eq!(host.next().1, Came::Result(12, GRANTED));
    }
}

#[test]
fn hosts_of_ipv6_are_told_of_a_restart_and_tell_of_theirs() {
    if !has_v6() {
        return;
    }
    let host = Host::at((HERE, 0).into(), 4);
    let mut served = calling(&host);
    let (mut one, data) = served.root();
    let file = one.file(&data, "f");
    let lock = exclusive("one", 7, &file, 0, 0);
    assert_eq!(one.lock(&lock), GRANTED);
    served.restart();
    let [Came::Restarted(name, _), Came::Restarted(address, _)] = [host.next().1, host.next().1] else {
        panic!("a notice by each name");
    };
    assert_eq!((name.as_str(), address.as_str()), ("server", "::1"));
    let mut one = served.client(Cred::user(0));
    assert_eq!(one.reclaim(&lock), GRANTED);
    // The host restarts, and reports that over UDP as Linux does.
    let (portmap, _stop) = served.portmap_datagrams();
    let socket = UdpSocket::bind((HERE, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&one.record(77, NSM, 6, &restarted("one", 9))[4..], portmap).unwrap();
    assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 24);
    assert_eq!(served.ns().holds_held(), 0);
}

#[test]
fn rpcbind_tells_universal_addresses_of_what_is_served_over_the_transport() {
    if !has_v6() {
        return;
    }
    let served = calling(&Host::at((HERE, 0).into(), 4));
    let own = served.address.port();
    let mut client = served.client(Cred::None);
    let mut address = |version: u32, procedure: u32, args: &Args| {
        let mut results = client.call((RPCBIND.0, version), procedure, args).unwrap();
        let told = text(&mut results);
        results.end();
        told
    };
    for version in [3, 4] {
        for program in [NFS, MOUNT, NLM, NSM] {
            assert_eq!(address(version, 3, &asked(program.0, program.1, "tcp6")), at(own), "{program:?}");
        }
        // No name of a transport means that of the call. A program that is not served over it, or not known there, has an empty address.
        assert_eq!(address(version, 3, &asked(NFS.0, 3, "")), at(own));
        assert_eq!(address(version, 3, &asked(NFS.0, 2, "tcp6")), at(own), "the version is told by the mismatch");
        for (program, netid) in [(NFS.0, "udp6"), (NLM.0, "udp6"), (NFS.0, "tcp"), (99, "tcp6")] {
            assert_eq!(address(version, 3, &asked(program, 3, netid)), "", "{program} {netid}");
        }
    }
    assert_eq!(
        [3, 2, 4].map(|version| address(4, 9, &asked(NFS.0, version, "tcp6"))),
        [at(own), String::new(), String::new()]
    );
    assert_eq!(address(4, 9, &asked(RPCBIND.0, 4, "tcp6")), at(111));
    // No registration is accepted, and portmap's own procedures are there over IPv6, too.
    for version in [2, 3, 4] {
        assert!(!client.call((RPCBIND.0, version), 1, &asked(NLM.0, 4, "tcp6")).unwrap().bool().unwrap());
        client.call((RPCBIND.0, version), 0, &Args::default()).unwrap().end();
    }
    let port = Args::default().u32(NLM.0).u32(4).u32(6).u32(0);
    assert_eq!(client.call((RPCBIND.0, 2), 3, &port).unwrap().u32().unwrap(), u32::from(own));
    let mut listed = client.call(RPCBIND, 4, &Args::default()).unwrap();
    let mut all = Vec::new();
    while listed.bool().unwrap() {
        let of = (listed.u32().unwrap(), listed.u32().unwrap());
        all.push((of, text(&mut listed), text(&mut listed)));
        assert_eq!(text(&mut listed), "superuser");
    }
    listed.end();
    assert!(
        all.contains(&(NLM, "tcp6".to_owned(), at(own))) && all.iter().all(|(_, netid, _)| netid == "tcp6"),
        "{all:?}"
    );
    assert_eq!(all.iter().filter(|(of, ..)| of.0 == RPCBIND.0).count(), 3, "{all:?}");
}

/// Asks rpcbind over UDP from an address.
fn over_udp(to: SocketAddr, from: IpAddr, netid: &str) -> String {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let header = [5, 0, 2, RPCBIND.0, RPCBIND.1, 3, 0, 0, 0, 0].into_iter().fold(Args::default(), Args::u32);
    let call = [header.0, asked(NLM.0, 4, netid).0].concat();
    socket.send_to(&call, to).unwrap();
    let mut reply = [0; 256];
    let len = socket.recv(&mut reply).unwrap();
    let mut reply = Results::new(reply[24..len].to_vec());
    text(&mut reply)
}

#[test]
fn a_door_on_all_addresses_tells_each_client_the_one_it_can_reach() {
    if !has_v6() {
        return;
    }
    let host = Host::on(1, 0);
    let locks = NfsLocks { portmap_port: host.port, ..quick() };
    let here = vec!["::1/128".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    let config = NfsConfig { locks, ..config(vec![Export { clients: here, ..export("/") }]) };
    let served = Served::listening(config, IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let (portmap, _stop) = served.portmap_datagrams();
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let nfs = served.address.port();
    assert_eq!(over_udp((HERE, portmap.port()).into(), HERE, "tcp6"), at(nfs));
    assert_eq!(over_udp((HERE, portmap.port()).into(), HERE, "udp6"), at(111));
    let old = format!("127.0.0.1.{}.{}", nfs >> 8, nfs & 255);
    assert_eq!(over_udp((v4, portmap.port()).into(), v4, "tcp"), old);
    assert_eq!(over_udp((v4, portmap.port()).into(), v4, "tcp6"), "", "not over the address that asks");
    // An IPv4 client counts as one of IPv4, whatever the socket is, and is called over IPv4.
    let mut two = Client::connect((v4, nfs).into(), Cred::user(0)).unwrap();
    let mut one = Client::connect((HERE, nfs).into(), Cred::user(0)).unwrap();
    let data = one.mount("/data").unwrap().unwrap();
    let file = one.file(&data, "f");
    let (lock, wanted) = (exclusive("one", 7, &file, 0, 0), exclusive("two", 8, &file, 0, 1));
    assert_eq!([one.lock(&lock), two.lock_waiting(&wanted)], [GRANTED, BLOCKED]);
    assert_eq!(one.unlock(&lock), GRANTED);
    assert_eq!(host.granted(), wanted);
}
