//! Section "Properties".

use crate::client::{Client, Reply};
use crate::support::Server;

fn set(client: &mut Client, path: &str, properties: &str) -> Reply {
    let body = format!(
        "<propertyupdate xmlns='DAV:' xmlns:u='urn:mine'><set><prop>{properties}</prop></set></propertyupdate>"
    );
    client.ask("PROPPATCH", path, &[], body.as_bytes())
}

#[test]
fn a_dead_property_is_kept_as_it_was_set_and_follows_copy_and_move() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    assert_eq!(set(&mut client, "/bkt/file", "<u:colour><u:rgb r='1'>blue &amp; green</u:rgb></u:colour>").status, 207);
    let kept = client.property("/bkt/file", "urn:mine", "colour").expect("kept");
    assert!(kept.contains("blue &amp; green") && kept.contains("rgb"), "{kept}");
    assert_eq!(client.to("COPY", "/bkt/file", "/bkt/copy", &[]), 201);
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/moved", &[]), 201);
    for path in ["/bkt/copy", "/bkt/moved"] {
        assert_eq!(client.property(path, "urn:mine", "colour").as_ref(), Some(&kept), "{path}");
    }
    // A PUT replaces the content, not the properties.
    client.put("/bkt/moved", b"y");
    assert_eq!(client.property("/bkt/moved", "urn:mine", "colour"), Some(kept));
    let remove =
        b"<propertyupdate xmlns='DAV:'><remove><prop><colour xmlns='urn:mine'/></prop></remove></propertyupdate>";
    assert_eq!(client.ask("PROPPATCH", "/bkt/moved", &[], remove).status, 207);
    assert_eq!(client.property("/bkt/moved", "urn:mine", "colour"), None);
}

#[test]
fn one_refused_instruction_refuses_all() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let text = set(&mut client, "/bkt/file", "<u:one>1</u:one><getetag>mine</getetag>").text();
    assert!(text.contains("403 Forbidden") && text.contains("424 Failed Dependency"), "{text}");
    assert!(text.contains("cannot-modify-protected-property"), "{text}");
    assert_eq!(client.property("/bkt/file", "urn:mine", "one"), None);
}

#[test]
fn times_and_the_executable_bit_can_be_set() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    set(&mut client, "/bkt/file", "<lastmodified>1000000000</lastmodified>");
    assert_eq!(client.ok("HEAD", "/bkt/file").expect("last-modified"), "Sun, 09 Sep 2001 01:46:40 GMT");
    set(&mut client, "/bkt/file", "<getlastmodified>Mon, 10 Sep 2001 01:46:40 GMT</getlastmodified>");
    assert_eq!(client.ok("HEAD", "/bkt/file").expect("last-modified"), "Mon, 10 Sep 2001 01:46:40 GMT");
    set(
        &mut client,
        "/bkt/file",
        "<Z:Win32LastModifiedTime xmlns:Z='urn:schemas-microsoft-com:'>Tue, 11 Sep 2001 01:46:40 GMT</Z:Win32LastModifiedTime>",
    );
    assert_eq!(client.ok("HEAD", "/bkt/file").expect("last-modified"), "Tue, 11 Sep 2001 01:46:40 GMT");
    for name in ["Win32CreationTime", "Win32FileAttributes"] {
        let text = set(
            &mut client,
            "/bkt/file",
            &format!("<Z:{name} xmlns:Z='urn:schemas-microsoft-com:'>00000020</Z:{name}>"),
        )
        .text();
        assert!(text.contains("200 OK"), "{text}");
    }
    set(&mut client, "/bkt/file", "<a:executable xmlns:a='http://apache.org/dav/props/'>T</a:executable>");
    assert!(client.property("/bkt/file", "http://apache.org/dav/props/", "executable").unwrap().contains(">T<"));
}

#[test]
fn properties_have_limits_with_names() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let large = set(&mut client, "/bkt/file", &format!("<u:large>{}</u:large>", "v".repeat(16 * 1024))).text();
    assert!(large.contains("507 Insufficient Storage"), "{large}");
    let long = set(&mut client, "/bkt/file", &format!("<u:{0}>v</u:{0}>", "n".repeat(2048))).text();
    assert!(long.contains("507 Insufficient Storage"), "{long}");
    let many =
        |from: usize, count: usize| (from..from + count).map(|n| format!("<u:p{n}>v</u:p{n}>")).collect::<String>();
    for from in [0, 64, 128, 192] {
        assert!(set(&mut client, "/bkt/file", &many(from, 64)).text().contains("200 OK"));
    }
    assert!(set(&mut client, "/bkt/file", &many(256, 1)).text().contains("507 Insufficient Storage"));
    // An existing property may still be replaced.
    let text = set(&mut client, "/bkt/file", &many(7, 1)).text();
    assert!(text.contains("200 OK"), "{text}");
}

#[test]
fn the_display_name_is_the_name_and_changes_with_it() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    assert!(set(&mut client, "/bkt/file", "<displayname>other</displayname>").text().contains("403 Forbidden"));
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/other%20name", &[]), 201);
    let name = client.property("/bkt/other%20name", "DAV:", "displayname").unwrap();
    assert!(name.contains(">other name<"), "{name}");
}
