//! All users: looked up on every request, changed rarely.
//!
//! The whole set is an immutable value behind a lock that is held for a pointer copy only; changes are made one at a
//! time, first in the store, then here.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use strata_namespace::{Caller, Door, Namespace, Op};
use strata_seam::Entropy;

use crate::secret::draw_access_key;
use crate::store::Records;
use crate::user::check;
use crate::{IamError, NewUser, SecretKey, User, record};

/// Most users of one store: they are all held in memory, about 1 KiB each.
const USERS_MAX: usize = 10_000;
/// Name of the user created at first start.
const FIRST_ADMIN: &str = "admin";

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

/// The users of a store.
pub struct Users {
    records: Arc<dyn Records>,
    known: RwLock<Arc<Known>>,
    changing: Mutex<()>,
    /// Compared against when the name is unknown, so that a wrong name costs what a wrong password costs.
    nobody: SecretKey,
}

impl Users {
    /// Reads all users of the store.
    ///
    /// # Errors
    /// [`IamError::Record`] if a record cannot be read: starting without one of the users, or with a restriction
    /// misread, would be worse than not starting. [`IamError::Store`] if the store cannot be read.
    pub fn open(ns: Arc<Namespace>) -> Result<Self, IamError> {
        Self::from_records(ns)
    }

    fn from_records(records: Arc<dyn Records>) -> Result<Self, IamError> {
        let op = Op::new(Caller::root(Door::Admin));
        let mut known = Known::default();
        for (key, value) in records.load(&op, record::PREFIX).map_err(IamError::Store)? {
            let user = record::decode(&key, &value)?;
            known.check_free(&user).map_err(|err| IamError::Record { key, why: err.to_string() })?;
            known.insert(Arc::new(user));
        }
        let nobody = SecretKey::new("the secret of nobody");
        Ok(Self { records, known: RwLock::new(Arc::new(known)), changing: Mutex::new(()), nobody })
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
        let user = User {
            name: new.name,
            access_key: new.access_key.unwrap_or_else(|| draw_access_key(entropy)),
            secret_key: new.secret_key.unwrap_or_else(|| SecretKey::draw(entropy)),
            uid: new.uid,
            gid: new.gid,
            groups: new.groups,
            admin: new.admin,
        };
        check(&user)?;
        self.known().check_free(&user)?;
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
        *self.known.write() = Arc::new(next);
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
        let new = NewUser { name: FIRST_ADMIN.to_owned(), uid, gid, admin: true, ..NewUser::default() };
        self.create(op, new, entropy).map(Some)
    }

    /// First in the store, then here. The caller holds `changing`.
    fn store(&self, op: &Op, user: User) -> Result<Arc<User>, IamError> {
        let value = record::encode(&user)?;
        self.records.put(op, &record::key(&user.name), Some(&value)).map_err(IamError::Store)?;
        let user = Arc::new(user);
        let mut next = Known::clone(&self.known());
        next.insert(Arc::clone(&user));
        *self.known.write() = Arc::new(next);
        Ok(user)
    }
}

#[cfg(test)]
mod tests;
