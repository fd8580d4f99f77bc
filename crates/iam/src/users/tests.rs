//! The rules of users, over records in memory.

use std::collections::BTreeMap;

use strata_namespace::{Door, DoorNumber, Error, ErrorKind, STORE};
use strata_seam::SystemEntropy;

use super::*;

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);
static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);

#[derive(Default)]
struct Memory {
    records: Mutex<BTreeMap<String, Vec<u8>>>,
    refuse: std::sync::atomic::AtomicBool,
    rights: Mutex<HashMap<u32, bool>>,
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
    fn know_rights(&self, may_make_buckets: HashMap<u32, bool>) {
        *self.rights.lock() = may_make_buckets;
    }
    fn root_lets_in(&self, op: &Op) -> strata_namespace::Result<bool> {
        Ok(op.caller.uid == 0 || op.caller.uid == 1000)
    }
}

fn op() -> Op {
    Op::new(Caller::root(&STORE))
}

fn named(name: &str) -> NewUser {
    NewUser { name: name.to_owned(), uid: Some(1000), gid: Some(100), ..NewUser::default() }
}

thread_local! {
    /// The bytes of the key of this test.
    static KEY: [u8; strata_keys::FILE_LEN] = MasterKey::draw(&SystemEntropy).encode();
}

fn key_of() -> MasterKey {
    KEY.with(|bytes| MasterKey::decode(bytes).unwrap())
}

fn open_with(memory: &Arc<Memory>, key_of: MasterKey, reset: bool) -> Result<(Users, Vec<Arc<User>>), IamError> {
    Users::from_records(&op(), Arc::clone(memory) as Arc<dyn Records>, key_of, Arc::new(SystemEntropy), reset)
}

fn opened(memory: &Arc<Memory>) -> Users {
    open_with(memory, key_of(), false).unwrap().0
}

fn fresh() -> (Arc<Memory>, Users) {
    let memory = Arc::new(Memory::default());
    let users = opened(&memory);
    (memory, users)
}

#[test]
fn the_first_start_draws_an_administrator_and_later_ones_do_not() {
    let (memory, users) = fresh();
    let admin = users.ensure_admin(&op(), 1000, 100, &SystemEntropy).unwrap().unwrap();
    assert!(admin.admin && admin.name == "admin" && admin.uid == 1000);
    assert!((admin.access_key.len(), admin.secret_key.expose().len()) == (20, 40));
    assert!(users.ensure_admin(&op(), 1000, 100, &SystemEntropy).unwrap().is_none());
    let again = opened(&memory);
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
    let again = opened(&memory);
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
    let caller = admin.caller(&S3);
    assert!(caller.superuser && caller.uid == 1000, "passes every check and owns what it makes");
    let ada = users.create(&op(), NewUser { groups: vec![7], ..named("ada") }, &SystemEntropy).unwrap();
    let caller = ada.caller(&WEBDAV);
    assert!(
        !caller.superuser && caller.uid == 1000 && caller.gid == 100 && caller.in_group(7) && caller.door == &WEBDAV
    );
}

#[test]
fn new_users_get_numbers_of_their_own_that_nobody_had_before() {
    let (memory, users) = fresh();
    users.ensure_admin(&op(), 0, 0, &SystemEntropy).unwrap();
    let by_name = |name: &str| NewUser { name: name.to_owned(), ..NewUser::default() };
    let ada = users.create(&op(), by_name("ada"), &SystemEntropy).unwrap();
    let eve = users.create(&op(), by_name("eve"), &SystemEntropy).unwrap();
    assert_eq!([(ada.uid, ada.gid), (eve.uid, eve.gid)], [(100_000, 100_000), (100_001, 100_001)]);
    assert!(!ada.caller(&S3).superuser && !ada.caller(&S3).may_make_buckets);
    // Files of eve stay hers when she is gone: nobody else gets her number.
    users.remove(&op(), "eve").unwrap();
    let again = opened(&memory);
    assert_eq!(again.create(&op(), by_name("bob"), &SystemEntropy).unwrap().uid, 100_002);
    let far = NewUser { uid: Some(100_010), ..by_name("far") };
    again.create(&op(), far, &SystemEntropy).unwrap();
    assert_eq!(again.create(&op(), by_name("next"), &SystemEntropy).unwrap().uid, 100_011);
}

#[test]
fn uid_0_is_given_on_demand_only_and_makes_nobody_an_administrator() {
    let (_, users) = fresh();
    let zero = NewUser { name: "zero".to_owned(), uid: Some(0), ..NewUser::default() };
    let zero = users.create(&op(), zero, &SystemEntropy).unwrap();
    let caller = zero.caller(&S3);
    assert!(caller.uid == 0 && !caller.superuser && !caller.may_make_buckets, "{caller:?}");
}

#[test]
fn users_of_an_earlier_release_keep_their_rights_but_those_of_uid_0() {
    let memory = Arc::new(Memory::default());
    let old = |name: &str, uid: u32, admin: bool| {
        let text = format!(
            r#"{{"version":1,"name":"{name}","access_key":"{name}KEY","secret_key":"secret-of-{name}","uid":{uid},"gid":{uid},"groups":[],"admin":{admin}}}"#
        );
        memory.records.lock().insert(record::key(name), text.into_bytes());
    };
    old("admin", 0, true);
    old("eve", 0, false);
    old("mia", 1000, false);
    old("tom", 1001, false);
    for start in 0..2 {
        let users = opened(&memory);
        let renumbered = [Renumbered { name: "eve".to_owned(), uid: 100_000 }];
        assert_eq!(users.renumbered(), if start == 0 { &renumbered[..] } else { &[] }, "told once");
        let seen = |name| users.by_name(name).map(|user| (user.uid, user.gid, user.admin, user.may_make_buckets));
        assert_eq!(seen("admin"), Some((0, 0, true, true)));
        assert_eq!(seen("eve"), Some((100_000, 100_000, false, true)));
        assert_eq!(seen("mia"), Some((1000, 1000, false, true)));
        assert_eq!(seen("tom"), Some((1001, 1001, false, false)));
        assert!(users.by_password("eve", "secret-of-eve").is_some());
        assert!(!users.by_name("eve").unwrap().caller(&S3).superuser);
    }
}

#[test]
fn a_user_of_an_earlier_release_is_no_superuser_of_a_store_that_takes_no_changes_either() {
    let memory = Arc::new(Memory::default());
    let text = r#"{"version":1,"name":"eve","access_key":"EVE","secret_key":"secret-of-eve","uid":0,"gid":0,"groups":[],"admin":false}"#;
    memory.records.lock().insert(record::key("eve"), text.into());
    memory.refuse.store(true, std::sync::atomic::Ordering::Relaxed);
    let users = opened(&memory);
    let eve = users.by_name("eve").unwrap();
    assert!(eve.uid == 100_000 && !eve.caller(&S3).superuser);
    assert_eq!(memory.records.lock()["user/eve"], text.as_bytes());
}

#[test]
fn the_right_to_make_buckets_is_given_and_taken_and_administrators_have_it() {
    let (memory, users) = fresh();
    users.ensure_admin(&op(), 0, 0, &SystemEntropy).unwrap();
    users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    let may = |users: &Users| users.by_name("ada").unwrap().caller(&S3).may_make_buckets;
    assert!(!may(&users));
    users.set_may_make_buckets(&op(), "ada", true).unwrap();
    assert!(may(&users));
    assert!(may(&opened(&memory)));
    users.set_may_make_buckets(&op(), "ada", false).unwrap();
    assert!(!may(&users));
    assert!(matches!(users.set_may_make_buckets(&op(), "eve", true), Err(IamError::NoSuchUser { .. })));
    assert!(matches!(users.set_may_make_buckets(&op(), "admin", false), Err(IamError::AdminsMay { .. })));
}

#[test]
fn no_record_shows_a_secret_and_clear_ones_of_earlier_releases_are_sealed_when_they_are_opened() {
    let memory = Arc::new(Memory::default());
    let text = r#"{"version":1,"name":"mia","access_key":"MIA","secret_key":"secret-of-mia","uid":1000,"gid":100,"groups":[],"admin":true}"#;
    memory.records.lock().insert(record::key("mia"), text.into());
    let users = opened(&memory);
    assert_eq!(memory.records.lock().get(CLEAR_LEFT).map(Vec::as_slice), Some(&b""[..]), "traces are left");
    let ada = users.create(&op(), named("ada"), &SystemEntropy).unwrap();
    let new = users.rotate_secret(&op(), "ada", &SystemEntropy).unwrap();
    let all =
        memory.records.lock().values().map(|value| String::from_utf8_lossy(value).into_owned()).collect::<String>();
    for secret in ["secret-of-mia", ada.secret_key.expose(), new.secret_key.expose()] {
        assert!(!all.contains(secret), "{all}");
    }
    memory.records.lock().remove(CLEAR_LEFT);
    let again = opened(&memory);
    assert!(
        again.by_password("mia", "secret-of-mia").is_some()
            && again.by_password("ada", new.secret_key.expose()).is_some()
    );
    assert!(!memory.records.lock().contains_key(CLEAR_LEFT), "said where there was something in clear, and only there");
}

#[test]
fn with_another_key_nobody_is_opened_and_a_reset_gives_new_secrets_to_those_who_lost_theirs() {
    let (memory, users) = fresh();
    let admin = users.ensure_admin(&op(), 0, 0, &SystemEntropy).unwrap().unwrap();
    let ada = users.create(&op(), NewUser { groups: vec![7], ..named("ada") }, &SystemEntropy).unwrap();
    let other = MasterKey::draw(&SystemEntropy).encode();
    let other = || MasterKey::decode(&other).unwrap();
    let before = memory.records.lock().clone();
    assert!(matches!(open_with(&memory, other(), false), Err(IamError::Sealed { .. })));
    assert_eq!(*memory.records.lock(), before, "nothing was changed");

    let (_, renewed) = open_with(&memory, other(), true).unwrap();
    assert_eq!(renewed.len(), 2);
    let (users, _) = open_with(&memory, other(), false).unwrap();
    for user in &renewed {
        assert!(users.by_password(&user.name, user.secret_key.expose()).is_some());
    }
    let again = users.by_name("ada").unwrap();
    assert_eq!(
        (again.uid, &again.groups, &again.access_key),
        (ada.uid, &ada.groups, &ada.access_key),
        "all else stays"
    );
    assert!(users.by_password("admin", admin.secret_key.expose()).is_none());
    // Cut off and done again: a user who has a new secret keeps it.
    assert!(open_with(&memory, other(), true).unwrap().1.is_empty());
}

#[test]
fn doors_that_know_uids_alone_hear_at_once_who_may_make_buckets() {
    let (memory, users) = fresh();
    let told = || memory.rights.lock().clone();
    let user = |name: &str, uid, may_make_buckets| {
        let new = NewUser { uid: Some(uid), may_make_buckets, ..named(name) };
        users.create(&op(), new, &SystemEntropy).unwrap();
    };
    user("ada", 1000, true);
    user("eve", 1001, false);
    assert_eq!(told(), HashMap::from([(1000, true), (1001, false)]));
    // Of two users with one uid, one with the right is enough.
    user("second", 1001, true);
    assert!(told()[&1001]);
    users.remove(&op(), "second").unwrap();
    users.set_may_make_buckets(&op(), "ada", false).unwrap();
    assert_eq!(told(), HashMap::from([(1000, false), (1001, false)]));
    memory.rights.lock().clear();
    drop(opened(&memory));
    assert_eq!(told(), HashMap::from([(1000, false), (1001, false)]), "also by a start");
}
