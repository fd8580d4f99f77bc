//! The network doors: their ports, their tasks, and the one place where each door crate is called.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use strata_iam::{User, Users};
use strata_namespace::{Caller, Door, Namespace, Op};
use strata_seam::SystemEntropy;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Listen};
use crate::doors_file::{self, Doors};
use crate::ready::Protocol;
use crate::store::OpenStore;

/// Path of the NFS export: the root of the name space.
const NFS_EXPORT: &str = "/";

/// The ports, taken before anything else happens.
pub(crate) struct Listeners {
    s3: Option<TcpListener>,
    webdav: Option<TcpListener>,
    nfs: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Takes the port of every door that is not off. Those taken are given back if one of them cannot be.
    ///
    /// # Errors
    /// A port in use, an address that is not this machine's, a port that needs more rights.
    pub(crate) async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            s3: bind("s3", config.s3).await?,
            webdav: bind("webdav", config.webdav).await?,
            nfs: bind("nfs", config.nfs).await?,
            admin: bind("admin", config.admin).await?,
        })
    }
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

/// Who gets in, and with what.
pub(crate) struct Credentials {
    users: Arc<Users>,
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
        let users = Users::open(Arc::clone(store.namespace()))?;
        let op = Op::new(Caller::root(Door::Admin));
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let first = users.ensure_admin(&op, uid, gid, &SystemEntropy)?;
        store.namespace().settle_blocking(&op)?;
        let admin = match first {
            Some(admin) => admin,
            None => users
                .list()
                .into_iter()
                .find(|user| user.admin)
                .context("the store has no administrator")?,
        };
        let token = draw_token(&config.store.data)?;
        Ok(Self {
            users: Arc::new(users),
            admin,
            token,
        })
    }
}

/// Where the token of the admin door lies.
pub(crate) fn token_path(data: &Path) -> std::path::PathBuf {
    data.join("admin.token")
}

fn draw_token(data: &Path) -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    strata_seam::Entropy::fill(&SystemEntropy, &mut bytes);
    let token = hex::encode(bytes);
    doors_file::write_private(&token_path(data), token.as_bytes())?;
    Ok(token)
}

/// A network door that is open.
pub(crate) type OpenDoor = (&'static str, SocketAddr, Protocol);

/// All network doors while they serve.
pub(crate) struct OpenDoors {
    addresses: Vec<OpenDoor>,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: watch::Sender<bool>,
}

impl OpenDoors {
    /// Starts every door that has a port. Also says how to get in.
    ///
    /// # Errors
    /// A listener that does not know its own address.
    pub(crate) fn start(
        config: &Config,
        listeners: Listeners,
        store: &OpenStore,
        credentials: &Credentials,
    ) -> anyhow::Result<(Self, Doors)> {
        let mut doors = Self {
            addresses: Vec::new(),
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        };
        let mut announced = Doors::default();
        let (name, secret) = (&credentials.admin.name, credentials.admin.secret_key.expose());
        let namespace = store.namespace();
        if let Some(listener) = listeners.s3 {
            let address = doors.note("s3", &listener, Protocol::Http)?;
            announced.s3 = Some(doors_file::S3 {
                endpoint: format!("http://{address}"),
                region: config.region.clone(),
                access_key: credentials.admin.access_key.clone(),
                secret_key: secret.to_owned(),
            });
            let task = s3(listener, config, namespace, credentials, doors.told_to_stop());
            doors.spawn("s3", task);
        }
        if let Some(listener) = listeners.webdav {
            let address = doors.note("webdav", &listener, Protocol::Http)?;
            announced.webdav = Some(doors_file::WebDav {
                url: format!("http://{address}/"),
                user: name.clone(),
                password: secret.to_owned(),
            });
            let task = webdav(listener, namespace, credentials, doors.told_to_stop());
            doors.spawn("webdav", task);
        }
        if let Some(listener) = listeners.nfs {
            let address = doors.note("nfs", &listener, Protocol::Nfs)?;
            announced.nfs = Some(doors_file::Nfs {
                host: address.ip().to_string(),
                port: address.port(),
                mount_port: address.port(),
                export: NFS_EXPORT.to_owned(),
            });
            let task = nfs(listener, namespace, doors.told_to_stop());
            doors.spawn("nfs", task);
        }
        if let Some(listener) = listeners.admin {
            let address = doors.note("admin", &listener, Protocol::Http)?;
            announced.admin = Some(doors_file::Admin {
                url: format!("http://{address}"),
            });
            let task = admin(listener, store, credentials, doors.told_to_stop());
            doors.spawn("admin", task);
        }
        Ok((doors, announced))
    }

    fn note(&mut self, name: &'static str, listener: &TcpListener, protocol: Protocol) -> anyhow::Result<SocketAddr> {
        let address = listener
            .local_addr()
            .with_context(|| format!("the {name} door does not know its address"))?;
        self.addresses.push((name, address, protocol));
        Ok(address)
    }

    fn spawn<F>(&mut self, name: &'static str, door: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, door.await) });
    }

    /// Resolves when doors are to end.
    fn told_to_stop(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender outlives the doors; should it not, that too means stop.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// The doors and what they speak.
    pub(crate) fn addresses(&self) -> &[OpenDoor] {
        &self.addresses
    }

    /// Resolves when a door ends although nobody told it to, with the reason; never if there is no door.
    pub(crate) async fn one_ended(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Ok(())))) => anyhow::anyhow!("the {name} door closed by itself"),
            Some(Ok((name, Err(error)))) => error.context(format!("the {name} door failed")),
            Some(Err(error)) => anyhow::Error::new(error).context("a door failed"),
        }
    }

    /// Tells every door to take no new request.
    pub(crate) fn refuse_new(&self) {
        self.stop.send_replace(true);
    }

    /// Resolves when the last running request has its answer. Dropping `self` cuts off what still runs.
    pub(crate) async fn drained(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((door, Err(error))) => {
                    tracing::warn!(door, error = format!("{error:#}"), "the door did not end cleanly")
                }
                Err(error) => tracing::warn!(%error, "a door did not end cleanly"),
            }
        }
    }
}

fn s3(
    listener: TcpListener,
    config: &Config,
    namespace: &Arc<Namespace>,
    credentials: &Credentials,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let _ = (listener, config, namespace, &credentials.users, stop);
    async move { anyhow::bail!("pending") }
}

fn webdav(
    listener: TcpListener,
    namespace: &Arc<Namespace>,
    credentials: &Credentials,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let _ = (listener, namespace, &credentials.users, stop);
    async move { anyhow::bail!("pending") }
}

fn nfs(
    listener: TcpListener,
    namespace: &Arc<Namespace>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let _ = (listener, namespace, stop);
    async move { anyhow::bail!("pending") }
}

fn admin(
    listener: TcpListener,
    store: &OpenStore,
    credentials: &Credentials,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
    let _ = (listener, store, &credentials.token, stop);
    async move { anyhow::bail!("pending") }
}
