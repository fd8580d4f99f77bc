//! From a call to its reply: picks the program.

use std::sync::Arc;

use crate::door::NfsDoor;
use crate::metrics::count;
use crate::origin::Origin;
use crate::peer::{Answer, Peer, Service};
use crate::rpc::{Call, Refusal, Reply};
use crate::{mount, nfs, nlm, nsm, portmap, universal};

/// Executes a call.
pub(crate) async fn dispatch(door: Arc<NfsDoor>, peer: Arc<Peer>, call: Call) -> Answer {
    let all = peer.service == Service::All;
    let (low, high) = match call.program {
        nfs::PROGRAM if all => (nfs::VERSION, nfs::VERSION),
        mount::PROGRAM if all => (mount::VERSION, mount::VERSION),
        nlm::PROGRAM if all => (nlm::VERSION, nlm::VERSION),
        nsm::PROGRAM if all => (nsm::VERSION, nsm::VERSION),
        portmap::PROGRAM => (portmap::VERSION, portmap::VERSION_LAST),
        _ => {
            count(&door.metrics().calls_unavailable);
            return Reply::refused(call.xid, Refusal::ProgramUnavailable).into();
        }
    };
    if call.version < low || call.version > high {
        count(&door.metrics().calls_unavailable);
        return Reply::refused(call.xid, Refusal::ProgramMismatch { low, high }).into();
    }
    let xid = call.xid;
    let metrics = Arc::clone(door.metrics());
    let result = match call.program {
        nfs::PROGRAM => nfs::call(door, &peer, call).await,
        nlm::PROGRAM => {
            let origin = Origin { address: peer.address, local: peer.local };
            nlm::call(door, origin, call).await.map(Answer::from)
        }
        nsm::PROGRAM => nsm::call(door, peer.address, call).await.map(Answer::from),
        mount::PROGRAM => mount::call(&door, &peer, &call).await.map(Answer::from),
        _ => {
            let (local, nfs_port) = (peer.local, peer.nfs_port);
            let place = portmap::Place { local, protocol: universal::TCP, nfs_port, registry: !all };
            portmap::call(&door, place, &call).map(Answer::from)
        }
    };
    result.unwrap_or_else(|refusal| {
        count(match refusal {
            Refusal::GarbageArguments => &metrics.calls_garbage,
            _ => &metrics.calls_unavailable,
        });
        Reply::refused(xid, refusal).into()
    })
}
