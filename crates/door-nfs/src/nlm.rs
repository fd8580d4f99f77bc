//! NLM version 4, the locks of NFS 3: how a call becomes an execution, and what the door keeps for it.
//!
//! Locks that are held are rows of the name space, with its session. `nlm/waits.rs` has the requests that wait, `nlm/circle.rs` finds deadlocks,
//! `nlm/clients.rs` has the clients that are to be notified when the server restarts, `nlm/keeper.rs` makes the calls to clients. A client is its
//! address with the name it gives itself, and an owner is what the client says beside: nobody reaches the locks of another address.
//!
//! Invariants: nothing is granted before the client is in the store's list; a released lock goes to the request that has waited longest
//! and can have it; numbers and bytes of everything kept here are bounded by [`crate::NfsLimits`].

mod args;
mod circle;
pub(crate) mod clients;
mod keeper;
pub(crate) mod locks;
mod procedures;
mod waits;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use strata_gate::bridge;
use tokio::time::Instant;

use self::args::{Request, procedure};
use crate::door::NfsDoor;
use crate::metrics::count;
use crate::origin::Origin;
use crate::reply_cache::{Begin, CallKey};
use crate::rpc::{Call, Refusal, Reply, accepted};

pub(crate) use self::args::{PROGRAM, VERSION, notice};
pub(crate) use self::clients::Line;
pub use self::clients::{LockClient, lock_clients};
pub(crate) use self::keeper::{close, keep};

/// Distinguishes procedures of this program from those of NFS in the reply cache.
const CACHED_AS: u32 = 1 << 16;
const REPLY_CAPACITY: usize = 128;

/// A host at this address reports that it restarted.
pub(crate) fn restarted(door: &NfsDoor, address: IpAddr, name: &[u8], restarts: u32) {
    let clients = door.locks.clients.restarted(address, name, restarts);
    procedures::release(door, &clients);
}

/// Answers a call.
pub(crate) async fn call(door: Arc<NfsDoor>, from: Origin, call: Call) -> Result<Reply, Refusal> {
    count(&door.metrics().lock_calls);
    let out = accepted(call.xid, REPLY_CAPACITY);
    match call.procedure {
        procedure::NULL => {}
        // Asynchronous results: this door makes its calls in the form that is answered at once, so it needs none.
        number if (procedure::TEST + procedure::RESULT..=procedure::GRANTED + procedure::RESULT).contains(&number) => {}
        procedure::FREE_ALL => {
            let (name, _) = notice(call.args).map_err(|_| Refusal::GarbageArguments)?;
            let client = door.locks.clients.of(Line::of(from).client, &name);
            wait(move || procedures::release(&door, &[client])).await?;
        }
        number
            if (procedure::TEST + procedure::MESSAGE..=procedure::GRANTED + procedure::MESSAGE).contains(&number) =>
        {
            let number = number - procedure::MESSAGE;
            let (cookie, request) = decode(number, call.args.clone())?;
            let here = Arc::clone(&door);
            let answered = wait(move || procedures::execute(&here, from, &call.credential, &request)).await?;
            let cookie = Bytes::copy_from_slice(&cookie);
            tokio::spawn(keeper::answer(door, Line::of(from), number, cookie, answered));
        }
        procedure::TEST => return execute(door, from, call).await,
        _ => return execute_once(door, from, call).await,
    }
    Ok(Reply::finish(out, Bytes::new()))
}

fn decode(number: u32, args: Bytes) -> Result<(Bytes, Request), Refusal> {
    let known = matches!(number, procedure::TEST..=procedure::GRANTED | procedure::SHARE..=procedure::NM_LOCK);
    if !known {
        return Err(Refusal::ProcedureUnavailable);
    }
    Request::decode(number, args).map_err(|_| Refusal::GarbageArguments)
}

/// A call that was sent again because its connection broke is answered with the reply of its first execution: one that is still being
/// executed would take a lock behind the client's own unlocking.
async fn execute_once(door: Arc<NfsDoor>, from: Origin, call: Call) -> Result<Reply, Refusal> {
    let cache = Arc::clone(&door.lock_replies);
    let procedure = call.procedure | CACHED_AS;
    let key = CallKey::new(from.address.ip(), call.xid, procedure, &call.credential, &call.args, false);
    let xid = call.xid;
    loop {
        match cache.begin(key, Instant::now()) {
            Begin::Execute(execution) => {
                let reply = execute(door, from, call).await?;
                execution.finish(reply.body(), Instant::now());
                return Ok(reply);
            }
            Begin::Repeat(body) => {
                count(&door.metrics().replies_repeated);
                return Ok(Reply::repeat(xid, body));
            }
            Begin::Join(join) => {
                count(&door.metrics().calls_joined);
                if let Some(body) = join.reply().await {
                    return Ok(Reply::repeat(xid, body));
                }
            }
        }
    }
}

async fn execute(door: Arc<NfsDoor>, from: Origin, call: Call) -> Result<Reply, Refusal> {
    let (cookie, request) = decode(call.procedure, call.args.clone())?;
    let mut out = accepted(call.xid, REPLY_CAPACITY);
    let answered = wait(move || procedures::execute(&door, from, &call.credential, &request)).await?;
    answered.encode(&cookie, &mut out);
    Ok(Reply::finish(out, Bytes::new()))
}

async fn wait<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    bridge::wait(work).await.map_err(|error| {
        tracing::error!(%error, "an nfs lock procedure failed unexpectedly");
        Refusal::SystemError
    })
}
