//! The path of every request: admit it, authenticate, decode the path, call the code for its method, and hold the answer back until
//! everything it depends on is durable (invariants ACK and SEEN).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, HOST, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use strata_gate::client;
use strata_http::Received;
use strata_http::head::is_coded;
use strata_namespace::Op;
use strata_seam::Stopwatch;
use tracing::Instrument;

use crate::ask::{Ask, Reply};
use crate::body::ReplyBody;
use crate::door::WebDavDoor;
use crate::error::{Refusal, Result};
use crate::headers;
use crate::if_header::IfHeader;
use crate::metrics::{Raised, add};
use crate::path::UrlPath;
use crate::{auth, get, locking, operations, props, put, range_write, tree, upload};

/// Compliance classes, and SabreDAV's partial update.
const DAV: &str = "1, 2, 3, sabredav-partialupdate";
const METHODS: &str = "OPTIONS, GET, HEAD, PUT, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";

/// Answers one request; `fragment` says whether its line had one.
pub(crate) async fn handle(
    door: &Arc<WebDavDoor>,
    request: Request<Received>,
    peer: IpAddr,
    fragment: bool,
) -> Response<ReplyBody> {
    let begun = Stopwatch::start();
    let method = request.method().clone();
    let reply = match door.in_flight.clone().try_acquire_owned() {
        Ok(permit) => {
            let gauge = Raised::new(&door.metrics, |metrics| &metrics.in_flight);
            let span = tracing::debug_span!("webdav", %method, path = %request.uri().path());
            let reply = match refuse_head(&request, fragment) {
                Some(refusal) => after_draining(refuse(door, &refusal, false), request.into_body()).await,
                None => admitted(door, request, peer).instrument(span).await,
            };
            reply.map(|body| body.holding(permit, gauge))
        }
        Err(_) => {
            add(&door.metrics.refused_busy, 1);
            refuse(
                door,
                &Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many requests are in progress; try again in a moment",
                )
                .closing(),
                false,
            )
        }
    };
    door.metrics.answered(&method, reply.status(), begun.elapsed());
    reply
}

/// What is wrong with a request before anybody looks at what it asks for.
fn refuse_head(request: &Request<Received>, fragment: bool) -> Option<Refusal> {
    if fragment {
        let what = "the request line has a fragment; in a name, write # as %23; nothing was changed";
        return Some(Refusal::bad_request(what));
    }
    if is_coded(request.headers()) {
        let what = "the only transfer coding that is understood is chunked; nothing was changed";
        return Some(Refusal::new(StatusCode::NOT_IMPLEMENTED, what).closing());
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    // RFC 9112 section 3.2: a request must say exactly once which server it means.
    if hosts > 1 || hosts == 0 && request.version() >= Version::HTTP_11 {
        return Some(Refusal::bad_request("the request has no Host header, or more than one; nothing was changed"));
    }
    None
}

async fn admitted(door: &Arc<WebDavDoor>, request: Request<Received>, peer: IpAddr) -> Reply {
    let windows = request.headers().get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Microsoft"));
    // Until its user is known, a request counts for its address. Without a body the user is known at once.
    let mut stranger = None;
    if !request.body().is_end_stream() {
        stranger = door.strangers.take(client(peer));
        if stranger.is_none() {
            add(&door.metrics.refused_busy, 1);
            let busy = "too many requests of this address are in progress; try again in a moment";
            return refuse(door, &Refusal::new(StatusCode::SERVICE_UNAVAILABLE, busy).closing(), windows);
        }
    }
    // Windows and macOS ask for the options before they log in. The answer is the same for every path and everybody.
    if request.method() == Method::OPTIONS {
        return options(door, request.into_body()).await;
    }
    let (ask, body) = match accept(door, request, peer).await {
        Ok(accepted) => accepted,
        Err(reply) => return *reply,
    };
    drop(stranger);
    let Some(place) = door.by_user.take(ask.user.uid) else {
        add(&door.metrics.refused_busy, 1);
        let busy = "too many requests of this user are in progress; try again in a moment";
        return refuse(door, &Refusal::new(StatusCode::SERVICE_UNAVAILABLE, busy).closing(), windows);
    };
    let answer = answer(&ask, body).await;
    let settled = door.ns.settle(&ask.op).await;
    match (answer, settled) {
        (Ok(reply), Ok(())) => reply.map(|body| body.of_user(place)),
        (Ok(_), Err(error)) => refuse(door, &error.into(), windows),
        (Err(refusal), _) => refuse(door, &refusal, windows),
    }
}

/// The one place that decides who answers a method.
async fn answer(ask: &Arc<Ask>, body: Option<Received>) -> Result<Reply> {
    let Some(body) = body else { return get::get(ask).await };
    match ask.method.as_str() {
        "PUT" => put::put(ask, body).await,
        "PATCH" => range_write::patch(ask, body).await,
        "DELETE" => tree::delete(ask, body).await,
        "MKCOL" => tree::mkcol(ask, body).await,
        "COPY" => tree::copy(ask, body).await,
        "MOVE" => tree::r#move(ask, body).await,
        "PROPFIND" => props::find::propfind(ask, body).await,
        "PROPPATCH" => props::patch::proppatch(ask, body).await,
        "LOCK" => locking::lock(ask, body).await,
        "UNLOCK" => locking::unlock(ask, body).await,
        "POST" | "TRACE" | "CONNECT" => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this share does not support the method").closing())
        }
        _ => Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "this method is not known").closing()),
    }
}

/// Authenticates and decodes. The body is `None` for GET and HEAD.
async fn accept(
    door: &Arc<WebDavDoor>,
    request: Request<Received>,
    peer: IpAddr,
) -> Result<(Arc<Ask>, Option<Received>), Box<Reply>> {
    let (head, body) = request.into_parts();
    let given = auth::basic(&head.headers);
    let user = given.as_ref().and_then(|(name, password)| door.users.by_password(name, password));
    let Some(user) = user else {
        if given.is_some() {
            add(&door.metrics.auth_failures, 1);
        }
        let mut reply = refuse(
            door,
            &Refusal::new(StatusCode::UNAUTHORIZED, "log in with a name and a password of this store"),
            false,
        );
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(auth::CHALLENGE));
        return Err(Box::new(after_draining(reply, body).await));
    };
    let read = || -> Result<(UrlPath, Option<IfHeader>)> {
        let path = UrlPath::parse(head.uri.path())?;
        let if_header = match headers::utf8(&head.headers, "if")? {
            Some(text) => Some(IfHeader::parse(text).map_err(|error| Refusal::bad_request(error.to_string()))?),
            None => None,
        };
        Ok((path, if_header))
    };
    let (path, if_header) = match read() {
        Ok(read) => read,
        Err(refusal) => return Err(Box::new(after_draining(refuse(door, &refusal, false), body).await)),
    };
    let reading = matches!(head.method, Method::GET | Method::HEAD);
    let op = Arc::new(Op::of(user.caller(&operations::DOOR), operations::of_method(&head.method)));
    let tokens = if_header.as_ref().map(IfHeader::tokens).unwrap_or_default();
    if !tokens.is_empty() || matches!(head.method.as_str(), "LOCK" | "UNLOCK") {
        op.submit(&user.name, tokens);
    }
    let ask = Ask {
        door: door.clone(),
        op,
        user,
        method: head.method,
        path,
        headers: head.headers,
        uri: head.uri,
        peer,
        if_header,
    };
    Ok((Arc::new(ask), (!reading).then_some(body)))
}

async fn options(door: &Arc<WebDavDoor>, body: Received) -> Reply {
    let mut reply = Response::new(ReplyBody::whole(&door.metrics, ""));
    let headers = reply.headers_mut();
    headers.insert("dav", HeaderValue::from_static(DAV));
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    // Explorer and Office take a server without this header for a plain web site.
    headers.insert("ms-author-via", HeaderValue::from_static("DAV"));
    headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
    after_draining(reply, body).await
}

/// A reply given before the body was read: the rest is read if it is short, else the connection ends with the reply.
async fn after_draining(mut reply: Reply, body: Received) -> Reply {
    if !body.is_end_stream() && !upload::drain(body).await {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// A refusal as a reply: an `error` element where RFC 4918 names the reason, else a sentence.
fn refuse(door: &WebDavDoor, refusal: &Refusal, windows: bool) -> Reply {
    let (kind, body) = match refusal.condition {
        Some(condition) => {
            let inner = match &refusal.href {
                Some(href) => format!("<D:{condition}><D:href>{href}</D:href></D:{condition}>"),
                None => format!("<D:{condition}/>"),
            };
            let mut out = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\">{inner}</D:error>\n<!-- "
            )
            .into_bytes();
            crate::xml::push_text(&mut out, &refusal.what.replace("--", "- -"));
            out.extend_from_slice(b" -->\n");
            (props::find::XML, out)
        }
        None => ("text/plain; charset=utf-8", format!("{}\n", refusal.what).into_bytes()),
    };
    let mut reply = Response::new(ReplyBody::whole(&door.metrics, body));
    *reply.status_mut() = refusal.status;
    let headers = reply.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if refusal.status == StatusCode::NOT_FOUND && windows {
        // The Windows client would remember for a minute that nothing has this name, in upper or lower case.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate"));
    }
    tracing::debug!(status = refusal.status.as_u16(), what = %refusal.what, "webdav request refused");
    reply
}
