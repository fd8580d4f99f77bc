//! The state of a serving process: for the health check, `strata status` and the control socket.

pub(crate) mod messages;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use strata_door_admin::Readiness;
use strata_iam::Users;
use strata_namespace::Namespace;
use strata_runtime::Runtime;

use crate::config::{ByteSize, Config, StoreConfig};
use crate::control::Responder;
use crate::control::messages::Request;
use crate::disks::Disks;
use crate::doors_file::Doors;
use crate::fsck::BesideWriters;
use crate::greeting::plain_table;
use crate::keeper::Keeper;
use crate::operation::op_of;
use crate::rates::{DoorRates, Rates};
use crate::reclaim::Reclaim;
use crate::status::messages::Status;
use crate::store::OpenStore;
use crate::watch::Watches;
use messages::{DoorAddresses, ServerStatus};

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// A serving process.
pub(crate) struct Running {
    phase: AtomicU8,
    config: StoreConfig,
    namespace: Arc<Namespace>,
    runtime: Arc<Runtime>,
    users: Arc<Users>,
    keeper: Arc<Keeper>,
    disks: Arc<Disks>,
    check: BesideWriters,
    /// What `doors.json` says, once it does.
    doors: Mutex<Option<Doors>>,
    reclaim: Arc<Reclaim>,
    watches: Watches,
    /// Rates of the doors, once they are open.
    rates: OnceLock<Arc<Rates>>,
}

impl Running {
    /// A process whose doors are not open yet.
    pub(crate) fn new(
        config: &Config,
        store: &OpenStore,
        users: Arc<Users>,
        keeper: Arc<Keeper>,
        disks: Arc<Disks>,
    ) -> Self {
        Self {
            phase: AtomicU8::new(STARTING),
            config: config.store.clone(),
            namespace: Arc::clone(store.namespace()),
            runtime: Arc::clone(store.runtime()),
            users,
            keeper,
            disks,
            check: BesideWriters::of(store.runtime()),
            doors: Mutex::default(),
            reclaim: Arc::default(),
            watches: Watches::default(),
            rates: OnceLock::new(),
        }
    }

    /// How busy the doors are.
    pub(crate) fn set_rates(&self, rates: Arc<Rates>) {
        // Doors are opened once.
        let _ = self.rates.set(rates);
    }

    /// The doors are open.
    pub(crate) fn serves(&self, doors: &Doors) {
        *self.doors.lock() = Some(doors.clone());
        self.phase.store(SERVING, Ordering::Release);
    }

    /// The doors are closing.
    pub(crate) fn drains(&self) {
        self.phase.store(DRAINING, Ordering::Release);
    }

    /// Has `doors.json` name an administrator who gets in, with the secret of now.
    fn renew_shown_user(&self) -> anyhow::Result<()> {
        let mut published = self.doors.lock();
        let Some(before) = published.as_ref() else { return Ok(()) };
        let shown = before.webdav.as_ref().map(|dav| &dav.user);
        let known = before.s3.as_ref().and_then(|s3| self.users.by_access_key(&s3.access_key));
        let known = known.or_else(|| shown.and_then(|name| self.users.by_name(name))).filter(|user| user.admin);
        let first = || self.users.list().into_iter().find(|user| user.admin);
        let Some(user) = known.or_else(first) else { return Ok(()) };
        let doors = before.clone().with_user(&user);
        if doors != *before && self.phase.load(Ordering::Acquire) == SERVING {
            doors.publish(&self.config.data)?;
            *published = Some(doors);
        }
        Ok(())
    }

    /// Whether requests are served as promised.
    pub(crate) fn readiness(&self) -> Readiness {
        match self.phase.load(Ordering::Acquire) {
            STARTING => Readiness::NotReady("starting: not every door has answered yet".into()),
            DRAINING => Readiness::NotReady("stopping: no new requests are taken".into()),
            _ => {
                let health = self.runtime.health();
                match health.refusing {
                    Some(refusing) => Readiness::NotReady(crate::status::refusing_in_words(&refusing)),
                    None if health.read_only.is_some() => {
                        Readiness::NotReady(format!("read-only: {}", health.read_only.unwrap_or_default()))
                    }
                    None if health.index_broken => Readiness::NotReady(
                        "the index failed: restart the server to rebuild it; the data is intact".into(),
                    ),
                    None => Readiness::Ready,
                }
            }
        }
    }

    /// What `strata status` shows.
    pub(crate) fn status(&self) -> Status {
        let phase = match self.phase.load(Ordering::Acquire) {
            STARTING => "starting",
            SERVING => "serving",
            _ => "stopping",
        };
        let server = ServerStatus {
            phase: phase.to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            doors: self.doors.lock().as_ref().map_or_else(DoorAddresses::default, DoorAddresses::of),
            per_second: self.rates.get().map(|rates| rates.shown()),
        };
        Status::of_running(&self.config, &self.runtime, self.keeper.status(), server)
    }

    /// Whether every worker does what it is there for. One that fails keeps nobody from being served.
    pub(crate) fn workers(&self) -> Readiness {
        let crew = self.runtime.crew().status();
        let failing = crew.iter().filter_map(|worker| Some((worker, worker.failure.as_ref()?)));
        let lines: Vec<String> =
            failing.map(|(worker, failure)| crate::status::failure_in_words(&worker.name, failure)).collect();
        if lines.is_empty() { Readiness::Ready } else { Readiness::NotReady(lines.join("\n")) }
    }

    /// What the control socket answers.
    pub(crate) fn answer(self: Arc<Self>) -> Responder {
        Arc::new(move |request, progress| {
            self.namespace.administer(&op_of(request.command()))?;
            Ok(match request {
                Request::Status => self.status().into(),
                Request::Reclaim(request) => {
                    let running = Arc::clone(&self);
                    let ends = move || running.phase.load(Ordering::Acquire) == DRAINING;
                    self.reclaim.answer(&self.runtime, request, ends)?.into()
                }
                Request::Keys => crate::keys::show(&self.config.data, &self.namespace)?.into(),
                Request::Bucket(request) => {
                    let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                    let users = || Ok(Arc::clone(&self.users));
                    crate::buckets::apply(&self.namespace, users, request, progress, &stopping)?.into()
                }
                Request::Locks(request) => crate::locks::apply(&self.namespace, request)?.into(),
                Request::User(request) => {
                    let answer = crate::user::apply(&self.namespace, &self.users, request)?;
                    if let Err(error) = self.renew_shown_user() {
                        tracing::warn!(error = format!("{error:#}"), "doors.json names credentials of before");
                    }
                    answer.into()
                }
                Request::Disk(request) => self.disks.apply(&self.runtime.sets(), &self.keeper, request)?.into(),
                Request::Set(request) => {
                    let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                    crate::sets::apply(&self.runtime, &self.keeper, &self.disks, request, progress, &stopping)?.into()
                }
                Request::Watch(request) => self.watches.answer(&self.namespace, request)?.into(),
                Request::Heal => self.keeper.heal(progress)?.into(),
                Request::Scrub(request) => self.keeper.scrub(request, progress)?,
                Request::Fsck { contents } => {
                    let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                    self.check.check(&self.namespace, contents, progress, &stopping)?.into()
                }
            })
        })
    }
}

impl DoorAddresses {
    fn of(doors: &Doors) -> Self {
        Self {
            s3: doors.s3.as_ref().map(|s3| s3.endpoint.clone()),
            webdav: doors.webdav.as_ref().map(|dav| dav.url.clone()),
            nfs: doors.nfs.as_ref().map(|nfs| format!("{}:{}", nfs.host, nfs.port)),
            mount: doors.mount.as_ref().map(|mount| mount.path.clone()),
            admin: doors.admin.as_ref().map(|admin| admin.url.clone()),
        }
    }
}

impl ServerStatus {
    /// As people read it.
    pub(crate) fn in_words(&self) -> String {
        let DoorAddresses { s3, webdav, nfs, mount, admin } = &self.doors;
        let mount = mount.as_ref().map(|path| path.display().to_string());
        let mut table = plain_table(&["door", "address", "requests/s", "received/s", "sent/s"]);
        for (door, address) in [("s3", s3), ("webdav", webdav), ("nfs", nfs), ("mount", &mount), ("admin", admin)] {
            let Some(address) = address else { continue };
            let rates = self.per_second.as_ref().and_then(|rates| rates.get(door));
            let [requests, received, sent] = match rates {
                Some(DoorRates { requests, received, sent }) => {
                    [requests.to_string(), ByteSize(*received).to_string(), ByteSize(*sent).to_string()]
                }
                None => ["-", "-", "-"].map(str::to_owned),
            };
            table.add_row([door.to_owned(), address.clone(), requests, received, sent]);
        }
        format!("{} by process {}\n\n{table}\n", self.phase, self.pid)
    }
}
