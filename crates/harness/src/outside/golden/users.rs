//! A store whose users are as the first release left them: secrets in clear, and one of uid 0 who is no administrator. Opened,
//! its secrets are sealed, and every trace of them can be erased from its disks.
//!
//! `golden/users/` has it as that release's server left it: users added and renewed, content removed and its space given back, which took
//! a checkpoint.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use strata_check::check_store;
use strata_iam::{CLEAR_LEFT, Users, is_clear_secret};
use strata_keys::MasterKey;
use strata_namespace::{Door, DoorNumber};
use strata_runtime::Runtime;
use strata_seam::SystemEntropy;

use super::describe::root;
use super::{archive, open};

static S3: Door = Door::of_users("s3", DoorNumber::new(1), &[]);

/// Name, secret, whether an administrator; in the store as it is.
const USERS: [(&str, &str, bool); 4] = [
    ("admin", "nccEsyHsGxOAdDYvOXlbQjhRGnCJSjKlHwrwr2fB", true),
    ("eve", "6YQVpAuDzwAOGjbon2B2oo408GYQTnoffmHAKgZZ", false),
    ("mia", "WEH4TMwX8FZiCidzWzyPeOvZD3IwM5Z368VkJVlx", false),
    ("tom", "htedyV2uSC1TH46uZdfXq1jmur6Vz8S9R068Uqbj", false),
];
/// That of eve before it was renewed: in the log alone.
const BEFORE: &str = "4WaiDZ1ohnavaN0tgeW2z4DqYzKLHqTEtTootnmW";

/// Opens it and holds it against what was put in.
pub(super) fn check() -> Result<()> {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/users/v1-2+1-users.zst");
    let folder = tempfile::tempdir()?;
    archive::unpack(&fs::read(&stored).context("the golden store of users is not there")?, folder.path())?;
    let disks: Vec<PathBuf> = (0..3).map(|disk| folder.path().join(format!("disk{disk}"))).collect();
    let secrets = USERS.iter().map(|(_, secret, _)| *secret).chain([BEFORE]);
    let traces = || -> Result<Vec<&str>> {
        let mut found = Vec::new();
        for secret in secrets.clone() {
            for disk in &disks {
                for entry in fs::read_dir(disk)? {
                    if fs::read(entry?.path())?.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()) {
                        found.push(secret);
                    }
                }
            }
        }
        Ok(found)
    };
    ensure!(traces()?.len() > USERS.len(), "the store is not what it was: its secrets are not found in it");

    let key = MasterKey::draw(&SystemEntropy).encode();
    for start in 0..2 {
        let store = open(&disks, None)?;
        let ns = store.namespace();
        let op = root();
        let users = Users::open(&op, Arc::clone(ns), MasterKey::decode(&key)?, Arc::new(SystemEntropy))?;
        ensure!(users.list().len() == USERS.len(), "there are {} users", users.list().len());
        for (name, secret, admin) in USERS {
            let user = users.by_password(name, secret).with_context(|| format!("{name} is not let in"))?;
            ensure!(user.caller(&S3).superuser == admin, "{name} has rights of somebody else");
            ensure!((user.uid == 0) == (name == "admin"), "{name} has uid {}", user.uid);
        }
        ensure!(users.renumbered().len() == usize::from(start == 0), "renumbered: {:?}", users.renumbered());
        ns.settle_blocking(&op)?;
        if start == 0 {
            ensure!(ns.setting(&op, CLEAR_LEFT)?.is_some(), "nothing says that traces are left");
            ns.store().take_checkpoint(&BTreeSet::new(), &mut |_| true)?;
            ensure!(
                Runtime::over(Arc::clone(ns)).erase_settings(&is_clear_secret, &mut || true)?,
                "not every trace could be erased"
            );
            ensure!(traces()?.is_empty(), "traces are left: {:?}", traces()?);
        }
        let checked = check_store(ns, true, &mut |_| {})?;
        ensure!(checked.violations.is_empty(), "{}", checked.violations.join("; "));
        store.close()?;
        ensure!(traces()?.is_empty(), "traces came back: {:?}", traces()?);
    }
    Ok(())
}
