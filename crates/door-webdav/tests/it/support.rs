//! A door on a free port over a store in a temporary folder, and short helpers for the tests.

use std::net::SocketAddr;
use std::sync::Arc;

use strata_check::check_store;
use strata_content::StoreSettings;
use strata_disk::FileDisk;
use strata_door_webdav::{DavConfig, DavMetrics, WebDavDoor, serve};
use strata_iam::{NewUser, SecretKey, Users};
use strata_keys::MasterKey;
use strata_ledger::{Geometry, Options};
use strata_namespace::{Caller, Door, DoorNumber, Durability, Namespace, Op, STORE};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, SystemClock, SystemEntropy};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, Reply};

static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

/// Draws the same for ever.
struct Fixed;

impl strata_seam::Entropy for Fixed {
    fn fill(&self, buf: &mut [u8]) {
        buf.fill(7);
    }
}

const PASSWORD: &str = "not-a-secret-at-all";

/// A serving door. Dropping it ends server and store; the folder goes with the last of them.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    running: Option<Running>,
    dir: Arc<TempDir>,
}

struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    store: OpenStore,
    users: Arc<Users>,
    metrics: Arc<DavMetrics>,
}

pub(crate) fn store_config(disks: Vec<Arc<dyn Disk>>) -> StoreConfig {
    StoreConfig {
        disks,
        create: Some(Geometry { data_shards: 2, parity_shards: 1 }),
        index_dir: None,
        index_engine: None,
        index_cache_bytes: 1 << 20,
        ledger: Options { segment_len: 16 << 20, ..Options::default() },
        content: StoreSettings { cache_bytes: 8 << 20, ..StoreSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: true,
    }
}

fn store_in(dir: &TempDir) -> OpenStore {
    let disks = (0..3).map(|n| -> Arc<dyn Disk> {
        let path = dir.path().join(format!("disk{n}"));
        std::fs::create_dir_all(&path).expect("a folder");
        Arc::new(FileDisk::open(&path).expect("a disk"))
    });
    let config = StoreConfig { index_dir: Some(dir.path().join("index")), ..store_config(disks.collect()) };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).expect("the store opens")
}

impl Server {
    /// A new store with the bucket `bkt`.
    pub(crate) fn start() -> Self {
        Self::with(DavConfig::default())
    }

    pub(crate) fn with(config: DavConfig) -> Self {
        let dir = Arc::new(TempDir::new().expect("a folder"));
        let server = Self::over(store_in(&dir), dir, config);
        server.client().ok("MKCOL", "/bkt");
        server
    }

    pub(crate) fn over(store: OpenStore, dir: Arc<TempDir>, config: DavConfig) -> Self {
        let ns = store.namespace().clone();
        let users = {
            // The same for every server of a test: a store is opened again with the key it was made with.
            let key = MasterKey::draw(&Fixed);
            Arc::new(Users::open(&root(), ns.clone(), key, Arc::new(SystemEntropy)).expect("users"))
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let door = WebDavDoor::new(ns, users.clone(), Arc::new(SystemEntropy), config);
        let metrics = Arc::clone(door.metrics());
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(async move {
            serve(listener, door, async { drop(stopped.await) }).await;
        });
        let server = Self { address, running: Some(Running { runtime, stop, task, store, users, metrics }), dir };
        if server.users().by_name("root").is_none() {
            server.add_user("root", 0, true);
        }
        server
    }

    pub(crate) fn add_user(&self, name: &str, uid: u32, admin: bool) {
        let op = Op::new(Caller::root(&STORE));
        let secret_key = Some(SecretKey::new(PASSWORD));
        let new = NewUser { name: name.into(), secret_key, uid: Some(uid), admin, ..NewUser::default() };
        self.users().create(&op, new, &SystemEntropy).expect("a user");
        self.ns().settle_blocking(&op).expect("settled");
    }

    /// An administrator.
    pub(crate) fn client(&self) -> Client {
        self.client_of("root")
    }

    pub(crate) fn client_of(&self, name: &str) -> Client {
        self.stranger().login(name, PASSWORD)
    }

    /// Somebody without credentials.
    pub(crate) fn stranger(&self) -> Client {
        Client::connect(self.address).expect("connected")
    }

    /// With a user of its own that is no administrator.
    pub(crate) fn user(&self, name: &str, uid: u32) -> Client {
        self.add_user(name, uid, false);
        self.client_of(name)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a server that runs")
    }

    pub(crate) fn ns(&self) -> &Arc<Namespace> {
        self.running().store.namespace()
    }

    /// What the door counts.
    pub(crate) fn metrics(&self) -> &DavMetrics {
        &self.running().metrics
    }

    pub(crate) fn users(&self) -> &Users {
        &self.running().users
    }

    /// Ends the server and starts another over the same disks.
    pub(crate) fn restart(mut self) -> Self {
        self.end();
        Self::over(store_in(&self.dir), self.dir.clone(), DavConfig::default())
    }

    fn end(&mut self) {
        let Some(Running { runtime, stop, task, store, users, .. }) = self.running.take() else { return };
        let _ = stop.send(());
        runtime.block_on(task).expect("the server ended");
        drop((runtime, users));
        store.close().expect("the store closed");
    }

    /// Every invariant of the store holds.
    pub(crate) fn sound(&self) {
        let report = check_store(self.ns(), true, &mut |_| {}).expect("checked");
        assert_eq!(report.violations, Vec::<String>::new());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Open connections of a test that has ended would be waited for.
        if let Some(running) = self.running.take() {
            drop(running.stop);
            running.runtime.shutdown_background();
        }
    }
}

pub(crate) fn root() -> Op {
    Op::new(Caller::root(&MOUNT))
}

/// Short words; every one of them fails the test if the connection breaks.
impl Client {
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }
    pub(crate) fn status(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask(method, path, headers, b"").status
    }
    #[track_caller]
    pub(crate) fn ok(&mut self, method: &str, path: &str) -> Reply {
        let reply = self.ask(method, path, &[], b"");
        assert!((200..300).contains(&reply.status), "{method} {path}: {} {}", reply.status, reply.text());
        reply
    }
    #[track_caller]
    pub(crate) fn put(&mut self, path: &str, body: &[u8]) -> Reply {
        let reply = self.ask("PUT", path, &[], body);
        assert!(matches!(reply.status, 201 | 204), "PUT {path}: {} {}", reply.status, reply.text());
        reply
    }
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Vec<u8> {
        let reply = self.ok("GET", path);
        assert!(reply.whole, "{path} broke off");
        reply.body
    }
    /// `DESTINATION` of a COPY or MOVE is a path here.
    pub(crate) fn to(&mut self, method: &str, path: &str, destination: &str, headers: &[(&str, &str)]) -> u16 {
        let mut all = vec![("destination", destination)];
        all.extend_from_slice(headers);
        self.status(method, path, &all)
    }
    /// The hrefs of a listing, in order.
    #[track_caller]
    pub(crate) fn list(&mut self, path: &str) -> Vec<String> {
        let body = "<propfind xmlns='DAV:'><prop><resourcetype/></prop></propfind>";
        let reply = self.ask("PROPFIND", path, &[("depth", "1")], body.as_bytes());
        assert_eq!(reply.status, 207, "{}", reply.text());
        assert!(reply.whole, "the listing broke off");
        between(&reply.text(), "<D:href>", "</D:href>")
    }
    /// The value of a property, with its markup; `None` if the resource has it not.
    pub(crate) fn property(&mut self, path: &str, space: &str, name: &str) -> Option<String> {
        let body = format!("<propfind xmlns='DAV:'><prop><x:{name} xmlns:x='{space}'/></prop></propfind>");
        let reply = self.ask("PROPFIND", path, &[("depth", "0")], body.as_bytes());
        assert_eq!(reply.status, 207, "{}", reply.text());
        let text = reply.text();
        let (found, _) = text.split_once("HTTP/1.1 200 OK")?;
        let (_, prop) = found.split_once("<D:prop>")?;
        Some(prop.split("</D:prop>").next().unwrap_or_default().to_owned())
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    #[track_caller]
    pub(crate) fn expect(&self, name: &str) -> String {
        self.header(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers)).to_owned()
    }
}

pub(crate) fn between(text: &str, open: &str, close: &str) -> Vec<String> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close)).map(|(inner, _)| inner.to_owned()).collect()
}

/// Bytes that neither compress nor repeat.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
