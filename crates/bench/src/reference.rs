//! The reference for S3 and WebDAV: a server that does what the protocol makes unavoidable and stores nothing.
//!
//! It hashes the body of a signed PUT with MD5, since every S3 server answers with that as the entity tag, and answers a GET from
//! memory. The length to answer with is part of the path: `/any/thing-<bytes>`. It checks no signatures. It runs as a
//! process of its own, so that its CPU is counted apart from the generator's.

use std::convert::Infallible;
use std::io::Write;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use tokio::net::TcpListener;

/// What is handed to the socket at once.
const PIECE_BYTES: usize = 256 << 10;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves on a free port, which it prints first, until it is killed.
///
/// # Errors
/// That no port could be opened.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        let piece = Bytes::from(vec![0x5a; PIECE_BYTES]);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let piece = piece.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, piece.clone()));
                let connection = hyper::server::conn::http1::Builder::new();
                // A client that went away is no event here.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

async fn answer(request: Request<Incoming>, piece: Bytes) -> Result<Response<Body>> {
    let (parts, mut body) = request.into_parts();
    let mut response = Response::new(Empty::new().boxed_unsync());
    if parts.method == Method::PUT {
        let signed = parts.headers.contains_key("x-amz-date");
        let mut md5 = Md5::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data()
                && signed
            {
                md5.update(&data);
            }
        }
        let tag = format!("\"{}\"", hex::encode(md5.finalize()));
        response.headers_mut().insert("etag", tag.parse()?);
    } else if parts.method == Method::GET {
        let (_, length) = parts.uri.path().rsplit_once('-').context("the path does not end with a length")?;
        let length: usize = length.parse()?;
        let pieces = length.div_ceil(PIECE_BYTES);
        let frames = (0..pieces).map(move |index| {
            let left = length - index * PIECE_BYTES;
            Ok(Frame::data(piece.slice(..left.min(PIECE_BYTES))))
        });
        *response.body_mut() = StreamBody::new(stream::iter(frames)).boxed_unsync();
        response.headers_mut().insert("content-length", length.into());
    }
    Ok(response)
}
