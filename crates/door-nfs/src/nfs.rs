//! NFS version 3 (RFC 1813): how a call becomes an execution.
//!
//! Arguments are decoded ([`args`]), the handle checked and the caller formed under the export's rule ([`context`]),
//! retransmissions recognised, the procedure executed (inline if it takes microseconds, on a blocking thread if it may
//! touch a disk), and the reply held back until what it says is durable.

mod args;
mod context;
mod create;
mod info;
mod io;
mod names;
mod readdir;

use std::sync::Arc;

use bytes::Bytes;
use nfsserve::nfs::nfsstat3;
use strata_seam::Stopwatch;
use tokio::time::Instant;

use self::args::{Arguments, Request, Stable};
use self::context::{Context, Outcome};
use crate::door::{NfsDoor, Places};
use crate::metrics::{add, count};
use crate::peer::{Answer, Peer};
use crate::reply_cache::{Begin, CallKey, Execution};
use crate::rpc::{Call, Refusal, Reply, accepted};
use crate::xdr::Encoder;

pub(crate) const PROGRAM: u32 = nfsserve::nfs::PROGRAM;
pub(crate) const VERSION: u32 = nfsserve::nfs::VERSION;

/// READs and unstable WRITEs of up to this many bytes are copied from and to memory on the network thread: 256 KiB take
/// about 40 us, as long as it takes to wake another thread and be woken by it.
const INLINE_LEN_MAX: u32 = 256 << 10;
/// Room for the reply of any procedure that returns no list and no data: attributes, handle, weak cache data.
const REPLY_CAPACITY: usize = 512;

/// Answers a call, and notes how long that took.
pub(crate) async fn call(door: Arc<NfsDoor>, peer: &Peer, call: Call) -> Result<Answer, Refusal> {
    let begun = Stopwatch::start();
    let procedure = call.procedure as usize;
    let metrics = Arc::clone(door.metrics());
    count(metrics.calls.get(procedure).ok_or(Refusal::ProcedureUnavailable)?);
    let answered = answer(door, peer, call).await;
    metrics.latencies[procedure].note(begun.elapsed());
    answered
}

async fn answer(door: Arc<NfsDoor>, peer: &Peer, call: Call) -> Result<Answer, Refusal> {
    if call.procedure == 0 {
        return Ok(Reply::finish(accepted(call.xid, REPLY_CAPACITY), Bytes::new()).into());
    }
    let arguments = Arguments::decode(call.procedure, call.args.clone()).map_err(|error| {
        tracing::debug!(client = %peer.address, procedure = call.procedure, error = %error, "nfs arguments refused");
        Refusal::GarbageArguments
    })?;
    let write = matches!(arguments.request, Request::Write { .. });
    if !write && !arguments.request.changes_names() {
        return Ok(execute(door, peer, &call, arguments).await?.0);
    }
    let cache = Arc::clone(if write { &door.write_replies } else { &door.replies });
    let key = CallKey::new(peer.address.ip(), call.xid, call.procedure, &call.credential, &call.args, write);
    loop {
        match cache.begin(key, Instant::now()) {
            Begin::Execute(execution) => {
                let (answer, status) = execute(door, peer, &call, arguments).await?;
                keep(execution, &answer.reply, status);
                return Ok(answer);
            }
            Begin::Repeat(body) => {
                count(&door.metrics().replies_repeated);
                return Ok(Reply::repeat(call.xid, body).into());
            }
            Begin::Join(join) => {
                count(&door.metrics().calls_joined);
                if let Some(body) = join.reply().await {
                    return Ok(Reply::repeat(call.xid, body).into());
                }
            }
        }
    }
}

/// Keeps the reply for retransmissions, unless it says "come again": then the next one is to be executed.
fn keep(execution: Execution, reply: &Reply, status: nfsstat3) {
    if !matches!(status, nfsstat3::NFS3ERR_JUKEBOX) {
        execution.finish(reply.body(), Instant::now());
    }
}

/// Executes a call and waits until its reply may leave.
async fn execute(
    door: Arc<NfsDoor>,
    peer: &Peer,
    call: &Call,
    arguments: Arguments,
) -> Result<(Answer, nfsstat3), Refusal> {
    let Arguments { handle, request } = arguments;
    let shape = request.failure_shape();
    let room = match request.reply_len_max() {
        0 => Places::default(),
        len => peer.budgets.reply(len).await,
    };
    let mut out = accepted(call.xid, REPLY_CAPACITY + request.list_len_hint());
    let begin = out.len();
    let metrics = Arc::clone(door.metrics());
    let settles = !request.is_unstable_write();
    let (status, data) = match Context::new(&door, peer.address, &call.credential, call.procedure, &handle) {
        Err(fail) => (shape.encode(fail, &[], &mut out), Bytes::new()),
        Ok(context) => {
            let (context, outcome, mut encoder) = run(&door, context, request, out).await?;
            let result = match settles && context.op.lsn().0 > 0 {
                true => door.ns.settle(&context.op).await,
                false => door.ns.told(&context.op).await,
            };
            let answered = match result {
                Ok(()) => (outcome.status, outcome.data),
                Err(error) => {
                    // The change may be visible, but the reply must not show anything of it.
                    encoder.truncate(begin);
                    (shape.encode(error.into(), &[], &mut encoder), Bytes::new())
                }
            };
            out = encoder;
            answered
        }
    };
    if !matches!(status, nfsstat3::NFS3_OK) {
        count(&metrics.errors[call.procedure as usize]);
    }
    add(&metrics.read_bytes, data.len());
    Ok((Answer { reply: Reply::finish(out, data), _room: room }, status))
}

/// Runs the procedure where it belongs: here, or on a thread that may block. A READ goes there only if not all of it is in memory, an
/// unstable WRITE if the name space would have to make room first.
async fn run(
    door: &NfsDoor,
    context: Context,
    request: Request,
    mut out: Encoder,
) -> Result<(Context, Outcome, Encoder), Refusal> {
    let blocks = match &request {
        Request::Read { offset, count } => {
            if *count <= INLINE_LEN_MAX
                && let Some(outcome) = context.read_cached(*offset, *count, &mut out)
            {
                return Ok((context, outcome, out));
            }
            true
        }
        Request::Write { stable, data, .. } => {
            *stable != Stable::Unstable
                || data.len() > INLINE_LEN_MAX as usize
                || !door.ns.write_is_quick(context.ino, data.len())
        }
        _ => request.may_block(),
    };
    let work = move || {
        let outcome = context.run(&request, &mut out);
        (context, outcome, out)
    };
    if !blocks {
        return Ok(work());
    }
    strata_gate::bridge::wait(work).await.map_err(|error| {
        tracing::error!(error = %error, "an nfs procedure failed unexpectedly");
        Refusal::SystemError
    })
}
