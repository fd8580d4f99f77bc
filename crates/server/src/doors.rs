//! The network doors: their ports, their tasks, and the one place where each door crate is called.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use strata_door_admin::{AdminDoor, Source, SpaceSource, Token};
use strata_door_nfs::{Export, NfsConfig, NfsDoor, NfsLimits, NfsLocks, Squash};
use strata_door_s3::{S3Config, S3Door};
use strata_door_webdav::{DavConfig, WebDavDoor};
use strata_gate::{Budget, Shares};
use strata_iam::{User, Users};
use strata_namespace::{Caller, Namespace, Op, STORE};
use strata_seam::{Clock, Entropy, SystemClock, SystemEntropy};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Listen, NfsSquash};
use crate::doors_file::{self, Doors};
use crate::lock::{self, StoreLock};
use crate::metrics::{NfsSource, S3Source, WebDavSource};
use crate::process::ProcessSource;
use crate::rates::{self, Rates};
use crate::ready::Protocol;
use crate::running::Running;
use crate::store::OpenStore;

/// How often a port is tried after the process that had the store has released it.
const AFTER_LOCK_LOOKS: u8 = 50;
/// Path of the NFS export: the root of the name space.
const NFS_EXPORT: &str = "/";
/// Where clients ask for the ports of NFS and MOUNT (RFC 1833).
const PORTMAP_PORT: u16 = 111;
/// Setting of the store that holds the secret behind NFS file handles.
const HANDLE_SECRET_KEY: &str = "nfs/handle-secret";
/// The uid of a squashed NFS user if root runs the server.
const NOBODY: u32 = 65_534;

/// The ports, taken before anything else happens.
pub(crate) struct Listeners {
    s3: Option<TcpListener>,
    webdav: Option<TcpListener>,
    nfs: Option<TcpListener>,
    portmap: Option<Portmap>,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Takes the port of every door that is not off. Those taken are given back if one of them cannot be. Where a process
    /// that has the store has the port too, it may be one that is ending, and is waited for as the lock does.
    ///
    /// # Errors
    /// A port in use, an address that is not this machine's, a port that needs more rights.
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Self> {
        // The kernel closes what a killed process had open in an order of its own: the lock may be released before a port.
        let mut looks_at_free_store = AFTER_LOCK_LOOKS;
        for _ in 0..lock::PATIENCE.as_millis() / lock::LOOK_EVERY.as_millis() {
            let bound = Self::bind_once(config).await;
            let cause = bound.as_ref().err().and_then(|error| error.downcast_ref::<std::io::Error>());
            let in_use = cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::AddrInUse);
            if !in_use {
                return bound;
            }
            if StoreLock::holder(&config.store.data).is_none() {
                if looks_at_free_store == 0 {
                    return bound;
                }
                looks_at_free_store -= 1;
            }
            tokio::time::sleep(lock::LOOK_EVERY).await;
        }
        Self::bind_once(config).await
    }

    async fn bind_once(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            s3: bind("s3", config.s3).await?,
            webdav: bind("webdav", config.webdav).await?,
            nfs: bind("nfs", config.nfs).await?,
            portmap: portmap(config).await?,
            admin: bind("admin", config.admin).await?,
        })
    }
}

/// Port 111 over both protocols.
struct Portmap {
    streams: TcpListener,
    datagrams: UdpSocket,
}

/// Takes port 111 of the NFS door's address, if it is asked for.
async fn portmap(config: &Config) -> anyhow::Result<Option<Portmap>> {
    let (true, Listen::At(nfs)) = (config.nfs_portmap, config.nfs) else { return Ok(None) };
    let address = SocketAddr::new(nfs.ip(), PORTMAP_PORT);
    let taken = || {
        format!(
            "portmap cannot be answered on {address}, a port that needs root and that rpcbind takes if it runs; leave --nfs-portmap out and give clients the ports, as in port=12049,mountport=12049"
        )
    };
    Ok(Some(Portmap {
        streams: TcpListener::bind(address).await.with_context(taken)?,
        datagrams: UdpSocket::bind(address).await.with_context(taken)?,
    }))
}

async fn bind(door: &str, listen: Listen) -> anyhow::Result<Option<TcpListener>> {
    match listen {
        Listen::Off => Ok(None),
        Listen::At(address) => TcpListener::bind(address).await.map(Some).with_context(|| {
            format!(
                "the {door} door cannot listen on {address}; give it another address with --{door}-listen, or let all \
                 doors take free ports with --ports auto"
            )
        }),
    }
}

/// The credentials for the doors.
pub(crate) struct Credentials {
    /// Everybody.
    pub(crate) users: Arc<Users>,
    /// The administrator shown to the operator.
    admin: Arc<User>,
    /// Bearer token of the admin door.
    token: String,
}

impl Credentials {
    /// Reads the users, makes the first administrator if there is none, and draws a fresh token for the admin door into
    /// `DIR/admin.token`.
    ///
    /// # Errors
    /// Users that cannot be read or stored, a token that cannot be written.
    pub(crate) fn of(config: &Config, store: &OpenStore) -> anyhow::Result<Self> {
        let users = crate::user::open(&config.store.data, store.namespace())?;
        let op = Op::new(Caller::root(&STORE));
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let first = users.ensure_admin(&op, uid, gid, &SystemEntropy)?;
        store.namespace().settle_blocking(&op)?;
        let admin = match first {
            Some(admin) => admin,
            None => users.list().into_iter().find(|user| user.admin).context("the store has no administrator")?,
        };
        let token = draw_token(&config.store.data)?;
        Ok(Self { users, admin, token })
    }
}

/// Where the token of the admin door lies.
pub(crate) fn token_path(data: &Path) -> std::path::PathBuf {
    data.join("admin.token")
}

fn draw_token(data: &Path) -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    let token = hex::encode(bytes);
    doors_file::write_private(&token_path(data), token.as_bytes())?;
    Ok(token)
}

/// A network door that is open.
pub(crate) type OpenDoor = (&'static str, SocketAddr, Protocol);

/// All network doors while they serve.
pub(crate) struct OpenDoors {
    addresses: Vec<OpenDoor>,
    tasks: JoinSet<&'static str>,
    /// The admin door, which tells how the others end.
    admin: JoinSet<&'static str>,
    admin_stop: watch::Sender<bool>,
    /// What goes on beside the doors as long as they are open; ends with this.
    helpers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl OpenDoors {
    /// Starts every door that has a port. Also says how to get in. `sources` are numbers of doors that are open already,
    /// `others` those of the rest of the store, which the admin door publishes beside them.
    ///
    /// # Errors
    /// A door that refuses its settings, or cannot read what it keeps in the store.
    pub(crate) fn start(
        config: &Config,
        listeners: Listeners,
        store: &OpenStore,
        credentials: &Credentials,
        running: &Arc<Running>,
        mut sources: Vec<Arc<dyn Source>>,
        others: Vec<Arc<dyn Source>>,
    ) -> anyhow::Result<(Self, Doors)> {
        let mut doors = Self {
            addresses: Vec::new(),
            tasks: JoinSet::new(),
            admin: JoinSet::new(),
            admin_stop: watch::Sender::new(false),
            helpers: JoinSet::new(),
            stop: watch::Sender::new(false),
        };
        let mut announced = Doors::default();
        let admin = &credentials.admin;
        let bodies = Budget::new(config.store.memory.bodies);
        if let Some(listener) = listeners.s3 {
            let address = doors.note("s3", &listener, Protocol::Http)?;
            announced.s3 = Some(doors_file::S3 {
                endpoint: format!("http://{address}"),
                region: config.region.clone(),
                access_key: admin.access_key.clone(),
                secret_key: admin.secret_key.expose().to_owned(),
            });
            let door = s3(config, store, credentials, &bodies)?;
            sources.push(S3Source::of(&door));
            let stop = doors.told_to_stop();
            doors.spawn("s3", strata_door_s3::serve(listener, door, stop));
        }
        if let Some(listener) = listeners.webdav {
            let address = doors.note("webdav", &listener, Protocol::Http)?;
            announced.webdav = Some(doors_file::WebDav {
                url: format!("http://{address}/"),
                user: admin.name.clone(),
                password: admin.secret_key.expose().to_owned(),
            });
            let door = webdav(config, store, credentials, &bodies);
            sources.push(Arc::new(WebDavSource(Arc::clone(&door))));
            let stop = doors.told_to_stop();
            doors.spawn("webdav", strata_door_webdav::serve(listener, door, stop));
        }
        if let Some(listener) = listeners.nfs {
            let address = doors.note("nfs", &listener, Protocol::Nfs)?;
            announced.nfs = Some(doors_file::Nfs {
                host: address.ip().to_string(),
                port: address.port(),
                mount_port: address.port(),
                export: NFS_EXPORT.to_owned(),
                portmap: listeners.portmap.is_some(),
            });
            let door = nfs(config, store)?;
            sources.push(Arc::new(NfsSource(Arc::clone(&door))));
            if let Some(Portmap { streams, datagrams }) = listeners.portmap {
                let (over_tcp, over_udp) = (Arc::clone(&door), Arc::clone(&door));
                let (tcp_stop, udp_stop) = (doors.told_to_stop(), doors.told_to_stop());
                doors.spawn("portmap", async move {
                    tokio::join!(
                        strata_door_nfs::serve_portmap(streams, over_tcp, address.port(), tcp_stop),
                        strata_door_nfs::serve_portmap_datagrams(datagrams, over_udp, address.port(), udp_stop),
                    );
                });
            }
            let stop = doors.told_to_stop();
            doors.spawn("nfs", strata_door_nfs::serve(listener, door, stop));
        }
        let rates = Arc::new(Rates::of(sources.clone()));
        running.set_rates(Arc::clone(&rates));
        sources.push(Arc::clone(&rates) as Arc<dyn Source>);
        sources.extend(others);
        sources.push(Arc::new(ProcessSource::new()));
        sources.push(Arc::new(SpaceSource(Arc::clone(store.runtime()))));
        doors.helpers.spawn(watch_rates(rates));
        if let Some(listener) = listeners.admin {
            let address = doors.note("admin", &listener, Protocol::Http)?;
            announced.admin = Some(doors_file::Admin { url: format!("http://{address}") });
            let (for_ready, for_status, for_workers) = (Arc::clone(running), Arc::clone(running), Arc::clone(running));
            let token = Token::new(&credentials.token);
            let door = AdminDoor::new(move || for_ready.readiness(), move || for_status.status(), token);
            let door = door.with_workers(move || for_workers.workers());
            let door = sources.into_iter().fold(door, AdminDoor::with);
            let stop = told(&doors.admin_stop);
            doors.admin.spawn(async move {
                strata_door_admin::serve(listener, door, stop).await;
                "admin"
            });
        }
        Ok((doors, announced))
    }

    fn note(&mut self, name: &'static str, listener: &TcpListener, protocol: Protocol) -> anyhow::Result<SocketAddr> {
        let address = listener.local_addr().with_context(|| format!("the {name} door does not know its address"))?;
        self.addresses.push((name, address, protocol));
        Ok(address)
    }

    fn spawn(&mut self, name: &'static str, door: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            door.await;
            name
        });
    }

    /// Resolves when doors are to end.
    fn told_to_stop(&self) -> impl Future<Output = ()> + Send + use<> {
        told(&self.stop)
    }

    /// The doors and what they speak.
    pub(crate) fn addresses(&self) -> &[OpenDoor] {
        &self.addresses
    }

    /// Resolves when a door ends although nobody told it to, with the reason; never if there is no door.
    pub(crate) async fn one_ended(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.tasks.join_next() => Some(ended),
            Some(ended) = self.admin.join_next() => Some(ended),
            else => None,
        };
        match ended {
            None => std::future::pending().await,
            Some(Ok(name)) => anyhow::anyhow!("the {name} door closed by itself"),
            Some(Err(error)) => anyhow::Error::new(error).context("a door failed"),
        }
    }

    /// Tells every door to take no new request.
    pub(crate) fn refuse_new(&self) {
        self.stop.send_replace(true);
    }

    /// Resolves when the last running request has its answer. Dropping `self` cuts off what still runs.
    pub(crate) async fn drained(&mut self) {
        join(&mut self.tasks).await;
        self.admin_stop.send_replace(true);
        join(&mut self.admin).await;
    }
}

/// Resolves when `stop` is set.
fn told(stop: &watch::Sender<bool>) -> impl Future<Output = ()> + Send + use<> {
    let mut stop = stop.subscribe();
    async move {
        // The sender outlives the doors; should it not, that too means stop.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

async fn join(tasks: &mut JoinSet<&'static str>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::warn!(%error, "a door did not end cleanly");
        }
    }
}

/// Looks at the doors' counters every second.
async fn watch_rates(rates: Arc<Rates>) {
    let clock = SystemClock::new();
    let mut ticks = tokio::time::interval(rates::LOOK_EVERY);
    loop {
        ticks.tick().await;
        rates.look(clock.monotonic_nanos());
    }
}

/// Connections that one door may have open: what was asked for, unless the disks would lack descriptors.
fn connections_max(config: &Config) -> usize {
    let most = crate::descriptors::shares(config.store.disks.len()).connections;
    config.connections.map_or(most, |asked| asked.min(most))
}

fn s3(config: &Config, store: &OpenStore, credentials: &Credentials, bodies: &Arc<Budget>) -> anyhow::Result<S3Door> {
    let settings = S3Config {
        region: config.region.clone(),
        domains: config.domains.clone(),
        sigv2: config.s3_sigv2,
        connections_max: connections_max(config),
        in_flight_max: config.requests,
        drain: config.drain,
        bodies: Arc::clone(bodies),
        documents: Shares::new(count(config.store.memory.documents)),
        ..S3Config::default()
    };
    Ok(S3Door::new(Arc::clone(store.namespace()), Arc::clone(&credentials.users), settings)?)
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn webdav(config: &Config, store: &OpenStore, credentials: &Credentials, bodies: &Arc<Budget>) -> Arc<WebDavDoor> {
    let usual = DavConfig::default();
    let settings = DavConfig {
        connections_max: connections_max(config),
        in_flight_max: config.requests,
        drain_timeout: config.drain,
        url_authority: config.webdav_authority.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        bodies: Arc::clone(bodies),
        ..usual
    };
    let (namespace, users) = (Arc::clone(store.namespace()), Arc::clone(&credentials.users));
    WebDavDoor::new(namespace, users, Arc::new(SystemEntropy), settings)
}

fn nfs(config: &Config, store: &OpenStore) -> anyhow::Result<Arc<NfsDoor>> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let local = config.nfs_clients_are_local();
    let squash = config.nfs_squash.unwrap_or(if uid.is_root() && local { NfsSquash::None } else { NfsSquash::Root });
    let (anon_uid, anon_gid) = if uid.is_root() { (NOBODY, NOBODY) } else { (uid.as_raw(), gid.as_raw()) };
    let export = Export {
        path: NFS_EXPORT.to_owned(),
        clients: config.nfs_clients.clone(),
        read_only: false,
        squash: match squash {
            NfsSquash::None => Squash::None,
            NfsSquash::Root => Squash::Root,
            NfsSquash::All => Squash::All,
        },
        anon_uid,
        anon_gid,
        // If claims to be root are believed, they must at least come from a privileged port.
        privileged_port: squash == NfsSquash::None,
    };
    let records = count(config.store.memory.records);
    let usual = NfsLimits::default();
    let limits = NfsLimits {
        connections_max: connections_max(config),
        drain_timeout: config.drain,
        request_bytes_max: records,
        request_bytes_per_connection_max: records.min(usual.request_bytes_per_connection_max),
        reply_bytes_max: records,
        reply_bytes_per_connection_max: records.min(usual.reply_bytes_per_connection_max),
        reply_cache_bytes_max: count(config.store.memory.table),
        cookie_cache_bytes_max: count(config.store.memory.table),
        ..usual
    };
    let handle_secret = handle_secret(store.namespace())?;
    let locks = NfsLocks {
        grace: config.nfs_grace,
        server_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ..NfsLocks::default()
    };
    let config = NfsConfig { exports: vec![export], handle_secret, limits, locks };
    let door = NfsDoor::new(Arc::clone(store.namespace()), config);
    door.context("the nfs door cannot be opened")
}

/// The secret that file handles are proven with: drawn once per store and kept in it, so that clients' handles outlive
/// every restart.
fn handle_secret(namespace: &Namespace) -> anyhow::Result<[u8; 32]> {
    let op = Op::new(Caller::root(&STORE));
    let unreadable = "the secret of the nfs door's file handles cannot be read";
    if let Some(stored) = namespace.setting(&op, HANDLE_SECRET_KEY).context(unreadable)? {
        return <[u8; 32]>::try_from(stored.as_slice())
            .map_err(|_| anyhow::anyhow!("{unreadable}: it has {} bytes instead of 32", stored.len()));
    }
    let mut secret = [0; 32];
    SystemEntropy.fill(&mut secret);
    namespace.put_setting(&op, HANDLE_SECRET_KEY, Some(&secret))?;
    namespace.settle_blocking(&op)?;
    Ok(secret)
}
