//! What a serving process knows of itself: for the health check, `strata status` and the control socket.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::{Value, json};
use strata_door_admin::Readiness;
use strata_iam::Users;
use strata_namespace::Namespace;

use crate::config::{Config, StoreConfig};
use crate::control::{Answer, Request};
use crate::disks::Disks;
use crate::doors_file::Doors;
use crate::keeper::Keeper;
use crate::rates::Rates;
use crate::reclaim::Reclaim;
use crate::store::OpenStore;

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// A serving process.
pub(crate) struct Running {
    phase: AtomicU8,
    config: StoreConfig,
    namespace: Arc<Namespace>,
    users: Arc<Users>,
    keeper: Arc<Keeper>,
    disks: Arc<Disks>,
    /// Held by the one check that may run at a time.
    checking: Mutex<()>,
    /// What `doors.json` says, once it does.
    doors: Mutex<Option<Doors>>,
    reclaim: Arc<Reclaim>,
    /// Those of the doors, once they are open.
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
            users,
            keeper,
            disks,
            checking: Mutex::default(),
            doors: Mutex::default(),
            reclaim: Arc::default(),
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
                let health = self.namespace.health();
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
    pub(crate) fn status(&self) -> Value {
        let phase = match self.phase.load(Ordering::Acquire) {
            STARTING => "starting",
            SERVING => "serving",
            _ => "stopping",
        };
        let mut status = crate::status::of_store(&self.config, &self.namespace);
        status["keeper"] = self.keeper.status();
        status["server"] = json!({
            "phase": phase,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "doors": self.doors.lock().as_ref().map_or_else(|| json!({}), addresses),
            "per_second": self.rates.get().map(|rates| rates.shown()),
        });
        status
    }

    /// What the control socket answers.
    pub(crate) fn answer(self: Arc<Self>) -> Answer {
        Arc::new(move |request, progress| match request {
            Request::Status => Ok(self.status()),
            Request::Reclaim(request) => {
                let running = Arc::clone(&self);
                let ends = move || running.phase.load(Ordering::Acquire) == DRAINING;
                self.reclaim.answer(&self.namespace, request, ends)
            }
            Request::Keys => crate::keys::show(&self.config.data, &self.namespace),
            Request::Bucket(request) => {
                let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                let users = || Ok(Arc::clone(&self.users));
                crate::buckets::apply(&self.namespace, users, request, progress, &stopping)
            }
            Request::User(request) => {
                let answer = crate::user::apply(&self.namespace, &self.users, request)?;
                if let Err(error) = self.renew_shown_user() {
                    tracing::warn!(error = format!("{error:#}"), "doors.json names credentials of before");
                }
                Ok(answer)
            }
            Request::Disk(request) => self.disks.apply(self.namespace.store().ledger(), &self.keeper, request),
            Request::Set(request) => {
                let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                crate::sets::apply(&self.namespace, &self.keeper, &self.disks, request, progress, &stopping)
            }
            Request::Heal => self.keeper.heal(progress),
            Request::Scrub(request) => self.keeper.scrub(request, progress),
            Request::Fsck { contents } => {
                let Some(_one) = self.checking.try_lock() else {
                    anyhow::bail!("a check runs already; wait until it is through");
                };
                let stopping = || self.phase.load(Ordering::Acquire) == DRAINING;
                crate::fsck::beside_writers(&self.namespace, contents, progress, &stopping)
            }
        })
    }
}

/// Addresses of the doors, without their secrets.
fn addresses(doors: &Doors) -> Value {
    json!({
        "s3": doors.s3.as_ref().map(|s3| &s3.endpoint),
        "webdav": doors.webdav.as_ref().map(|dav| &dav.url),
        "nfs": doors.nfs.as_ref().map(|nfs| format!("{}:{}", nfs.host, nfs.port)),
        "mount": doors.mount.as_ref().map(|mount| &mount.path),
        "admin": doors.admin.as_ref().map(|admin| &admin.url),
    })
}
