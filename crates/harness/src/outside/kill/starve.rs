//! A server that finds no more descriptors for a while, under load: it may refuse, sets no disk aside, and goes on by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::outside::check::Trouble;
use crate::outside::client::Failure;
use crate::outside::clock::Moment;
use crate::outside::door::{BUCKET, Clients};
use crate::outside::lane::Lane;
use crate::outside::rng::Rng;
use crate::outside::server::{Doors, Place, Server};
use crate::outside::worker::Tally;

/// Descriptors that it finds beside those it has, at most.
const SPARE_MAX: u64 = 6;
/// How long it has no more, milliseconds, at most.
const STARVED_MS_MAX: u64 = 1024;
/// How long it may take to write again once there are some, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starves the server of `lane` under load, and sees that it goes on.
///
/// # Errors
/// A promise was broken.
pub(super) fn one(
    lane: &mut Lane,
    (server, doors): (&mut Server, &Doors),
    rng: &mut Rng,
    tally: &Tally,
) -> Result<(), Trouble> {
    let lost = |error: anyhow::Error| Trouble::Lost(format!("{error:#}"));
    let before = set_aside(&lane.place)?;
    let (spare, starved) = (rng.within(0..SPARE_MAX), Duration::from_millis(1 + rng.magnitude(STARVED_MS_MAX)));
    let begin = Duration::from_millis(1 + rng.magnitude(64));
    lane.load(server, doors, (begin, true), tally, |server, _| {
        let limit = server.limit_files(spare).map_err(lost)?;
        std::thread::sleep(starved);
        server.restore_files(limit).map_err(lost)
    })?;
    writes_soon(doors)?;
    let after = set_aside(&lane.place)?;
    if let Some((_, why)) = after.iter().find(|(place, _)| !before.contains_key(*place)) {
        return Err(Trouble::Violation(format!("the server had no descriptors, and {why}")));
    }
    lane.check(doors, false)
}

/// A change that is taken within [`PATIENCE`].
fn writes_soon(doors: &Doors) -> Result<(), Trouble> {
    let begun = Moment::now();
    let mut clients = Clients::new(doors)?;
    loop {
        match clients.s3.send(("PUT", &format!("/{BUCKET}/alive"), ""), &[], b"alive") {
            Ok(_) => return Ok(()),
            Err(Failure::Refused { .. }) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(Failure::Refused { code, said }) => {
                return Err(Trouble::Violation(format!(
                    "the server has descriptors again, and {PATIENCE:?} later it refuses with {code}: {said}"
                )));
            }
            Err(lost) => return Err(lost.into()),
        }
    }
}

/// The disks that take no part, by place, with the reason that the server tells.
fn set_aside(place: &Place) -> Result<BTreeMap<usize, String>, Trouble> {
    let told = place.ask(&["disk", "list", "--json"]).map_err(|error| Trouble::Lost(error.to_string()))?;
    let list: Value = serde_json::from_slice(&told.stdout).unwrap_or(Value::Null);
    let Some(disks) = list["disks"].as_array() else {
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        return Err(Trouble::Violation(format!("the server does not tell its disks: {said}")));
    };
    let aside = disks.iter().enumerate().filter(|(_, disk)| disk["state"] != "active");
    let why = |disk: &Value| format!("disk {} is {}: {}", disk["place"], disk["state"], disk["why"]);
    Ok(aside.map(|(place, disk)| (place, why(disk))).collect())
}
