//! The name of the file in a form, for `${filename}` in the key: the S3 library does not hand it on, so the start of the
//! form is kept while it goes by, and read again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::FORM_FIELDS_LEN_MAX;

/// Bytes kept of a form: all its fields, and their headers.
const HEAD_LEN_MAX: usize = FORM_FIELDS_LEN_MAX + (64 << 10);

/// The start of a form, as far as it has been received.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormHead {
    bytes: Arc<Mutex<Vec<u8>>>,
    boundary: String,
}

impl FormHead {
    /// For a form with this `Content-Type`.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = kind.split(';').find_map(|part| part.trim().strip_prefix("boundary=")).unwrap_or_default();
        Self { bytes: Arc::default(), boundary: boundary.trim_matches('"').to_owned() }
    }

    /// The last component of the file's name.
    pub(crate) fn filename(&self) -> Option<String> {
        filename(&self.bytes.lock(), &self.boundary)
    }

    fn keep(&self, data: &[u8]) {
        let mut bytes = self.bytes.lock();
        let room = HEAD_LEN_MAX - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
    }
}

fn filename(form: &[u8], boundary: &str) -> Option<String> {
    if boundary.is_empty() {
        return None;
    }
    let delimiter = format!("--{boundary}\r\n");
    let mut rest = form;
    while let Some(at) = find(rest, delimiter.as_bytes()) {
        rest = &rest[at + delimiter.len()..];
        let head = &rest[..find(rest, b"\r\n\r\n")?];
        let head = String::from_utf8_lossy(head);
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
        if line.contains("name=\"file\"") {
            let name = line.split_once("filename=\"")?.1;
            let name = name.split('"').next()?;
            return Some(name.rsplit(['/', '\\']).next()?.to_owned());
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A body whose start is kept as it goes by.
pub(crate) struct Kept<B> {
    pub(crate) inner: B,
    pub(crate) head: FormHead,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Kept<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(task);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.head.keep(data);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &[u8] = b"--XX\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nuploads/${filename}\r\n--XX\r\n\
Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\photo 1.jpg\"\r\nContent-Type: image/jpeg\r\n\r\ndata";

    #[test]
    fn the_name_is_that_of_the_file_without_its_folders() {
        assert_eq!(filename(FORM, "XX").as_deref(), Some("photo 1.jpg"));
        assert_eq!(filename(FORM, "YY"), None);
        assert_eq!(filename(b"", ""), None);
    }

    #[test]
    fn no_more_than_the_start_of_a_form_is_kept() {
        let head = FormHead::default();
        for _ in 0..10 {
            head.keep(&[0; 100_000]);
        }
        assert_eq!(head.bytes.lock().len(), HEAD_LEN_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_name_or_none_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let form = [b"--X\r\nContent-Disposition: form-data; name=\"file\"".as_slice(), &bytes].concat();
            let _ = filename(&form, "X");
            let _ = filename(&bytes, "X");
        }
    }
}
