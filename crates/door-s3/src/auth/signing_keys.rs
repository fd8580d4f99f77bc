//! The signing keys derived last, cached: deriving one takes four HMACs, and a client signs with the same key all day.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use strata_iam::User;

use super::sigv4::{Scope, SigningKey};

/// Users whose key is kept, at most.
const KEPT_MAX: usize = 1024;

/// A key, and all that it was derived from. A user with another secret is another one: users are replaced, not changed.
struct Derived {
    user: Arc<User>,
    scope: Scope,
    key: SigningKey,
}

/// See the module: by access key.
#[derive(Default)]
pub(super) struct SigningKeys(RwLock<HashMap<String, Derived>>);

impl SigningKeys {
    /// The key of a user for a scope; of nobody it is derived each time.
    pub(super) fn of(&self, user: Option<&Arc<User>>, secret: &str, scope: &Scope) -> SigningKey {
        let Some(user) = user else { return SigningKey::derive(secret, scope) };
        let known = self.0.read();
        let found = known.get(&user.access_key).filter(|known| Arc::ptr_eq(&known.user, user) && known.scope == *scope);
        if let Some(found) = found {
            return found.key.clone();
        }
        drop(known);
        let key = SigningKey::derive(secret, scope);
        let derived = Derived { user: Arc::clone(user), scope: scope.clone(), key: key.clone() };
        let mut known = self.0.write();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(user.access_key.clone(), derived);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_its_secret_and_its_day() {
        let user = |secret: &str| Arc::new(crate::auth::tests::user("AKIA", secret));
        let scope = |date: &str| Scope { date: date.to_owned(), region: "us-east-1".to_owned() };
        let keys = SigningKeys::default();
        let (before, rotated) = (user("first"), user("second"));
        for (user, date) in
            [(&before, "20260101"), (&before, "20260102"), (&rotated, "20260102"), (&before, "20260102")]
        {
            let secret = user.secret_key.expose();
            for _ in 0..2 {
                let key = keys.of(Some(user), secret, &scope(date));
                assert_eq!(key.sign("text"), SigningKey::derive(secret, &scope(date)).sign("text"));
            }
        }
        assert_eq!(
            keys.of(None, "", &scope("20260101")).sign("x"),
            SigningKey::derive("", &scope("20260101")).sign("x")
        );
        assert_eq!(keys.0.read().len(), 1);
    }
}
