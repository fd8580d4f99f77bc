//! The rules of users, over records in memory.

use std::collections::BTreeMap;

use strata_namespace::{Error, ErrorKind};
use strata_seam::SystemEntropy;

use super::*;

#[derive(Default)]
struct Memory {
    records: Mutex<BTreeMap<String, Vec<u8>>>,
    refuse: std::sync::atomic::AtomicBool,
}

impl Records for Memory {
    fn load(&self, _: &Op, prefix: &str) -> strata_namespace::Result<Vec<(String, Vec<u8>)>> {
        let records = self.records.lock();
        Ok(records.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
    fn put(&self, _: &Op, key: &str, value: Option<&[u8]>) -> strata_namespace::Result<()> {
        if self.refuse.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::ReadOnly, "refused by the test"));
        }
        match value {
            Some(value) => self.records.lock().insert(key.to_owned(), value.to_vec()),
            None => self.records.lock().remove(key),
        };
        Ok(())
    }
}

fn op() -> Op {
    Op::new(Caller::root(Door::Admin))
}

fn named(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), uid: 1000, gid: 100, ..NewUser::default() }
}

fn fresh() -> (Arc<Memory>, Users) {
    let memory = Arc::new(Memory::default());
    let users = Users::from_records(Arc::clone(&memory) as Arc<dyn Records>).unwrap();
    (memory, users)
}

#[test]
fn the_first_start_draws_an_administrator_and_later_ones_do_not() {
    let (memory, users) = fresh();
    let admin = users.ensure_admin(&op(), 1000, 100, &SystemEntropy).unwrap().unwrap();
    assert!(admin.admin && admin.name == "admin" && admin.uid == 1000);
    assert!((admin.access_key.len(), admin.secret_key.expose().len()) == (20, 40));
    assert!(users.ensure_admin(&op(), 1000, 100, &SystemEntropy).unwrap().is_none());
    let again = Users::from_records(memory).unwrap();
    assert!(again.ensure_admin(&op(), 1, 1, &SystemEntropy).unwrap().is_none());
    assert!(again.by_password("admin", admin.secret_key.expose()).is_some());
}

#[test]
fn a_password_is_accepted_with_the_name_or_the_access_key_and_nothing_else() {
    let (_, users) = fresh();
    let ada = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    let secret = ada.secret_key.expose();
    assert!(users.by_password("ada", secret).is_some());
    assert!(users.by_password(&ada.access_key, secret).is_some());
    assert!(users.by_password("ada", "").is_none());
    assert!(users.by_password("eve", secret).is_none());
    assert!(users.by_password("eve", "the secret of nobody").is_none());
}

#[test]
fn names_and_access_keys_are_unique() {
    let (_, users) = fresh();
    let ada = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    assert!(matches!(users.create(&op(), named("ada"), &SystemEntropy), Err(IamError::NameTaken { .. })));
    let clash = NewUser { access_key: Some(ada.access_key.clone()), ..named("eve") };
    assert!(matches!(users.create(&op(), clash, &SystemEntropy), Err(IamError::AccessKeyTaken { .. })));
}

#[test]
fn fields_that_would_confuse_a_door_are_refused() {
    let (_, users) = fresh();
    for name in ["", "a/b", "a b", "..", "a:b", &"x".repeat(129)] {
        assert!(matches!(users.create(&op(), named(name), &SystemEntropy), Err(IamError::Invalid { .. })), "{name:?}");
    }
    for key in ["ab", "a/b/c", "abc,", "äöü"] {
        let new = NewUser { access_key: Some(key.to_owned()), ..named("ada") };
        assert!(matches!(users.create(&op(), new, &SystemEntropy), Err(IamError::Invalid { .. })), "{key:?}");
    }
    let new = NewUser { secret_key: Some(SecretKey::new("short")), ..named("ada") };
    assert!(matches!(users.create(&op(), new, &SystemEntropy), Err(IamError::Invalid { .. })));
}

#[test]
fn a_rotated_secret_replaces_the_old_one_at_once_and_for_good() {
    let (memory, users) = fresh();
    let old = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    let new = users.rotate_secret(&op(), "ada", &SystemEntropy).unwrap();
    assert!(users.by_password("ada", old.secret_key.expose()).is_none());
    assert!(users.by_password("ada", new.secret_key.expose()).is_some());
    assert!(users.by_access_key(&old.access_key).unwrap().secret_key.matches(new.secret_key.expose()));
    let again = Users::from_records(memory).unwrap();
    assert!(again.by_password("ada", new.secret_key.expose()).is_some());
}

#[test]
fn a_removed_user_is_unknown_and_the_last_administrator_stays() {
    let (_, users) = fresh();
    users.ensure_admin(&op(), 0, 0, &SystemEntropy).unwrap();
    let ada = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    users.remove(&op(), "ada").unwrap();
    assert!(users.by_name("ada").is_none() && users.by_access_key(&ada.access_key).is_none());
    assert!(matches!(users.remove(&op(), "ada"), Err(IamError::NoSuchUser { .. })));
    assert!(matches!(users.remove(&op(), "admin"), Err(IamError::LastAdmin { .. })));
}

#[test]
fn a_change_the_store_refused_did_not_happen() {
    let (memory, users) = fresh();
    let ada = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    memory.refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(users.create(&op(), named("eve"), &SystemEntropy).is_err() && users.by_name("eve").is_none());
    assert!(users.remove(&op(), "ada").is_err() && users.by_name("ada").is_some());
    assert!(users.rotate_secret(&op(), "ada", &SystemEntropy).is_err());
    assert!(users.by_password("ada", ada.secret_key.expose()).is_some());
}

#[test]
fn an_administrator_passes_every_check_and_others_act_as_themselves() {
    let (_, users) = fresh();
    let admin = users.ensure_admin(&op(), 1000, 100, &SystemEntropy).unwrap().unwrap();
    let caller = admin.caller(Door::S3);
    assert!(caller.superuser && caller.uid == 1000, "passes every check and owns what it makes");
    let ada = users.create(&op(), NewUser { groups: vec![7], ..named("ada") }, &SystemEntropy).unwrap();
    let caller = ada.caller(Door::WebDav);
    assert!(
        !caller.superuser
            && caller.uid == 1000
            && caller.gid == 100
            && caller.in_group(7)
            && caller.door == Door::WebDav
    );
}
