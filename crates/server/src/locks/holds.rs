//! Locks that processes hold through the NFS door, beside those of WebDAV.

use std::collections::HashMap;

use strata_door_nfs::LockClient;
use strata_namespace::{ErrorKind, HeldRange, Namespace, Op, RangeKind, RangeSpace};
use strata_seam::{Ino, Timestamp};

use super::messages::Shown;
use super::path_of;

/// What begins the token by which an operator names all that one owner holds on a file. Only `strata locks` knows such tokens.
const TOKEN: &str = "hold";

/// A lock with where it is and whose.
pub(super) struct Held {
    ino: Ino,
    held: HeldRange,
    pub(super) shown: Shown,
}

fn token_of(ino: Ino, held: &HeldRange) -> String {
    format!("{TOKEN}:{:x}:{:x}:{:x}:{}", ino.0, held.owner.client, held.owner.owner, held.space as u8)
}

/// The holder of the lock, in words.
fn user_of(held: &HeldRange, clients: &HashMap<u64, LockClient>) -> String {
    match clients.get(&held.owner.client) {
        Some(client) => format!("process {} of {} ({})", held.owner.pid, client.name, client.address),
        None => format!("process {}", held.owner.pid),
    }
}

/// All that processes hold now, by file.
///
/// # Errors
/// Reading the index.
pub(super) fn all(namespace: &Namespace, op: &Op, now: Timestamp) -> anyhow::Result<Vec<Held>> {
    let holds = namespace.all_holds(op)?;
    if holds.is_empty() {
        return Ok(Vec::new());
    }
    let clients = strata_door_nfs::lock_clients(namespace, op)?;
    let clients: HashMap<u64, LockClient> = clients.into_iter().map(|client| (client.number, client)).collect();
    let mut all = Vec::with_capacity(holds.len());
    for (ino, held) in holds {
        let path = match namespace.path_of(op, ino) {
            Ok(Some(path)) => format!("/{}", path_of(&path)),
            // Its last name was removed, and somebody has it open.
            Ok(None) => format!("inode {ino}"),
            Err(error) if matches!(error.kind, ErrorKind::Stale | ErrorKind::NotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        let last = held.range.end.checked_sub(1).filter(|last| *last < i64::MAX as u64);
        let shown = Shown {
            path,
            token: token_of(ino, &held),
            user: user_of(&held, &clients),
            kind: if held.kind == RangeKind::Read { "shared" } else { "exclusive" }.to_owned(),
            depth: "0".to_owned(),
            expires: held.lease.map(Timestamp::secs),
            expires_in: held.lease.map(|end| (end.secs() - now.secs()).max(0)),
            owner: String::new(),
            door: "nfs".to_owned(),
            client: clients.get(&held.owner.client).map(|client| client.address.to_string()),
            host: clients.get(&held.owner.client).map(|client| client.name.clone()),
            process: Some(held.owner.pid),
            bytes: (held.space == RangeSpace::Bytes).then_some((held.range.start, last)),
        };
        all.push(Held { ino, held, shown });
    }
    Ok(all)
}

/// Ends all that the owners of these hold on their files.
///
/// # Errors
/// Those of the store.
pub(super) fn end(namespace: &Namespace, op: &Op, meant: Vec<Held>) -> anyhow::Result<Vec<Shown>> {
    let mut ended = Vec::with_capacity(meant.len());
    for Held { ino, held, shown } in meant {
        namespace.break_holds(op, ino, &held.owner, held.space)?;
        ended.push(shown);
    }
    Ok(ended)
}
