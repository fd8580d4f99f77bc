//! The answer to a head that the HTTP library refuses, written down: it leaves beside the library, as the last of its connection.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use http::header::{CONNECTION, CONTENT_LENGTH};

/// All of an answer, head and document (RFC 9112, sections 4, 5 and 9.6).
pub(crate) fn whole(answer: &Response<Bytes>) -> Bytes {
    let document = answer.body();
    let mut out = BytesMut::with_capacity(1024 + document.len());
    // Writing into memory cannot fail.
    let _ = write!(out, "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status(), document.len());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != CONNECTION && *name != CONTENT_LENGTH) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.put_slice(part);
        }
    }
    out.put_slice(b"\r\n");
    out.put_slice(document);
    out.freeze()
}
