//! Who may do what: mode bits by uid, gid and groups, squashing, and address rules.

use strata_door_nfs::Squash;

use super::client::{ACCES, Args, Cred, MOUNT, PERM, Set};
use super::nfs::UNSTABLE;
use super::support::{ANON, Served, config, export};

const READ: u32 = 0x01;
const LOOKUP: u32 = 0x02;
const MODIFY: u32 = 0x04;
const EXTEND: u32 = 0x08;
const DELETE: u32 = 0x10;
const EXECUTE: u32 = 0x20;
const ALL: u32 = 0x3f;

#[test]
fn mode_bits_hold_for_owner_group_and_others() {
    let served = Served::start();
    let (mut owner, data) = served.user(1000);
    let file = owner.create(&data, "f", 1, &Set::mode(0o640)).unwrap().handle;
    assert_eq!(owner.getattr(&file).unwrap().uid, 1000);
    owner.write(&file, 0, UNSTABLE, b"secret").unwrap();
    assert_eq!(owner.access(&file, ALL).unwrap(), READ | MODIFY | EXTEND);

    let mut member = served.client(Cred::Sys { uid: 1001, gid: 1001, groups: vec![5, 1000] });
    assert_eq!(member.access(&file, ALL).unwrap(), READ);
    assert_eq!(member.read(&file, 0, 10).unwrap().0, b"secret");
    assert_eq!(member.write(&file, 0, UNSTABLE, b"x").unwrap_err(), ACCES);
    assert_eq!(member.setattr(&file, &Set::mode(0o666), None).unwrap_err(), PERM);
    assert_eq!(member.setattr(&file, &Set { size: Some(0), ..Set::default() }, None).unwrap_err(), ACCES);

    let mut other = served.client(Cred::user(1002));
    assert_eq!(other.access(&file, ALL).unwrap(), 0);
    assert_eq!(other.read(&file, 0, 10).unwrap_err(), ACCES);
    assert_eq!(other.commit(&file).unwrap_err(), ACCES);
    let mut root = served.client(Cred::user(0));
    assert_eq!(root.read(&file, 0, 10).unwrap().0, b"secret");
}

#[test]
fn directories_ask_for_search_read_and_write_separately() {
    let served = Served::start();
    let (mut owner, data) = served.user(1000);
    let dir = owner.mkdir(&data, "d", &Set::mode(0o711)).unwrap().handle;
    owner.file(&dir, "f");
    let mut other = served.client(Cred::user(1002));
    assert_eq!(other.access(&dir, ALL).unwrap(), LOOKUP);
    other.lookup(&dir, "f").unwrap();
    assert_eq!(other.readdir(&dir, 0, [0; 8], 4096).unwrap_err(), ACCES);
    assert_eq!(other.remove(&dir, "f").unwrap_err(), ACCES);
    assert_eq!(other.mkdir(&dir, "x", &Set::default()).unwrap_err(), ACCES);
    owner.setattr(&dir, &Set::mode(0o700), None).unwrap();
    assert_eq!(other.lookup(&dir, "f").unwrap_err(), ACCES);
    assert_eq!(owner.access(&dir, ALL).unwrap(), READ | LOOKUP | MODIFY | EXTEND | DELETE);
    owner.setattr(&dir, &Set::mode(0o1777), None).unwrap();
    assert_eq!(other.remove(&dir, "f").unwrap_err(), PERM, "a sticky directory");
}

#[test]
fn the_owner_of_an_open_file_may_go_on_when_the_mode_says_otherwise_and_programs_can_be_run() {
    let served = Served::start();
    let (mut owner, data) = served.user(1000);
    let file = owner.create(&data, "f", 1, &Set::mode(0o000)).unwrap().handle;
    owner.write(&file, 0, UNSTABLE, b"mine").unwrap();
    assert_eq!(owner.read(&file, 0, 10).unwrap().0, b"mine");
    owner.setattr(&file, &Set::mode(0o711), None).unwrap();
    let mut other = served.client(Cred::user(1002));
    assert_eq!(other.access(&file, ALL).unwrap(), EXECUTE);
    assert_eq!(other.read(&file, 0, 10).unwrap().0, b"mine");
}

#[test]
fn root_is_squashed_unless_the_rule_says_otherwise() {
    let mut squashing = export("/data");
    squashing.squash = Squash::Root;
    let served = Served::with(config(vec![squashing, export("/other")]));
    let (mut client, data) = served.root();
    let made = client.create(&data, "f", 1, &Set::mode(0o600)).unwrap();
    assert_eq!((made.attr.uid, made.attr.gid), (ANON, ANON));
    assert_eq!(client.setattr(&made.handle, &Set { uid: Some(5), ..Set::default() }, None).unwrap_err(), PERM);
    let other = client.mount("/other").unwrap().unwrap();
    assert_eq!(client.create(&other, "f", 1, &Set::default()).unwrap().attr.uid, 0);
}

#[test]
fn calls_without_credentials_are_the_anonymous_user_s() {
    let served = Served::start();
    let mut client = served.client(Cred::None);
    let data = client.mount("/data").unwrap().unwrap();
    assert_eq!(client.create(&data, "f", 1, &Set::default()).unwrap().attr.uid, ANON);
}

#[test]
fn only_addresses_of_a_rule_get_in_even_with_a_handle() {
    let mut rule = export("/data");
    rule.clients = vec!["127.0.0.1/32".parse().unwrap()];
    let served = Served::with(config(vec![rule]));
    let (mut client, data) = served.root();
    client.file(&data, "f");
    let mut stranger = served.client_from(2);
    assert_eq!(stranger.mount("/data").unwrap().unwrap_err(), ACCES);
    assert_eq!(stranger.getattr(&data).unwrap_err(), ACCES);
    assert!(!stranger.call(MOUNT, 5, &Args::default()).unwrap().bool().unwrap(), "and sees no exports");
    // A changed rule applies to handles given out before.
    let mut narrower = export("/data");
    narrower.clients = vec!["127.0.0.2/32".parse().unwrap()];
    served.door().set_exports(vec![narrower]).unwrap();
    assert_eq!(client.lookup(&data, "f").unwrap_err(), ACCES);
    stranger.lookup(&data, "f").unwrap();
}

#[test]
fn a_rule_may_ask_for_a_privileged_port() {
    let mut rule = export("/data");
    rule.privileged_port = true;
    let served = Served::with(config(vec![rule]));
    let mut client = served.client(Cred::user(0));
    assert_eq!(client.mount("/data").unwrap().unwrap_err(), PERM);
}

#[test]
fn who_is_a_user_makes_folders_and_files_at_the_top_by_a_right_and_others_by_the_mode() {
    let served = Served::with(config(vec![export("/")]));
    served.ns().set_rights(std::collections::HashMap::from([(1000, true), (1001, false)]));
    let root_of = |client: &mut super::client::Client| client.mount("/").unwrap().unwrap();
    let mut ada = served.client(Cred::user(1000));
    let top = root_of(&mut ada);
    assert_eq!(ada.access(&top, ALL).unwrap() & (MODIFY | EXTEND | DELETE), MODIFY | EXTEND | DELETE);
    for name in ["New folder", "line\nbreak", ".Trash-1000", "Größe"] {
        let made = ada.mkdir(&top, name, &Set::mode(0o700)).unwrap();
        assert_eq!(made.attr.uid, 1000);
        ada.file(&made.handle, "inside");
        ada.rename((&top, name), (&top, "My Files")).unwrap();
        assert_eq!(ada.lookup(&top, "My Files").unwrap().0, made.handle, "the handle stays");
        ada.remove(&made.handle, "inside").unwrap();
        ada.rmdir(&top, "My Files").unwrap();
    }
    for name in [".DS_Store", "._.DS_Store", ".localized"] {
        let file = ada.file(&top, name);
        ada.write(&file, 0, UNSTABLE, b"x").unwrap();
        ada.rename((&top, name), (&top, "renamed")).unwrap();
        ada.remove(&top, "renamed").unwrap();
    }
    ada.mkdir(&top, "Ada", &Set::mode(0o755)).unwrap();
    for uid in [1001, 1002] {
        let mut other = served.client(Cred::user(uid));
        assert_eq!(other.access(&top, MODIFY | EXTEND).unwrap(), 0);
        assert_eq!(other.mkdir(&top, "Other", &Set::default()).unwrap_err(), ACCES);
        assert!(other.rmdir(&top, "Ada").is_err() && other.rename((&top, "Ada"), (&top, "Mine")).is_err());
    }
    ada.rmdir(&top, "Ada").unwrap();
}

#[test]
fn an_export_is_of_a_folder_by_its_name_and_never_of_the_files_at_the_top() {
    let served = Served::with(config(vec![export("/My Files"), export("/top")]));
    let folder = served.ns().mkdir(&super::support::root(), strata_namespace::ROOT_INO, b"My Files", 0o755).unwrap();
    let mut client = served.client(Cred::user(0));
    let handle = client.mount("/My Files").unwrap().unwrap();
    assert_eq!(client.getattr(&handle).unwrap().fileid, folder.ino.0);
    assert!(client.mount("/top").unwrap().is_err(), "there is no such folder, and the root is not meant");
}
