//! What an operation knows about its request beyond the parsed input: who sends it, the raw headers, the body.
//!
//! An operation gets a [`Context`] only for a proven request, so there is no way to forget the proof.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;
use s3s::{S3Error, S3ErrorCode};
use strata_gate::Held;
use strata_iam::User;
use strata_namespace::Op;

use crate::body::Upload;
use crate::error::refuse;
use crate::metrics::{OPERATIONS, Operation};
use crate::operations::DOOR;

/// The holder of a request in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A user's, by uid.
    User(u32),
    /// An address, as long as nothing is proven.
    Unproven(IpAddr),
}

/// What is noted about a request while it runs, for the metrics.
#[derive(Default)]
pub(crate) struct Marks {
    operation: AtomicU8,
    /// The user's place among the requests in flight.
    place: Mutex<Option<Held<Holder>>>,
    /// Room for documents.
    held: Mutex<Vec<Held<u32>>>,
    uid: AtomicU32,
}

impl Marks {
    pub(crate) fn enter(&self, operation: Operation) {
        self.operation.store(operation as u8, Ordering::Relaxed);
    }
    pub(crate) fn admit(&self, place: Held<Holder>) {
        *self.place.lock() = Some(place);
    }
    pub(crate) fn hold(&self, room: Held<u32>) {
        self.held.lock().push(room);
    }
    /// Whose request it is, once that is proven.
    pub(crate) fn uid(&self) -> u32 {
        self.uid.load(Ordering::Relaxed)
    }
    pub(crate) fn of_user(&self, uid: u32) {
        self.uid.store(uid, Ordering::Relaxed);
    }
    pub(crate) fn operation(&self) -> Operation {
        OPERATIONS[usize::from(self.operation.load(Ordering::Relaxed))]
    }
}

/// A proven request.
pub(crate) struct Context {
    /// Who sent it.
    pub(crate) user: Arc<User>,
    /// What it asks for.
    pub(crate) operation: Operation,
    /// What the name space notes about it: who asks, and what must be durable before the answer leaves.
    pub(crate) op: Op,
    /// All its headers, as they came.
    pub(crate) headers: HeaderMap,
    /// Its query parameters, decoded, without those of the signature.
    pub(crate) query: Vec<(String, String)>,
    body: Mutex<Option<Upload>>,
}

impl Context {
    pub(crate) fn new(
        user: Arc<User>,
        operation: Operation,
        headers: HeaderMap,
        query: Vec<(String, String)>,
        body: Option<Upload>,
    ) -> Self {
        let op = Op::of(user.caller(&DOOR), operation.row());
        if headers.get("x-amz-acl").is_some_and(|acl| acl == "private") {
            op.keep_private();
        }
        Self { user, operation, op, headers, query, body: Mutex::new(body) }
    }

    /// The body of an operation that stores one; there is one for exactly one taker.
    ///
    /// # Errors
    /// `MissingRequestBodyError` if the request was not one with data.
    pub(crate) fn take_body(&self) -> Result<Upload, S3Error> {
        self.body.lock().take().ok_or_else(|| refuse(S3ErrorCode::MissingRequestBodyError, "the request has no body"))
    }

    /// A header as text; what is no text counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
