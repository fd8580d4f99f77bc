//! Takes a form apart as it arrives (RFC 7578): its fields, up to the file; then the file, piece by piece.
//!
//! Of the fields no more than [`FIELDS_LEN_MAX`] bytes are held, of the file no more than what arrived last.

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::BodyExt;
use s3s::{S3Error, S3ErrorCode};

use crate::error::refuse;

/// Most bytes of everything before the file. S3 takes 20 KB.
pub(crate) const FIELDS_LEN_MAX: usize = 64 << 10;
/// Most fields of a form.
const FIELDS_MAX: usize = 100;
/// Most bytes read behind the file, so that the connection can be used again.
const REST_LEN_MAX: usize = 64 << 10;

/// The fields of a form: names in lower case, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pairs: Vec<(String, String)>,
    /// The name that the client gives its file, without folders.
    pub(crate) filename: Option<String>,
}

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
    fn add(&mut self, name: &str, value: String) -> Result<(), S3Error> {
        let name = name.to_ascii_lowercase();
        if self.get(&name).is_some() {
            return Err(malformed(format!("the field {name} comes twice")));
        }
        if self.pairs.len() == FIELDS_MAX {
            return Err(malformed(format!("it has more than {FIELDS_MAX} fields")));
        }
        self.pairs.push((name, value));
        Ok(())
    }
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.add(name, (*value).to_owned()).unwrap();
        }
        fields
    }
}

/// A form being received.
pub(crate) struct FormReader<B> {
    body: B,
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    /// Received and not handed on.
    held: Bytes,
    /// Bytes taken so far of what comes before the file.
    taken: usize,
    /// Behind the file.
    ended: bool,
}

impl<B: Body<Data = Bytes> + Unpin> FormReader<B> {
    /// # Errors
    /// `MalformedPOSTRequest` if the content type names no boundary that can be one.
    pub(crate) fn new(content_type: &str, body: B) -> Result<Self, S3Error> {
        let boundary = parameter(content_type, "boundary").filter(|text| (1..=70).contains(&text.len()));
        let boundary = boundary.ok_or_else(|| malformed("its content type names no boundary"))?;
        // The first delimiter stands at the very beginning, without a line before it.
        let held = Bytes::from_static(b"\r\n");
        Ok(Self { body, delimiter: format!("\r\n--{boundary}").into_bytes(), held, taken: 0, ended: false })
    }

    /// Everything up to the file.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`, `IncorrectNumberOfFilesInPostRequest`, `IncompleteBody`.
    pub(crate) async fn fields(&mut self) -> Result<Fields, S3Error> {
        let mut fields = Fields::default();
        let delimiter = self.delimiter.clone();
        self.until(&delimiter).await?;
        loop {
            let line = self.until(b"\r\n").await?;
            if line.starts_with(b"--") {
                return Err(refuse(
                    S3ErrorCode::IncorrectNumberOfFilesInPostRequest,
                    "a form needs exactly one file, as its last field",
                ));
            }
            if !line.iter().all(|c| matches!(c, b' ' | b'\t')) {
                return Err(malformed("there is something behind a boundary"));
            }
            let mut disposition = None;
            loop {
                let line = self.until(b"\r\n").await?;
                if line.is_empty() {
                    break;
                }
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.get(..20).is_some_and(|name| name.eq_ignore_ascii_case("content-disposition:")) {
                    disposition = Some(line);
                }
            }
            let disposition = disposition.unwrap_or_default();
            let name = parameter(&disposition, "name").ok_or_else(|| malformed("a field has no name"))?;
            if name.eq_ignore_ascii_case("file") {
                let filename = parameter(&disposition, "filename").unwrap_or_default();
                let filename = filename.rsplit(['/', '\\']).next().unwrap_or_default();
                fields.filename = Some(filename.to_owned()).filter(|name| !name.is_empty());
                return Ok(fields);
            }
            let value = self.until(&delimiter).await?;
            let value = String::from_utf8(value.to_vec()).map_err(|_| malformed("a field is no UTF-8"))?;
            fields.add(&name, value)?;
        }
    }

    /// The next piece of the file; `None` at its end.
    ///
    /// # Errors
    /// `IncompleteBody`, `MalformedPOSTRequest`.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        while !self.ended {
            if self.held.is_empty() {
                self.held = self.frame().await.ok_or_else(broken_off)?;
            }
            if let Some(at) = find(&self.held, &self.delimiter) {
                let behind = at + self.delimiter.len();
                while self.held.len() < behind + 2 {
                    self.more().await?;
                }
                if !matches!(&self.held[behind..behind + 2], b"--" | b"\r\n") {
                    return Err(malformed("there is something behind a boundary"));
                }
                let data = self.held.split_to(at);
                self.ended = true;
                self.drain().await;
                return Ok((!data.is_empty()).then_some(data));
            }
            let sure = self.held.len() - beginning(&self.held, &self.delimiter);
            if sure > 0 {
                return Ok(Some(self.held.split_to(sure)));
            }
            self.more().await?;
        }
        Ok(None)
    }

    /// What comes before the next `mark`, which is taken as well.
    async fn until(&mut self, mark: &[u8]) -> Result<Bytes, S3Error> {
        loop {
            if let Some(at) = find(&self.held, mark) {
                let found = self.held.split_to(at);
                self.held.advance(mark.len());
                self.taken += at + mark.len();
                return self.within(self.taken).map(|()| found);
            }
            self.within(self.taken + self.held.len())?;
            self.more().await?;
        }
    }

    fn within(&self, len: usize) -> Result<(), S3Error> {
        match len > FIELDS_LEN_MAX + self.delimiter.len() {
            true => Err(refuse(
                S3ErrorCode::MaxPostPreDataLengthExceededError,
                "your POST request fields preceding the upload file were too large",
            )),
            false => Ok(()),
        }
    }

    /// Puts what arrives next behind what is held, which is short: fields, or what may begin a delimiter. It is a copy,
    /// so a piece that is handed on from it keeps nothing else alive.
    async fn more(&mut self) -> Result<(), S3Error> {
        let data = self.frame().await.ok_or_else(broken_off)?;
        self.held = [&self.held[..], &data].concat().into();
        Ok(())
    }

    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            // A body that breaks off ends here: its last boundary is missing then.
            if let Ok(data) = self.body.frame().await?.ok()?.into_data() {
                return Some(data);
            }
        }
    }

    /// Fields behind the file are ignored, as in S3.
    async fn drain(&mut self) {
        let mut len = 0;
        while len <= REST_LEN_MAX
            && let Some(data) = self.frame().await
        {
            len += data.len();
        }
    }
}

/// The first place of `mark`, which begins with a carriage return.
fn find(data: &[u8], mark: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = data.get(from..)?.iter().position(|byte| *byte == b'\r') {
        if data[from + at..].starts_with(mark) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// How many bytes at the end of `data` may be the beginning of `mark`.
fn beginning(data: &[u8], mark: &[u8]) -> usize {
    let longest = data.len().min(mark.len() - 1);
    (1..=longest).rev().find(|len| data.ends_with(&mark[..*len])).unwrap_or(0)
}

fn broken_off() -> S3Error {
    refuse(S3ErrorCode::IncompleteBody, "the form ended before its last boundary; nothing was stored")
}

/// A parameter of a header such as `form-data; name="key"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next()? {
                        (at, '"') => break at + 1,
                        // Only a quote is escaped: browsers write folders with backslashes.
                        (_, '\\') if chars.as_str().starts_with('"') => {
                            value.push('"');
                            chars.next();
                        }
                        (_, c) => value.push(c),
                    }
                };
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after.trim_start().strip_prefix(';')?;
    }
}

fn malformed(what: impl std::fmt::Display) -> S3Error {
    refuse(S3ErrorCode::MalformedPOSTRequest, format!("the form cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    const HEAD: &str = "--XX\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\nuploads/${filename}\r\n--XX\r\n\
Content-Disposition: form-data; name=\"file\"; filename=\"C:\\dir\\photo 1.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n";

    /// The fields and the file of a form that arrives in pieces of `len` bytes.
    fn read(form: &[u8], len: usize) -> Result<(Fields, Vec<u8>), S3ErrorCode> {
        let pieces: Vec<_> =
            form.chunks(len).map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        let body = StreamBody::new(stream::iter(pieces));
        let mut reader = FormReader::new("multipart/form-data; charset=utf-8; boundary=\"XX\"", body).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime
            .block_on(async {
                let fields = reader.fields().await?;
                let mut file = Vec::new();
                while let Some(piece) = reader.next().await? {
                    file.extend_from_slice(&piece);
                }
                Ok((fields, file))
            })
            .map_err(|err: S3Error| err.code().clone())
    }

    #[test]
    fn fields_and_file_are_the_same_in_pieces_of_every_length() {
        let file = b"data\r\n--X\r\n--\r\r\n--XY\r\n".as_slice();
        for (file, end) in [(file, "\r\n--XX--\r\n"), (b"", "\r\n--XX--"), (b"x", "\r\n--XX\r\nignored")] {
            let form = [HEAD.as_bytes(), file, end.as_bytes()].concat();
            for len in 1..=form.len() {
                let (fields, found) = read(&form, len).unwrap();
                assert_eq!(found, file, "in pieces of {len}");
                assert_eq!(fields.get("key"), Some("uploads/${filename}"));
                assert_eq!(fields.filename.as_deref(), Some("photo 1.jpg"));
            }
        }
    }

    #[test]
    fn what_is_no_whole_form_is_refused() {
        let field = "--XX\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nv\r\n";
        for (form, code) in [
            ("", S3ErrorCode::IncompleteBody),
            (HEAD, S3ErrorCode::IncompleteBody),
            (&format!("{HEAD}data\r\n--X"), S3ErrorCode::IncompleteBody),
            (&format!("{field}--XX--\r\n"), S3ErrorCode::IncorrectNumberOfFilesInPostRequest),
            (&format!("{field}{field}--XX--\r\n"), S3ErrorCode::MalformedPOSTRequest),
            ("--XX\r\nContent-Type: a\r\n\r\nv\r\n--XX--\r\n", S3ErrorCode::MalformedPOSTRequest),
            ("--XXY\r\n\r\n", S3ErrorCode::MalformedPOSTRequest),
            (&"x".repeat(FIELDS_LEN_MAX + 100), S3ErrorCode::MaxPostPreDataLengthExceededError),
            (
                &field.replace("\r\nv", &format!("\r\n{}", "v".repeat(FIELDS_LEN_MAX))),
                S3ErrorCode::MaxPostPreDataLengthExceededError,
            ),
        ] {
            assert_eq!(read(form.as_bytes(), 1000).unwrap_err(), code, "{:.80}", form);
        }
    }

    #[test]
    fn parameters_are_found_quoted_and_bare() {
        let header = "form-data; name=\"a;b\"; filename=\"x \\\"y\\\".txt\"; Size=7";
        assert_eq!(parameter(header, "name").as_deref(), Some("a;b"));
        assert_eq!(parameter(header, "filename").as_deref(), Some("x \"y\".txt"));
        assert_eq!(parameter(header, "size").as_deref(), Some("7"));
        assert_eq!(parameter(header, "other"), None);
        assert_eq!(parameter("form-data; name=\"open", "name"), None);
    }

    proptest! {
        #[test]
        fn any_file_comes_through_and_any_bytes_are_read_or_refused_without_panic(
            file in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'Y'), any::<u8>()], 0..300),
            len in 1usize..64,
        ) {
            let form = [HEAD.as_bytes(), &file, b"\r\n--XX--\r\n"].concat();
            if !file.windows(6).any(|window| window == b"\r\n--XX") {
                prop_assert_eq!(read(&form, len).unwrap().1, file.clone());
            }
            let _ = read(&file, len);
        }
    }
}
