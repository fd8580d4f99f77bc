//! The export rules, sentence by sentence.

use super::*;

fn export(path: &str, clients: &[&str]) -> Export {
    Export {
        path: path.to_owned(),
        clients: clients.iter().map(|text| text.parse().unwrap()).collect(),
        read_only: false,
        squash: Squash::Root,
        anon_uid: 65_534,
        anon_gid: 65_533,
        privileged_port: false,
    }
}

fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn sys(uid: u32, gid: u32, groups: &[u32]) -> Credential {
    Credential::Sys { uid, gid, groups: Arc::from(groups) }
}

fn identity(caller: &Caller) -> (u32, u32, Vec<u32>) {
    (caller.uid, caller.gid, caller.groups.to_vec())
}

#[test]
fn what_no_rule_admits_is_denied() {
    let table = ExportTable::new(vec![export("/photos", &["10.0.0.0/8"]), export("/empty", &[])]).unwrap();
    assert_eq!(table.mount(b"/photos", peer("192.0.2.1:900")).unwrap_err(), Refused::NotExported);
    assert_eq!(table.mount(b"/", peer("10.0.0.1:900")).unwrap_err(), Refused::NotExported);
    assert_eq!(table.mount(b"/music", peer("10.0.0.1:900")).unwrap_err(), Refused::NotExported);
    assert_eq!(table.mount(b"/empty", peer("10.0.0.1:900")).unwrap_err(), Refused::NotExported);
    assert!(!table.admits("192.0.2.1".parse().unwrap()));
    assert!(ExportTable::default().visible_to("127.0.0.1".parse().unwrap()).is_empty());
}

#[test]
fn the_first_rule_of_a_path_that_contains_the_client_decides() {
    let mut reader = export("/photos", &["10.0.0.7"]);
    reader.read_only = true;
    let table = ExportTable::new(vec![reader, export("/photos", &["10.0.0.0/8"])]).unwrap();
    let read_only = |text: &str| table.mount(b"/photos", peer(text)).unwrap().0.export.read_only;
    assert!(read_only("10.0.0.7:900"));
    assert!(!read_only("10.0.0.8:900"));
    assert_eq!(table.visible_to("10.0.0.7".parse().unwrap()).len(), 1);
}

#[test]
fn a_bucket_s_own_export_goes_before_the_whole_tree() {
    let table = ExportTable::new(vec![export("/", &["10.0.0.0/8"]), export("/photos", &["10.0.0.0/8"])]).unwrap();
    let mount = |path: &'static [u8]| {
        let (rule, below) = table.mount(path, peer("10.0.0.1:900")).unwrap();
        (rule.export.path.clone(), below)
    };
    assert_eq!(mount(b"/photos/2020//may/"), ("/photos".to_owned(), vec![b"2020".as_slice(), b"may"]));
    assert_eq!(mount(b"/music"), ("/".to_owned(), vec![b"music".as_slice()]));
    assert_eq!(mount(b""), ("/".to_owned(), vec![]));
}

#[test]
fn a_privileged_port_is_asked_for_on_every_call() {
    let mut strict = export("/photos", &["10.0.0.0/8"]);
    strict.privileged_port = true;
    let table = ExportTable::new(vec![strict]).unwrap();
    let id = ExportId::of("/photos");
    assert!(table.rule(id, peer("10.0.0.1:1023")).is_ok());
    assert_eq!(table.rule(id, peer("10.0.0.1:1024")).unwrap_err(), Refused::PortNotPrivileged);
    assert_eq!(table.mount(b"/photos", peer("10.0.0.1:40000")).unwrap_err(), Refused::PortNotPrivileged);
}

#[test]
fn root_squash_replaces_uid_zero_and_group_zero_only() {
    let export = export("/", &[]);
    assert_eq!(identity(&export.caller(&sys(0, 0, &[0, 4]))), (65_534, 65_533, vec![]));
    assert_eq!(identity(&export.caller(&sys(1000, 0, &[0, 4]))), (1000, 65_533, vec![4]));
    assert_eq!(identity(&export.caller(&sys(1000, 100, &[4]))), (1000, 100, vec![4]));
    assert_eq!(identity(&export.caller(&Credential::Anonymous)), (65_534, 65_533, vec![]));
}

#[test]
fn all_squash_replaces_everybody_and_none_nobody() {
    let mut export = export("/", &[]);
    export.squash = Squash::All;
    assert_eq!(identity(&export.caller(&sys(1000, 100, &[4]))), (65_534, 65_533, vec![]));
    export.squash = Squash::None;
    assert_eq!(identity(&export.caller(&sys(0, 0, &[0]))), (0, 0, vec![0]));
    assert_eq!(identity(&export.caller(&Credential::Anonymous)), (65_534, 65_533, vec![]));
}

#[test]
fn paths_other_than_the_tree_and_its_buckets_are_refused() {
    for path in ["", "photos", "/photos/2020", "/..", "/.", "//", "/a\0"] {
        assert!(ExportTable::new(vec![export(path, &[])]).is_err(), "{path:?}");
    }
}
