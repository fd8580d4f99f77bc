//! Request bodies in XML, read as a stream of events with every dimension bounded, and text written into replies.
//!
//! No body is ever handed to a recursive parser before [`check`] has seen that it is shallow and small: a few ten
//! thousand nested elements would otherwise overflow a thread's stack and end the process.

use std::io::Cursor;

use xml::attribute::OwnedAttribute;
use xml::name::OwnedName;
use xml::reader::{EventReader, ParserConfig, XmlEvent};
use xml::writer::{EmitterConfig, EventWriter};

use crate::error::{Refusal, Result};

/// Longest XML body in bytes.
pub(crate) const BODY_LEN_MAX: usize = 64 * 1024;
/// Deepest nesting of elements.
const DEPTH_MAX: usize = 64;
/// What the prefix `xml` always stands for.
const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// Most properties named in one request.
pub(crate) const PROPERTIES_MAX: usize = 256;

/// A property's name: name space and local name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Name {
    /// Empty for none.
    pub(crate) ns: String,
    /// Without prefix.
    pub(crate) local: String,
}

/// What a PROPFIND asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Find {
    /// Everything defined in RFC 4918 and all dead properties, and these besides.
    All(Vec<Name>),
    /// Names only.
    Names,
    /// Just these.
    These(Vec<Name>),
}

/// One instruction of a PROPPATCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Patch {
    /// Which property.
    pub(crate) name: Name,
    /// `None` removes it.
    pub(crate) value: Option<Value>,
}

/// The value of a property to set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Value {
    /// The whole element, self-contained: all name spaces it uses are declared in it.
    pub(crate) fragment: Vec<u8>,
    /// The text directly and indirectly in it.
    pub(crate) text: String,
}

fn malformed(what: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request(format!("the XML body cannot be used: {what}; nothing was changed"))
}

/// Events of a body; yields an error for what is malformed, too deep, or has a document type.
struct Events<'a> {
    reader: EventReader<Cursor<&'a [u8]>>,
    depth: usize,
}

impl<'a> Events<'a> {
    fn new(body: &'a [u8]) -> Self {
        let config = ParserConfig::new()
            .ignore_comments(true)
            .cdata_to_characters(true)
            .whitespace_to_characters(true)
            .trim_whitespace(false);
        Self { reader: EventReader::new_with_config(Cursor::new(body), config), depth: 0 }
    }

    /// The next event, with the depth of the element it belongs to (the root has depth 1).
    fn next(&mut self) -> Result<(usize, XmlEvent)> {
        let event = self.reader.next().map_err(malformed)?;
        let depth = match &event {
            XmlEvent::StartElement { .. } => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(malformed(format_args!("elements are nested more than {DEPTH_MAX} deep")));
                }
                self.depth
            }
            XmlEvent::EndElement { .. } => {
                self.depth = self.depth.saturating_sub(1);
                self.depth + 1
            }
            XmlEvent::Doctype { .. } => return Err(malformed("document types are not accepted")),
            _ => self.depth,
        };
        Ok((depth, event))
    }
}

/// Whether a body may be given to the library's recursive parser.
///
/// # Errors
/// 400 if it is not well-formed, too deep, or has a document type.
pub(crate) fn check(body: &[u8]) -> Result<()> {
    let mut events = Events::new(body);
    while !matches!(events.next()?, (_, XmlEvent::EndDocument)) {}
    Ok(())
}

fn name_of(name: &OwnedName) -> Name {
    Name { ns: name.namespace.clone().unwrap_or_default(), local: name.local_name.clone() }
}

fn is_language(name: &OwnedName) -> bool {
    name.local_name == "lang" && name.namespace.as_deref() == Some(XML_NAMESPACE)
}

fn is_dav(name: &OwnedName, local: &str) -> bool {
    name.local_name == local && name.namespace.as_deref() == Some("DAV:")
}

/// Reads a PROPFIND body; an empty one asks for all.
///
/// # Errors
/// 400 if it is not a `propfind` element with one of `prop`, `allprop` and `propname`.
pub(crate) fn propfind(body: &[u8]) -> Result<Find> {
    if body.is_empty() {
        return Ok(Find::All(Vec::new()));
    }
    let mut events = Events::new(body);
    let mut kind: Option<Find> = None;
    let mut names = Vec::new();
    let mut collecting = false;
    loop {
        match events.next()? {
            (1, XmlEvent::StartElement { name, .. }) if !is_dav(&name, "propfind") => {
                return Err(malformed("the root is not DAV:propfind"));
            }
            (2, XmlEvent::StartElement { name, .. }) if name.namespace.as_deref() == Some("DAV:") => {
                let found = match name.local_name.as_str() {
                    "prop" => Some(Find::These(Vec::new())),
                    "allprop" => Some(Find::All(Vec::new())),
                    "propname" => Some(Find::Names),
                    _ => None,
                };
                collecting = matches!(name.local_name.as_str(), "prop" | "include");
                if found.is_some() && kind.is_some() {
                    return Err(malformed("prop, allprop and propname exclude each other"));
                }
                kind = kind.or(found);
            }
            (3, XmlEvent::StartElement { name, .. }) if collecting => {
                if names.len() == PROPERTIES_MAX {
                    return Err(malformed(format_args!("more than {PROPERTIES_MAX} properties are named")));
                }
                names.push(name_of(&name));
            }
            (2, XmlEvent::EndElement { .. }) => collecting = false,
            (_, XmlEvent::EndDocument) => break,
            _ => {}
        }
    }
    match kind {
        Some(Find::These(_)) => Ok(Find::These(names)),
        Some(Find::All(_)) => Ok(Find::All(names)),
        Some(Find::Names) => Ok(Find::Names),
        None => Err(malformed("none of prop, allprop and propname is there")),
    }
}

/// Reads a PROPPATCH body into its instructions, in document order (their order matters, RFC 4918 section 9.2).
///
/// # Errors
/// 400 if it is not a `propertyupdate` element or names more than [`PROPERTIES_MAX`] properties.
pub(crate) fn propertyupdate(body: &[u8]) -> Result<Vec<Patch>> {
    let mut events = Events::new(body);
    let mut patches = Vec::new();
    let mut set = None;
    let mut in_prop = false;
    // The language of a property is kept with it, also where an element around it names it (RFC 4918 section 4.3).
    let mut languages: [Option<String>; 3] = [None, None, None];
    loop {
        let (depth, mut event) = events.next()?;
        if let XmlEvent::StartElement { attributes, .. } = &mut event {
            let own = attributes.iter().find(|attribute| is_language(&attribute.name));
            match (depth, own) {
                (1..=3, own) => {
                    languages[depth - 1] = own.map(|attribute| attribute.value.clone());
                    languages[depth..].fill(None);
                }
                (4, None) => {
                    if let Some(value) = languages.iter().rev().flatten().next() {
                        let name = OwnedName::qualified("lang", XML_NAMESPACE, Some("xml"));
                        attributes.push(OwnedAttribute::new(name, value.clone()));
                    }
                }
                _ => {}
            }
        }
        match (depth, event) {
            (1, XmlEvent::StartElement { name, .. }) if !is_dav(&name, "propertyupdate") => {
                return Err(malformed("the root is not DAV:propertyupdate"));
            }
            (2, XmlEvent::StartElement { name, .. }) => {
                set = if is_dav(&name, "set") { Some(true) } else { is_dav(&name, "remove").then_some(false) };
            }
            (3, XmlEvent::StartElement { name, .. }) => in_prop = is_dav(&name, "prop"),
            (4, start @ XmlEvent::StartElement { .. }) => {
                let XmlEvent::StartElement { name, .. } = &start else { continue };
                let (name, Some(set), true) = (name_of(name), set, in_prop) else { continue };
                if patches.len() == PROPERTIES_MAX {
                    return Err(malformed(format_args!("more than {PROPERTIES_MAX} properties are named")));
                }
                let value = capture(&mut events, &start)?;
                patches.push(Patch { name, value: set.then_some(value) });
            }
            (_, XmlEvent::EndDocument) => break,
            _ => {}
        }
    }
    if patches.is_empty() {
        return Err(malformed("no property is set or removed"));
    }
    Ok(patches)
}

/// Copies the element that `start` opened, to its end.
fn capture(events: &mut Events<'_>, start: &XmlEvent) -> Result<Value> {
    let config = EmitterConfig::new().write_document_declaration(false).perform_indent(false).pad_self_closing(false);
    let mut writer = EventWriter::new_with_config(Vec::new(), config);
    let mut text = String::new();
    let mut put = |event: &XmlEvent| match event.as_writer_event() {
        Some(event) => writer.write(event).map_err(malformed),
        None => Ok(()),
    };
    put(start)?;
    loop {
        let (depth, event) = events.next()?;
        if let XmlEvent::Characters(more) = &event {
            text.push_str(more);
        }
        if !matches!(event, XmlEvent::ProcessingInstruction { .. }) {
            put(&event)?;
        }
        if depth == 4 && matches!(event, XmlEvent::EndElement { .. }) {
            return Ok(Value { fragment: writer.into_inner(), text });
        }
    }
}

/// Appends text with markup characters escaped; what XML 1.0 cannot hold becomes U+FFFD.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '&' => out.extend_from_slice(b"&amp;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            // As a reference, or a reader would turn it into a line feed.
            '\r' => out.extend_from_slice(b"&#13;"),
            '\t' | '\n' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'.. => {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => out.extend_from_slice("\u{FFFD}".as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
