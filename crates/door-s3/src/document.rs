//! Request documents, read strictly and written anew before the S3 library sees them.
//!
//! The library's reader drops CDATA sections, knows no name space prefixes, takes `12x` for a number, skips elements it does
//! not know and text between elements, and refuses half of Unicode as character references. A key read wrongly is another
//! object deleted. So what reaches it is a plain document: known elements only, text with nothing left to resolve.

use bytes::Bytes;
use quick_xml::escape::{partial_escape, resolve_xml_entity};
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::QName;
use quick_xml::reader::Reader;
use s3s::{S3Error, S3ErrorCode};

use crate::error::{not_offered, refuse};
use crate::metrics::Operation;

/// What an element holds.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Truth,
    Group(&'static [Element]),
    /// Known to S3 and not to this store.
    Missing,
}

struct Element {
    name: &'static str,
    kind: Kind,
    /// Whether it may come more than once.
    many: bool,
}

const fn one(name: &'static str, kind: Kind) -> Element {
    Element { name, kind, many: false }
}
const fn many(name: &'static str, kind: Kind) -> Element {
    Element { name, kind, many: true }
}

const DELETE: Element = one(
    "Delete",
    Kind::Group(&[
        many(
            "Object",
            Kind::Group(&[
                one("Key", Kind::Text),
                one("VersionId", Kind::Text),
                one("ETag", Kind::Text),
                one("LastModifiedTime", Kind::Text),
                one("Size", Kind::Number),
            ]),
        ),
        one("Quiet", Kind::Truth),
    ]),
);

const COMPLETION: Element = one(
    "CompleteMultipartUpload",
    Kind::Group(&[many(
        "Part",
        Kind::Group(&[
            one("PartNumber", Kind::Number),
            one("ETag", Kind::Text),
            one("ChecksumCRC32", Kind::Text),
            one("ChecksumCRC32C", Kind::Text),
            one("ChecksumCRC64NVME", Kind::Text),
            one("ChecksumSHA1", Kind::Text),
            one("ChecksumSHA256", Kind::Text),
            one("ChecksumSHA512", Kind::Missing),
            one("ChecksumMD5", Kind::Missing),
            one("ChecksumXXHASH64", Kind::Missing),
            one("ChecksumXXHASH3", Kind::Missing),
            one("ChecksumXXHASH128", Kind::Missing),
        ]),
    )]),
);

const NEW_BUCKET: Element = one(
    "CreateBucketConfiguration",
    Kind::Group(&[
        one("LocationConstraint", Kind::Text),
        one("Location", Kind::Missing),
        one("Bucket", Kind::Missing),
        one("Tags", Kind::Missing),
    ]),
);

/// The document of a request as plain XML in UTF-8. Operations that take none get none.
///
/// # Errors
/// `MalformedXML` for what is not well-formed, or not the document of this operation; `NotImplemented` for elements that
/// ask for what this store does not have.
pub(crate) fn plain(operation: Operation, document: Bytes) -> Result<Bytes, S3Error> {
    let root = match operation {
        Operation::DeleteObjects => &DELETE,
        Operation::CompleteMultipartUpload => &COMPLETION,
        Operation::CreateBucket => &NEW_BUCKET,
        _ => return Ok(Bytes::new()),
    };
    if document.is_empty() {
        return Ok(document);
    }
    let text = text_of(&document)?;
    let mut rewriter = Rewriter { reader: Reader::from_str(&text), out: String::with_capacity(text.len()) };
    match rewriter.document(root) {
        Ok(()) => Ok(rewriter.out.into()),
        Err(err) if operation == Operation::CreateBucket && err.code() == &S3ErrorCode::MalformedXML => Err(refuse(
            S3ErrorCode::MalformedXML,
            format!(
                "{}; if this was to be the data of an object, the bucket has to be in the path, or the server has to be started with --domain",
                err.message().unwrap_or_default()
            ),
        )),
        Err(err) => Err(err),
    }
}

fn malformed(what: impl std::fmt::Display) -> S3Error {
    refuse(
        S3ErrorCode::MalformedXML,
        format!(
            "the XML you provided is not well-formed, or is no document of this operation: {what}; nothing was changed"
        ),
    )
}

/// UTF-8 or UTF-16 with its mark, the encodings that every XML reader knows.
fn text_of(document: &Bytes) -> Result<String, S3Error> {
    let wide = |to: fn([u8; 2]) -> u16| {
        let pairs = document[2..].chunks(2).map(|pair| pair.try_into().map(to).unwrap_or(0xdfff));
        char::decode_utf16(pairs).collect::<Result<String, _>>().map_err(|_| malformed("it is no UTF-16"))
    };
    match document.get(..2) {
        Some([0xfe, 0xff]) => wide(u16::from_be_bytes),
        Some([0xff, 0xfe]) => wide(u16::from_le_bytes),
        _ => {
            let text = std::str::from_utf8(document).map_err(|_| malformed("it is no UTF-8"))?;
            Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
        }
    }
}

struct Rewriter<'a> {
    reader: Reader<&'a [u8]>,
    out: String,
}

impl<'a> Rewriter<'a> {
    fn next(&mut self) -> Result<Event<'a>, S3Error> {
        self.reader.read_event().map_err(malformed)
    }

    fn document(&mut self, root: &'static Element) -> Result<(), S3Error> {
        let mut seen = false;
        loop {
            match self.next()? {
                Event::Decl(declaration) if !seen && self.out.is_empty() => check_declaration(&declaration)?,
                Event::Start(start) if !seen && local(start.name())? == root.name => {
                    seen = true;
                    self.element(root, &start, false)?;
                }
                Event::Empty(start) if !seen && local(start.name())? == root.name => {
                    seen = true;
                    self.element(root, &start, true)?;
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Text(text) if is_blank(&text) => {}
                Event::Eof if seen => return Ok(()),
                Event::Eof => return Err(malformed("it ends too early")),
                Event::DocType(_) => return Err(malformed("a document type declaration is refused")),
                _ => return Err(malformed(format!("it needs {} as its one element", root.name))),
            }
        }
    }

    /// Writes an element whose start was read, up to its end.
    fn element(&mut self, element: &'static Element, start: &BytesStart<'_>, empty: bool) -> Result<(), S3Error> {
        if let Some(err) = start.attributes().find_map(Result::err) {
            return Err(malformed(err));
        }
        self.tag("<", element.name);
        match element.kind {
            Kind::Group(_) if empty => {}
            Kind::Group(members) => self.group(members)?,
            Kind::Missing => return Err(not_offered(element.name)),
            kind => {
                let text = if empty { String::new() } else { self.text()? };
                let text = match kind {
                    Kind::Number => match text.trim().parse::<i64>() {
                        Ok(number) => number.to_string(),
                        Err(_) => return Err(malformed(format!("{} is no number", element.name))),
                    },
                    Kind::Truth => match text.trim() {
                        "1" => "true".to_owned(),
                        "0" => "false".to_owned(),
                        word if word.eq_ignore_ascii_case("true") => "true".to_owned(),
                        word if word.eq_ignore_ascii_case("false") => "false".to_owned(),
                        _ => return Err(malformed(format!("{} is neither true nor false", element.name))),
                    },
                    _ => text,
                };
                self.out.push_str(&partial_escape(text));
            }
        }
        self.tag("</", element.name);
        Ok(())
    }

    fn tag(&mut self, open: &str, name: &str) {
        self.out.push_str(open);
        self.out.push_str(name);
        self.out.push('>');
    }

    fn group(&mut self, members: &'static [Element]) -> Result<(), S3Error> {
        let mut seen: Vec<&str> = Vec::new();
        loop {
            let (start, empty) = match self.next()? {
                Event::Start(start) => (start, false),
                Event::Empty(start) => (start, true),
                Event::End(_) => return Ok(()),
                Event::Comment(_) | Event::PI(_) => continue,
                Event::Text(text) if is_blank(&text) => continue,
                Event::Eof => return Err(malformed("it ends too early")),
                _ => return Err(malformed("there is text where elements belong")),
            };
            let name = local(start.name())?;
            let member = members.iter().find(|member| member.name == name);
            let member = member.ok_or_else(|| malformed(format!("the element {name} does not belong here")))?;
            if !member.many && seen.contains(&member.name) {
                return Err(malformed(format!("the element {name} is there twice")));
            }
            if !member.many {
                seen.push(member.name);
            }
            self.element(member, &start, empty)?;
        }
    }

    /// All text up to the end of the element, with references resolved and line ends as they were sent.
    fn text(&mut self) -> Result<String, S3Error> {
        let mut out = String::new();
        loop {
            match self.next()? {
                // Line ends stay as they are, although XML would make line feeds of carriage returns: what is sent raw, as
                // s3cmd does, is the key that is meant.
                Event::Text(text) => out.push_str(utf8(&text)?),
                Event::CData(text) => out.push_str(utf8(&text)?),
                Event::GeneralRef(name) => {
                    let name = utf8(&name)?;
                    match (resolve_xml_entity(name), character(name)) {
                        (Some(text), _) => out.push_str(text),
                        (None, Some(c)) => out.push(c),
                        (None, None) => return Err(malformed(format!("the reference &{name}; is not known"))),
                    }
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::End(_) => return Ok(out),
                Event::Eof => return Err(malformed("it ends too early")),
                _ => return Err(malformed("there are elements where text belongs")),
            }
        }
    }
}

fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), S3Error> {
    let Some(encoding) = declaration.encoding() else { return Ok(()) };
    let encoding = encoding.map_err(malformed)?;
    match ["utf-8", "us-ascii", "utf-16"].iter().any(|known| known.as_bytes().eq_ignore_ascii_case(&encoding)) {
        true => Ok(()),
        false => Err(malformed("its encoding is neither UTF-8 nor UTF-16")),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, S3Error> {
    std::str::from_utf8(bytes).map_err(malformed)
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// The name without its prefix.
fn local(name: QName<'_>) -> Result<&str, S3Error> {
    utf8(name.local_name().into_inner())
}

/// A character reference. Control characters are no characters of XML 1.0; keys may hold them, and lists show them so.
fn character(name: &str) -> Option<char> {
    let digits = name.strip_prefix('#')?;
    let code = match digits.strip_prefix('x') {
        Some(hex) if hex.bytes().all(|c| c.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok()?,
        None if digits.bytes().all(|c| c.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    char::from_u32(code).filter(|c| *c != '\0')
}

#[cfg(test)]
mod tests;
