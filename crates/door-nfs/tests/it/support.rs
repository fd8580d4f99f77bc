//! A door over a store in a temporary folder, served on a free port of this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use strata_door_nfs::{Export, NfsConfig, NfsDoor, NfsLimits, NfsLocks, Squash};
use strata_namespace::{Caller, ContentSettings, Durability, Namespace, Op, STORE};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{Disk, Ino, SystemClock, SystemEntropy};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::client::{Client, Cred};
use super::nfs::Handle;

/// The anonymous user of the exports here.
pub(crate) const ANON: u32 = 65_534;

/// A running door.
pub(crate) struct Served {
    door: Option<Arc<NfsDoor>>,
    pub(crate) address: SocketAddr,
    store: Option<OpenStore>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
    runtime: Option<Runtime>,
    folder: tempfile::TempDir,
    config: NfsConfig,
}

/// A rule for clients on this machine.
pub(crate) fn export(path: &str) -> Export {
    Export {
        path: path.to_owned(),
        clients: vec!["127.0.0.0/8".parse().unwrap()],
        read_only: false,
        squash: Squash::None,
        anon_uid: ANON,
        anon_gid: ANON,
        privileged_port: false,
    }
}

pub(crate) fn config(exports: Vec<Export>) -> NfsConfig {
    NfsConfig { exports, handle_secret: [7; 32], limits: NfsLimits::default(), locks: NfsLocks::default() }
}

pub(crate) fn root() -> Op {
    Op::new(Caller::root(&STORE))
}

fn open(folder: &Path) -> OpenStore {
    let disks = (0..3).map(|n| -> Arc<dyn Disk> {
        let path = folder.join(format!("disk{n}"));
        std::fs::create_dir_all(&path).unwrap();
        Arc::new(strata_disk::FileDisk::open_buffered(&path).unwrap())
    });
    let config = StoreConfig {
        disks: disks.collect(),
        create: Some(strata_ledger::Geometry { data_shards: 2, parity_shards: 1 }),
        index_dir: None,
        index_engine: None,
        index_cache_bytes: 1 << 20,
        ledger: strata_ledger::Options { segment_len: 16 << 20, ..strata_ledger::Options::default() },
        content: ContentSettings { cache_bytes: 16 << 20, ..ContentSettings::default() },
        owner: (0, 0),
        durability: Durability::Strict,
        threads: true,
    };
    OpenStore::open(config, Arc::new(SystemClock::new()), &SystemEntropy).unwrap()
}

impl Served {
    /// Buckets `data` (writable by everybody) and `other`, exported as `/`.
    pub(crate) fn start() -> Self {
        Self::with(config(vec![export("/")]))
    }

    pub(crate) fn with(config: NfsConfig) -> Self {
        Self::listening(config, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The same on another address of this machine, or on all.
    pub(crate) fn listening(config: NfsConfig, listen: IpAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut served = Self {
            store: Some(open(folder.path())),
            door: None,
            address: SocketAddr::new(listen, 0),
            stop: None,
            serving: None,
            runtime: None,
            folder,
            config,
        };
        let ns = served.ns();
        for bucket in [&b"data"[..], b"other"] {
            let op = root();
            ns.mkdir(&op, strata_namespace::ROOT_INO, bucket, 0o777).unwrap();
            ns.settle_blocking(&op).unwrap();
        }
        served.serve();
        served
    }

    pub(crate) fn door(&self) -> &NfsDoor {
        self.door.as_ref().unwrap()
    }

    pub(crate) fn ns(&self) -> Arc<Namespace> {
        Arc::clone(self.store.as_ref().unwrap().namespace())
    }

    fn serve(&mut self) {
        let door = NfsDoor::new(self.ns(), self.config.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind((self.address.ip(), 0))).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = runtime.spawn(strata_door_nfs::serve(listener, Arc::clone(&door), async {
            let _ = stopped.await;
        }));
        self.serving = Some(serving);
        (self.door, self.stop, self.runtime) = (Some(door), Some(stop), Some(runtime));
    }

    /// Serves portmap over UDP too, until what is returned is dropped.
    pub(crate) fn portmap_datagrams(&self) -> (SocketAddr, oneshot::Sender<()>) {
        let runtime = self.runtime.as_ref().unwrap();
        let socket = runtime.block_on(tokio::net::UdpSocket::bind((self.address.ip(), 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (door, port) = (Arc::clone(self.door.as_ref().unwrap()), self.address.port());
        runtime.spawn(strata_door_nfs::serve_portmap_datagrams(socket, door, port, async {
            let _ = stopped.await;
        }));
        (address, stop)
    }

    /// Has the door end in order, as a server does that is told to, and starts it again.
    pub(crate) fn stop_and_start(&mut self) {
        self.stop = None;
        let serving = self.serving.take().unwrap();
        self.runtime.as_ref().unwrap().block_on(serving).unwrap();
        self.restart();
    }

    /// Ends the door and the store without a word to clients, and starts both again over the same disks.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.store = Some(open(self.folder.path()));
        self.serve();
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
        self.door = None;
        self.store = None;
    }

    pub(crate) fn client(&self, cred: Cred) -> Client {
        Client::connect(self.address, cred).unwrap()
    }

    /// A client that is uid 0, and the handle of the bucket `data`.
    pub(crate) fn root(&self) -> (Client, Handle) {
        self.user(0)
    }

    /// The same for another user.
    pub(crate) fn user(&self, uid: u32) -> (Client, Handle) {
        let mut client = self.client(Cred::user(uid));
        let handle = client.mount("/data").unwrap().unwrap();
        (client, handle)
    }

    /// A client that calls from another address of this machine.
    pub(crate) fn client_from(&self, last: u8) -> Client {
        let socket = self.runtime.as_ref().unwrap().block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        });
        let socket: TcpStream = socket;
        socket.set_nonblocking(false).unwrap();
        Client::over(socket, Cred::user(0)).unwrap()
    }

    /// The inode of the bucket `data`.
    pub(crate) fn bucket(&self) -> Ino {
        self.ns().resolve(&root(), b"/data").unwrap().ino
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}
