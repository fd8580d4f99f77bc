//! All users: looked up on every request, changed rarely.
//!
//! The whole set is an immutable value behind a lock that is held for a pointer copy only; changes are made one at a
//! time, first in the store, then here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use strata_keys::{KeyId, MasterKey};
use strata_namespace::{Caller, ErrorKind, Namespace, Op, STORE};
use strata_seam::Entropy;

use crate::secret::draw_access_key;
use crate::store::Records;
use crate::user::check;
use crate::{IamError, NewUser, SecretKey, User, record};

/// Most users of one store: they are all held in memory, about 1 KiB each.
const USERS_MAX: usize = 10_000;
/// Name of the user created at first start.
const FIRST_ADMIN: &str = "admin";
/// The first uid given to a user who asks for none: above those of people and services on common systems.
const UID_MIN: u32 = 100_000;
/// Above these there is room for what clients take for negative numbers.
const UID_MAX: u32 = i32::MAX as u32;

#[derive(Clone, Default)]
struct Known {
    by_name: HashMap<String, Arc<User>>,
    by_access_key: HashMap<String, Arc<User>>,
}

impl Known {
    fn insert(&mut self, user: Arc<User>) {
        self.by_access_key.insert(user.access_key.clone(), Arc::clone(&user));
        self.by_name.insert(user.name.clone(), user);
    }
    fn remove(&mut self, user: &User) {
        self.by_access_key.remove(&user.access_key);
        self.by_name.remove(&user.name);
    }
    /// Which uids may make buckets: of users who share one, one with the right is enough.
    fn rights(&self) -> HashMap<u32, bool> {
        let mut rights = HashMap::new();
        for user in self.by_name.values() {
            *rights.entry(user.uid).or_default() |= user.admin || user.may_make_buckets;
        }
        rights
    }
    fn check_free(&self, user: &User) -> Result<(), IamError> {
        if self.by_name.contains_key(&user.name) {
            return Err(IamError::NameTaken { name: user.name.clone() });
        }
        if self.by_access_key.contains_key(&user.access_key) {
            return Err(IamError::AccessKeyTaken { access_key: user.access_key.clone() });
        }
        if self.by_name.len() >= USERS_MAX {
            return Err(IamError::TooMany { limit: USERS_MAX });
        }
        Ok(())
    }
}

/// A setting that exists from before the first clear secret is sealed until the program that runs the store has erased the traces of
/// clear secrets. That program chooses its value; empty at first.
pub const CLEAR_LEFT: &str = "users/clear-secrets";

/// A user who had uid 0 without being an administrator, as earlier releases made them, and has another one now. What was made
/// until then belongs to uid 0, and so to the administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renumbered {
    /// The user's name.
    pub name: String,
    /// The uid from now on.
    pub uid: u32,
}

/// The users of a store.
pub struct Users {
    records: Arc<dyn Records>,
    key: MasterKey,
    entropy: Arc<dyn Entropy>,
    renumbered: Vec<Renumbered>,
    known: RwLock<Arc<Known>>,
    changing: Mutex<()>,
    /// Compared against when the name is unknown, so that a wrong name costs what a wrong password costs.
    nobody: SecretKey,
}

impl Users {
    /// Reads all users of the store. Records of earlier releases are written anew where the store takes changes; durable once
    /// `op` is settled.
    ///
    /// # Errors
    /// [`IamError::Record`] if a record cannot be read: starting without one of the users, or with a restriction
    /// misread, would be worse than not starting. [`IamError::Store`] if the store cannot be read.
    pub fn open(op: &Op, ns: Arc<Namespace>, key: MasterKey, entropy: Arc<dyn Entropy>) -> Result<Self, IamError> {
        Ok(Self::from_records(op, ns, key, entropy, false)?.0)
    }

    /// As [`Users::open`], where the key that the secrets were sealed with is lost: users whose secret does not open with `key`
    /// get another one. Returns them, so that their secrets can be shown once.
    ///
    /// # Errors
    /// As for [`Users::open`].
    pub fn reset(
        op: &Op,
        ns: Arc<Namespace>,
        key: MasterKey,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Vec<Arc<User>>, IamError> {
        Ok(Self::from_records(op, ns, key, entropy, true)?.1)
    }

    /// The ids of the master keys that secrets of users are sealed with, with the number of those users. Those that stand in clear are
    /// not among them.
    ///
    /// # Errors
    /// As for [`Users::open`].
    pub fn sealed_with(op: &Op, ns: &Namespace) -> Result<BTreeMap<String, u64>, IamError> {
        let mut keys = BTreeMap::new();
        for (key, value) in ns.settings(op, record::PREFIX).map_err(IamError::Store)? {
            if let Some(id) = record::sealed_with(&key, &value)? {
                *keys.entry(id).or_default() += 1;
            }
        }
        Ok(keys)
    }

    fn from_records(
        op: &Op,
        records: Arc<dyn Records>,
        key_of: MasterKey,
        entropy: Arc<dyn Entropy>,
        reset: bool,
    ) -> Result<(Self, Vec<Arc<User>>), IamError> {
        let (mut known, mut old, mut in_clear) = (Known::default(), Vec::new(), false);
        let drawn = || SecretKey::draw(&*entropy);
        for (key, value) in records.load(op, record::PREFIX).map_err(IamError::Store)? {
            let stored = record::decode(&key, &value, &key_of, reset.then_some(&drawn as &dyn Fn() -> SecretKey))?;
            known.check_free(&stored.user).map_err(|err| IamError::Record { key, why: err.to_string() })?;
            in_clear |= stored.in_clear;
            let user = stored.user.clone();
            known.insert(Arc::new(stored.user));
            if stored.before_rights || stored.in_clear || stored.renewed {
                old.push((user, stored.before_rights, stored.renewed));
            }
        }
        let nobody = SecretKey::new("the secret of nobody");
        let (known, changing) = (RwLock::new(Arc::new(known)), Mutex::new(()));
        let mut users = Self { records, key: key_of, entropy, renumbered: Vec::new(), known, changing, nobody };
        if in_clear {
            // Written before the first secret is sealed: otherwise a crash after that would leave traces that nobody looks for.
            users.when_it_may_write(users.records.put(op, CLEAR_LEFT, Some(b"")).map_err(IamError::Store))?;
        }
        let mut renewed = Vec::new();
        for (user, before_rights, is_renewed) in old {
            let user = if before_rights { users.upgrade(op, user)? } else { (user, Ok(())) };
            let (user, drawn) = user;
            let user = Arc::new(user);
            users.learn(Arc::clone(&user));
            let stored = drawn.and_then(|()| users.store(op, User::clone(&user)).map(|_| ()));
            if is_renewed {
                stored?
            } else {
                users.when_it_may_write(stored)?
            };
            if is_renewed {
                renewed.push(user);
            }
        }
        users.records.know_rights(users.known().rights());
        Ok((users, renewed))
    }

    /// Users are admitted by the present rules even if the store takes no changes; the next start that may write stores them.
    fn when_it_may_write(&self, written: Result<(), IamError>) -> Result<(), IamError> {
        match written {
            Err(IamError::Store(error)) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::NoSpace) => {
                tracing::warn!(%error, "user records of an earlier release cannot be rewritten now; the next start tries again");
                Ok(())
            }
            other => other,
        }
    }

    /// Gives a user of an earlier release the rights they had there, but for those that came with uid 0 alone. The second value says
    /// whether the number could be kept for them.
    fn upgrade(&mut self, op: &Op, mut user: User) -> Result<(User, Result<(), IamError>), IamError> {
        // At this door the mode of the root alone says who may make buckets.
        let as_there = Op::new(Caller::new(user.uid, user.gid, Arc::from(user.groups.as_slice()), &STORE));
        user.may_make_buckets = user.admin || self.records.root_lets_in(&as_there).map_err(IamError::Store)?;
        let renumbered = user.uid == 0 && !user.admin;
        let written = if renumbered { self.draw_uid(op) } else { Ok(0) };
        if renumbered {
            user.uid = written.as_ref().map_or_else(|_| self.free_uid(UID_MIN), |uid| Ok(*uid))?;
            if user.gid == 0 {
                user.gid = user.uid;
            }
            self.renumbered.push(Renumbered { name: user.name.clone(), uid: user.uid });
        }
        Ok((user, written.map(|_| ())))
    }

    /// Users who had uid 0 without being administrators until now.
    #[must_use]
    pub fn renumbered(&self) -> &[Renumbered] {
        &self.renumbered
    }

    /// A uid that no user of the store has or was given before. The caller holds `changing`, or is alone.
    fn draw_uid(&self, op: &Op) -> Result<u32, IamError> {
        let stored = self.records.load(op, record::NEXT_UID).map_err(IamError::Store)?;
        let next = match stored.first() {
            None => UID_MIN,
            Some((key, value)) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| IamError::Record { key: key.clone(), why: "it is no number".to_owned() })?,
        };
        let uid = self.free_uid(next)?;
        // Stored before the user who gets the number: if storing the user fails, a number is left out, and none is given twice.
        let behind = (uid + 1).to_string();
        self.records.put(op, record::NEXT_UID, Some(behind.as_bytes())).map_err(IamError::Store)?;
        Ok(uid)
    }

    fn free_uid(&self, from: u32) -> Result<u32, IamError> {
        let known = self.known();
        let highest = known.by_name.values().map(|user| user.uid).filter(|uid| (UID_MIN..UID_MAX).contains(uid)).max();
        let uid = highest.map_or(UID_MIN, |highest| highest + 1).max(from);
        if uid < UID_MAX { Ok(uid) } else { Err(IamError::NoUid) }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read())
    }

    /// The user with this access key.
    #[must_use]
    pub fn by_access_key(&self, access_key: &str) -> Option<Arc<User>> {
        self.known.read().by_access_key.get(access_key).cloned()
    }

    /// The user with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<User>> {
        self.known.read().by_name.get(name).cloned()
    }

    /// The user who goes by this name or access key and has this secret key. An unknown name takes as long as a wrong
    /// password.
    #[must_use]
    pub fn by_password(&self, name_or_access_key: &str, password: &str) -> Option<Arc<User>> {
        let user = self.by_name(name_or_access_key).or_else(|| self.by_access_key(name_or_access_key));
        let secret = user.as_ref().map_or(&self.nobody, |user| &user.secret_key);
        let matches = secret.matches(password);
        user.filter(|_| matches)
    }

    /// The master key's id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key.id()
    }

    /// All users, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.known.read().by_name.values().cloned().collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        users
    }

    /// Creates a user. Durable once `op` is settled.
    ///
    /// # Errors
    /// [`IamError::NameTaken`], [`IamError::AccessKeyTaken`], [`IamError::Invalid`], [`IamError::TooMany`];
    /// [`IamError::Store`] if the store refused, in which case nothing changed.
    pub fn create(&self, op: &Op, new: NewUser, entropy: &dyn Entropy) -> Result<Arc<User>, IamError> {
        let _one_at_a_time = self.changing.lock();
        let mut user = User {
            name: new.name,
            access_key: new.access_key.unwrap_or_else(|| draw_access_key(entropy)),
            secret_key: new.secret_key.unwrap_or_else(|| SecretKey::draw(entropy)),
            uid: new.uid.unwrap_or(UID_MIN),
            gid: 0,
            groups: new.groups,
            admin: new.admin,
            may_make_buckets: new.admin || new.may_make_buckets,
        };
        check(&user)?;
        // Systems take this number for "no user" and "do not change" (chown(2)).
        if new.uid == Some(u32::MAX) || new.gid == Some(u32::MAX) {
            return Err(IamError::Invalid { field: "uid and gid", rule: "below 4294967295, which stands for nobody" });
        }
        self.known().check_free(&user)?;
        if new.uid.is_none() {
            user.uid = self.draw_uid(op)?;
        }
        user.gid = new.gid.unwrap_or(user.uid);
        self.store(op, user)
    }

    /// Removes a user. Durable once `op` is settled; requests already let in run to their end.
    ///
    /// # Errors
    /// [`IamError::NoSuchUser`]; [`IamError::LastAdmin`]; [`IamError::Store`], in which case nothing changed.
    pub fn remove(&self, op: &Op, name: &str) -> Result<(), IamError> {
        let _one_at_a_time = self.changing.lock();
        let known = self.known();
        let user = known.by_name.get(name).ok_or_else(|| IamError::NoSuchUser { name: name.to_owned() })?;
        if user.admin && known.by_name.values().filter(|user| user.admin).count() == 1 {
            return Err(IamError::LastAdmin { name: name.to_owned() });
        }
        self.records.put(op, &record::key(name), None).map_err(IamError::Store)?;
        let mut next = Known::clone(&known);
        next.remove(user);
        self.now_known(next);
        Ok(())
    }

    /// Gives a user a new secret key; the old one ends at once. Durable once `op` is settled.
    ///
    /// # Errors
    /// [`IamError::NoSuchUser`]; [`IamError::Store`], in which case nothing changed.
    pub fn rotate_secret(&self, op: &Op, name: &str, entropy: &dyn Entropy) -> Result<Arc<User>, IamError> {
        let _one_at_a_time = self.changing.lock();
        let old = self.by_name(name).ok_or_else(|| IamError::NoSuchUser { name: name.to_owned() })?;
        self.store(op, User { secret_key: SecretKey::draw(entropy), ..User::clone(&old) })
    }

    /// Gives a user the right to make buckets, or takes it. Durable once `op` is settled.
    ///
    /// # Errors
    /// [`IamError::NoSuchUser`]; [`IamError::AdminsMay`]; [`IamError::Store`], in which case nothing changed.
    pub fn set_may_make_buckets(&self, op: &Op, name: &str, may: bool) -> Result<Arc<User>, IamError> {
        let _one_at_a_time = self.changing.lock();
        let old = self.by_name(name).ok_or_else(|| IamError::NoSuchUser { name: name.to_owned() })?;
        if old.admin && !may {
            return Err(IamError::AdminsMay { name: name.to_owned() });
        }
        self.store(op, User { may_make_buckets: may, ..User::clone(&old) })
    }

    /// Creates the first administrator, named `admin`, if the store has no users yet. Returns it then, so that its
    /// secret can be shown once; `None` if there are users already. Durable once `op` is settled.
    ///
    /// # Errors
    /// [`IamError::Store`], in which case nothing changed.
    pub fn ensure_admin(
        &self,
        op: &Op,
        uid: u32,
        gid: u32,
        entropy: &dyn Entropy,
    ) -> Result<Option<Arc<User>>, IamError> {
        if !self.known.read().by_name.is_empty() {
            return Ok(None);
        }
        let (uid, gid) = (Some(uid), Some(gid));
        let new = NewUser { name: FIRST_ADMIN.to_owned(), uid, gid, admin: true, ..NewUser::default() };
        self.create(op, new, entropy).map(Some)
    }

    /// First in the store, then here. The caller holds `changing`.
    fn store(&self, op: &Op, user: User) -> Result<Arc<User>, IamError> {
        let value = record::encode(&user, &self.key, &*self.entropy)?;
        self.records.put(op, &record::key(&user.name), Some(&value)).map_err(IamError::Store)?;
        let user = Arc::new(user);
        self.learn(Arc::clone(&user));
        Ok(user)
    }

    fn learn(&self, user: Arc<User>) {
        let mut next = Known::clone(&self.known());
        next.insert(user);
        self.now_known(next);
    }

    /// Everybody from now on; the doors that know uids alone hear of it, too. The caller holds `changing`, or is alone.
    fn now_known(&self, next: Known) {
        self.records.know_rights(next.rights());
        *self.known.write() = Arc::new(next);
    }
}

#[cfg(test)]
mod tests;
