//! Serves S3 over a store in a temporary folder until the process is ended, for trying clients against the door.
//!
//! Prints one line: endpoint, access key, secret key.

use std::sync::Arc;

use strata_disk::FileDisk;
use strata_door_s3::{S3Config, S3Door, serve};
use strata_iam::Users;
use strata_keys::MasterKey;
use strata_ledger::{Geometry, Options};
use strata_namespace::{Caller, Op, STORE};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{SystemClock, SystemEntropy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk)?;
    let config = StoreConfig {
        disks: vec![Arc::new(FileDisk::open_buffered(&disk)?)],
        create: Some(Geometry { data_shards: 1, parity_shards: 0 }),
        index_dir: Some(dir.path().join("index")),
        index_engine: None,
        index_cache_bytes: 64 << 20,
        ledger: Options::default(),
        content: strata_content::StoreSettings::default(),
        owner: (0, 0),
        durability: strata_namespace::Durability::default(),
        threads: true,
    };
    let store = OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy)?;
    let ns = Arc::clone(store.namespace());
    let op = Op::new(Caller::root(&STORE));
    let users = Arc::new(Users::open(&op, Arc::clone(&ns), MasterKey::draw(&SystemEntropy), Arc::new(SystemEntropy))?);
    let admin = users.ensure_admin(&op, 1000, 1000, &SystemEntropy)?.ok_or("the store is not new")?;
    let door = S3Door::new(ns, users, S3Config::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{} {} {}", listener.local_addr()?, admin.access_key, admin.secret_key.expose());
        let interrupted = async {
            let _ = tokio::signal::ctrl_c().await;
        };
        serve(listener, door, interrupted).await;
        Ok::<_, std::io::Error>(())
    })?;
    store.close()?;
    Ok(())
}
