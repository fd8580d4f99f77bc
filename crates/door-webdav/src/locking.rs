//! LOCK and UNLOCK: checked here, carried out by dav-server over the locks of the name space.
//!
//! The library reads the request, evaluates the `If` header for it and writes the reply; [`adapter`] gives it the store.
//! What the library does not check is checked before: permissions, locks on the parent of a resource that LOCK creates, and the
//! shape of the XML. The name space decides who holds which lock.

mod adapter;

use std::sync::Arc;

use bytes::Bytes;
use dav_server::DavHandler;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use strata_http::Received;
use strata_namespace::{Access, Touch};

use crate::ask::{Ask, Found, Reply};
use crate::body::ReplyBody;
use crate::error::{Refusal, Result};
use crate::{upload, xml};
use adapter::{Context, LockSystem, Store};

/// Answers LOCK: a new lock with a body, a refreshed one without.
pub(crate) async fn lock(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    let body = upload::small(body, xml::BODY_LEN_MAX, &ask.door).await?;
    if !body.is_empty() {
        xml::check(&body)?;
        may_lock(ask)?;
    }
    hand_over(ask, body, "no-conflicting-lock").await
}

/// Answers UNLOCK.
pub(crate) async fn unlock(ask: &Arc<Ask>, body: Received) -> Result<Reply> {
    upload::small(body, xml::BODY_LEN_MAX, &ask.door).await?;
    hand_over(ask, Vec::new(), "lock-token-matches-request-uri").await
}

/// Whoever locks a resource keeps others from changing it, so only those who may change it may lock it.
fn may_lock(ask: &Ask) -> Result<()> {
    let path = &ask.path;
    match ask.look(path)? {
        Found::Node(attr) => match ask.require(&attr, Access { write: true, ..Access::default() }) {
            // The file was removed since it was found: the lock makes it anew, or is refused.
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(()),
            judged => judged,
        },
        Found::Hidden => Err(Refusal::conflict("something that is no file has this name; nothing was locked")),
        Found::Nothing => {
            let parent = ask.parent_of(path)?;
            ask.require(&parent, Access { write: true, exec: true, ..Access::default() })?;
            Ok(ask.ns().check_locks(&ask.op, &[Touch::Members(parent.ino)])?)
        }
    }
}

/// Lets the library carry the request out. `condition` names the reason of a refusal that it gives none for.
async fn hand_over(ask: &Arc<Ask>, body: Vec<u8>, condition: &'static str) -> Result<Reply> {
    let context = Arc::new(Context { ask: ask.clone(), refusal: Mutex::new(None) });
    let handler: DavHandler<Arc<Context>> = DavHandler::builder()
        .filesystem(Box::new(Store))
        .locksystem(Box::new(LockSystem(context.clone())))
        .build_handler();
    // The library sees the path that was authorised, not the client's spelling of it.
    let mut request = Request::builder()
        .method(ask.method.clone())
        .uri(ask.path.href(ask.path.has_slash()))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Refusal::bad_request(format!("the request cannot be used: {error}")))?;
    *request.headers_mut() = ask.headers.clone();
    let reply = handler.handle_guarded(request, ask.user.name.clone(), context.clone()).await;
    if let Some(refusal) = context.refusal.lock().take() {
        return Err(refusal);
    }
    let (head, body) = reply.into_parts();
    if head.status.is_client_error() || head.status.is_server_error() {
        let reason = match (head.status, ask.method.as_str()) {
            (StatusCode::BAD_REQUEST, "UNLOCK") => "it needs a Lock-Token header, with the token in angle brackets",
            (StatusCode::BAD_REQUEST, "LOCK") => {
                "it needs Depth 0 or infinity, and either a body with lockscope and locktype or, to refresh a lock, no body and an If \
                 header with its token"
            }
            (status, _) => status.canonical_reason().unwrap_or("refused"),
        };
        let refusal = Refusal::new(head.status, format!("{} was refused ({reason}); nothing was changed", ask.method));
        let names_condition =
            matches!(head.status, StatusCode::LOCKED | StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED);
        return Err(if names_condition { refusal.because(condition) } else { refusal });
    }
    let body = body
        .collect()
        .await
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        .to_bytes();
    let length = HeaderValue::from(body.len());
    let mut reply = Response::from_parts(head, ReplyBody::whole(&ask.door.metrics, body));
    if reply.status() != StatusCode::NO_CONTENT {
        reply.headers_mut().insert(CONTENT_LENGTH, length);
    }
    Ok(reply)
}
