//! What is accepted and what is refused, as a table.

use super::*;

fn read(operation: Operation, document: &[u8]) -> Result<String, String> {
    match plain(operation, Bytes::copy_from_slice(document)) {
        Ok(text) => Ok(String::from_utf8(text.to_vec()).unwrap()),
        Err(err) => Err(err.code().as_str().to_owned()),
    }
}

fn key(inside: &str) -> Result<String, String> {
    let read =
        read(Operation::DeleteObjects, format!("<Delete><Object><Key>{inside}</Key></Object></Delete>").as_bytes())?;
    let inside = read.split("<Key>").nth(1).unwrap().split("</Key>").next().unwrap();
    Ok(inside.to_owned())
}

#[test]
fn the_text_of_a_key_is_what_xml_says_it_is() {
    for (written, read) in [
        ("a", "a"),
        ("<![CDATA[a/]]>b", "a/b"),
        ("a<![CDATA[<&>]]>", "a&lt;&amp;&gt;"),
        ("a<!-- not part of it -->b", "ab"),
        ("a<?nor this?>b", "ab"),
        ("&lt;&amp;&gt;&quot;&apos;", "&lt;&amp;&gt;\"'"),
        ("&#x41;&#66;", "AB"),
        ("&#x1F600;", "\u{1F600}"),
        ("Icon&#13;", "Icon\r"),
        ("&#x1;", "\u{1}"),
        ("a\r\nb\rc", "a\r\nb\rc"),
        (" a ", " a "),
        ("", ""),
    ] {
        assert_eq!(key(written).as_deref(), Ok(read), "{written}");
    }
    for written in ["&nbsp;", "&#0;", "&#xD800;", "&#x;", "&#;", "&#+65;", "a & b", "<b>x</b>", "a<"] {
        assert_eq!(key(written), Err("MalformedXML".to_owned()), "{written}");
    }
}

#[test]
fn documents_are_read_as_the_standard_has_them() {
    let plain = "<Delete><Object><Key>k</Key></Object><Quiet>true</Quiet></Delete>";
    let utf16 = |unit: fn(u16) -> [u8; 2]| {
        let text = format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-16\"?>{plain}");
        text.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    for document in [
        plain.as_bytes(),
        b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <Object><Key>k</Key></Object> <Quiet> true </Quiet></Delete>\n",
        b"<s:Delete xmlns:s='http://s3.amazonaws.com/doc/2006-03-01/'><s:Object><s:Key>k</s:Key></s:Object><s:Quiet>1</s:Quiet></s:Delete>",
        b"<!-- a --><Delete><Object><Key>k</Key></Object><!-- b --><Quiet>TRUE</Quiet></Delete><!-- c -->",
        &utf16(u16::to_be_bytes),
        &utf16(u16::to_le_bytes),
    ] {
        assert_eq!(read(Operation::DeleteObjects, document).as_deref(), Ok(plain), "{}", document.escape_ascii());
    }
    let completion =
        "<CompleteMultipartUpload><Part><PartNumber>7</PartNumber><ETag>\"e\"</ETag></Part></CompleteMultipartUpload>";
    let written = completion.replace(">7<", "> +007\n<").replace('"', "&quot;");
    assert_eq!(read(Operation::CompleteMultipartUpload, written.as_bytes()).as_deref(), Ok(completion));
    assert_eq!(read(Operation::CreateBucket, b"").as_deref(), Ok(""));
    let bucket = "<CreateBucketConfiguration></CreateBucketConfiguration>";
    assert_eq!(read(Operation::CreateBucket, b"<CreateBucketConfiguration/>").as_deref(), Ok(bucket));
}

#[test]
fn what_is_no_document_of_the_operation_is_refused() {
    use Operation::{CompleteMultipartUpload as Complete, CreateBucket, DeleteObjects};
    for (operation, document, code) in [
        (DeleteObjects, "<?xml version=\"1.0\"?><!doctype x [<!ENTITY a \"b\">]><Delete/>", "MalformedXML"),
        (DeleteObjects, "<!DOCTYPE Delete><Delete/>", "MalformedXML"),
        (DeleteObjects, "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?><Delete/>", "MalformedXML"),
        (DeleteObjects, "<Delete>junk<Object><Key>k</Key></Object></Delete>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Key></Object></Delete>junk", "MalformedXML"),
        (DeleteObjects, "<Delete/><Delete/>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Key><Key>l</Key></Object></Delete>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Key><VersionID>v</VersionID></Object></Delete>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Key></Object><Quiet/></Delete>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Object></Key></Delete>", "MalformedXML"),
        (DeleteObjects, "<Delete><Object><Key>k</Key></Object>", "MalformedXML"),
        (DeleteObjects, "<delete><Object><Key>k</Key></Object></delete>", "MalformedXML"),
        (DeleteObjects, "<Delete a=1><Object><Key>k</Key></Object></Delete>", "MalformedXML"),
        (DeleteObjects, "<CompleteMultipartUpload/>", "MalformedXML"),
        (DeleteObjects, "hello", "MalformedXML"),
        (DeleteObjects, " ", "MalformedXML"),
        (
            Complete,
            "<CompleteMultipartUpload><Part><PartNumber>1x</PartNumber></Part></CompleteMultipartUpload>",
            "MalformedXML",
        ),
        (Complete, "<CompleteMultipartUpload><Part><PartNumber/></Part></CompleteMultipartUpload>", "MalformedXML"),
        (
            Complete,
            "<CompleteMultipartUpload><Part><ChecksumMD5>x</ChecksumMD5></Part></CompleteMultipartUpload>",
            "NotImplemented",
        ),
        (CreateBucket, "the data of an object", "MalformedXML"),
        (CreateBucket, "<Delete/>", "MalformedXML"),
        (CreateBucket, "<CreateBucketConfiguration><Tags/></CreateBucketConfiguration>", "NotImplemented"),
        (
            CreateBucket,
            "<CreateBucketConfiguration><Bucket><Type>Directory</Type></Bucket></CreateBucketConfiguration>",
            "NotImplemented",
        ),
    ] {
        assert_eq!(read(operation, document.as_bytes()), Err(code.to_owned()), "{document}");
    }
    for document in [&b"<Delete>\xff</Delete>"[..], b"\xfe\xff\x00", b"\xff\xfe\x00\xd8"] {
        assert_eq!(read(DeleteObjects, document), Err("MalformedXML".to_owned()), "{}", document.escape_ascii());
    }
}

#[test]
fn deep_documents_are_refused_before_they_cost_anything() {
    let deep = "<Delete>".repeat(100_000);
    assert_eq!(read(Operation::DeleteObjects, deep.as_bytes()), Err("MalformedXML".to_owned()));
}
