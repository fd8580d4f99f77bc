//! Stores as earlier releases left them.

use std::path::Path;
use std::sync::Arc;

use strata_disk::FileDisk;
use strata_ledger::{Geometry, Options};
use strata_namespace::{Caller, ContentSettings, Durability, Namespace, Op, STORE};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, SystemClock, SystemEntropy};

use crate::s3::S3;
use crate::server::Place;

/// Disks of such a store.
pub(crate) const DISKS: u8 = 3;

/// A request of the store's own.
pub(crate) fn root() -> Op {
    Op::new(Caller::root(&STORE))
}

/// Makes a store in `data`, without a server, and closes it in good order.
pub(crate) fn make(data: &Path, fill: impl FnOnce(&Namespace)) {
    std::fs::create_dir(data).unwrap();
    let disks = (0..DISKS).map(|disk| {
        let folder = data.join(format!("disk{disk}"));
        std::fs::create_dir(&folder).unwrap();
        Arc::new(FileDisk::open(&folder).unwrap()) as Arc<dyn Disk>
    });
    let config = StoreConfig {
        disks: disks.collect(),
        create: Some(Geometry { data_shards: DISKS - 1, parity_shards: 1 }),
        index_dir: Some(data.join("index")),
        index_engine: None,
        index_cache_bytes: 4 << 20,
        ledger: Options { segment_len: 16 << 20, zero_ahead: false, ..Options::default() },
        content: ContentSettings { cache_bytes: 4 << 20, ..ContentSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: false,
    };
    let store = OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).unwrap();
    fill(store.namespace());
    let op = root();
    store.namespace().settle_blocking(&op).unwrap();
    store.close().unwrap();
}

/// Writes a user as the first releases did, secret in clear.
pub(crate) fn put_user(ns: &Namespace, name: &str, secret: &str, uid: u32, admin: bool) {
    let access_key = format!("{}KEY", name.to_uppercase());
    let record = serde_json::json!({
        "version": 1, "name": name, "access_key": access_key, "secret_key": secret, "uid": uid, "gid": uid,
        "groups": [], "admin": admin,
    });
    ns.put_setting(&root(), &format!("user/{name}"), Some(record.to_string().as_bytes())).unwrap();
}

#[test]
fn a_user_of_uid_0_who_is_no_administrator_gets_another_number_and_what_belongs_to_uid_0_is_listed() {
    let place = Place::new();
    make(&place.data(), |ns| {
        put_user(ns, "admin", "secret-of-the-admin", 0, true);
        put_user(ns, "eve", "secret-of-eve", 0, false);
        ns.create_bucket(&root(), "box", None).unwrap();
    });
    let server = place.serve(DISKS, &[]);
    let s3 = S3::of(&server);
    assert_eq!(s3.send("PUT", "/box/of-the-admin", "", &[], b"x").status, 200);
    let eve = s3.with_keys("EVEKEY", "secret-of-eve");
    assert_eq!(eve.send("GET", "/box/of-the-admin", "", &[], b"").status, 403);
    assert_eq!(eve.send("DELETE", "/box/of-the-admin", "", &[], b"").status, 403);
    // Eve could make buckets, and still can make her own.
    assert_eq!(eve.send("PUT", "/of-eve", "", &[], b"").status, 200);
    assert_eq!(s3.send("GET", "/box/of-the-admin", "", &[], b"").body, b"x");
    let log = server.log();
    assert!(
        log.contains("this user had uid 0") && log.contains("what belongs to uid 0") && log.contains("/box"),
        "{log}"
    );
    assert!(server.stop().success());
    let server = place.serve(DISKS, &[]);
    assert_eq!(server.log().matches("this user had uid 0").count(), 1, "said once");
    assert_eq!(S3::of(&server).with_keys("EVEKEY", "secret-of-eve").send("GET", "/of-eve", "", &[], b"").status, 200);
}
