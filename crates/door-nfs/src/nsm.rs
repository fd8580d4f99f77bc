//! The one procedure of the network status monitor that other hosts call (The Open Group, XNFS, chapter 11): a host reports that it
//! restarted, so that its locks end. The other procedures are between programs of one machine and are not offered.

use bytes::Bytes;
use strata_gate::bridge;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::nlm;
use crate::rpc::{Call, Refusal, Reply, accepted};

use crate::programs::nsm::NOTIFY;
pub(crate) use crate::programs::nsm::{PROGRAM, VERSION};

/// Answers a call.
pub(crate) async fn call(door: Arc<NfsDoor>, peer: SocketAddr, call: Call) -> Result<Reply, Refusal> {
    let out = accepted(call.xid, 32);
    match call.procedure {
        0 => {}
        NOTIFY => {
            let (name, restarts) = nlm::notice(call.args).map_err(|_| Refusal::GarbageArguments)?;
            count(&door.metrics().restart_notices);
            bridge::wait(move || nlm::restarted(&door, peer.ip().to_canonical(), &name, restarts))
                .await
                .map_err(|_| Refusal::SystemError)?;
        }
        _ => return Err(Refusal::ProcedureUnavailable),
    }
    Ok(Reply::finish(out, Bytes::new()))
}
