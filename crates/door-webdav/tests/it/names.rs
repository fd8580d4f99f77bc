//! Section "Names": what a URL means, and what has no meaning.

use strata_namespace::{Condition, NodeKind, ObjectMeta};

use crate::support::{Server, root};

#[test]
fn a_path_is_decoded_once_and_used_as_it_was_authorised() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/a%2520b", b"percent");
    client.put("/bkt/a%20b", b"space");
    assert_eq!(client.get("/bkt/a%2520b"), b"percent");
    assert_eq!(client.list("/bkt/"), ["/bkt/", "/bkt/a%20b", "/bkt/a%2520b"]);
    let op = root();
    assert!(server.ns().resolve(&op, b"bkt/a%20b").is_ok());
}

#[test]
fn what_could_escape_or_be_read_in_two_ways_is_refused_by_every_method() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let long = format!("/bkt/{}", "n".repeat(256));
    for path in [
        "/bkt/..",
        "/bkt/../file",
        "/bkt/%2e%2e/file",
        "/bkt/%2E./x",
        "/bkt/.",
        "/bkt/a%2fb",
        "/bkt/a%2Fb",
        "/bkt/a%00b",
        "/bkt/%zz",
        "/bkt/%4",
        &long,
    ] {
        for method in ["GET", "PUT", "DELETE", "MKCOL", "PROPFIND", "LOCK"] {
            let status = client.status(method, path, &[]);
            assert!(matches!(status, 400 | 414), "{method} {path}: {status}");
        }
        for method in ["COPY", "MOVE"] {
            let status = client.to(method, "/bkt/file", path, &[]);
            assert!(matches!(status, 400 | 414), "{method} to {path}: {status}");
        }
    }
    assert_eq!(client.list("/bkt/"), ["/bkt/", "/bkt/file"]);
}

#[test]
fn names_of_any_bytes_come_back_as_they_went() {
    let server = Server::start();
    let mut client = server.client();
    for name in ["%C3%BC", "%FF%FE", "%23%3F%25%5C", "a%0Ab", "%22%27%3C%26", "~-_.x", "+"] {
        let path = format!("/bkt/{name}");
        client.put(&path, name.as_bytes());
        assert_eq!(client.get(&path), name.as_bytes());
    }
    let mut listed = client.list("/bkt/");
    listed.remove(0);
    assert_eq!(listed.len(), 7);
    for href in listed {
        assert_eq!(client.status("GET", &href, &[]), 200, "{href}");
    }
}

#[test]
fn repeated_slashes_count_as_one() {
    let server = Server::start();
    let mut client = server.client();
    client.put("//bkt///file", b"x");
    assert_eq!(client.get("/bkt/file"), b"x");
}

#[test]
fn a_bucket_is_made_by_mkcol_and_removed_only_when_empty() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.status("MKCOL", "/.~strata~o~x", &[]), 400);
    assert_eq!(client.status("MKCOL", "/bkt", &[]), 405);
    client.ok("MKCOL", "/second");
    client.put("/second/file", b"x");
    assert_eq!(client.status("DELETE", "/second", &[]), 409);
    assert_eq!(client.get("/second/file"), b"x");
    client.ok("DELETE", "/second/file");
    client.ok("DELETE", "/second");
    assert_eq!(client.list("/"), ["/", "/bkt/"]);
}

#[test]
fn the_root_is_not_moved_and_what_is_at_the_top_is_not_replaced_by_a_collection() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/second");
    client.ok("MKCOL", "/bkt/dir");
    for method in ["MOVE", "COPY"] {
        for (from, to) in [("/bkt/dir", "/second"), ("/second", "/bkt"), ("/", "/bkt/dir/x"), ("/bkt/dir", "/")] {
            assert_eq!(client.to(method, from, to, &[]), 403, "{method} {from} to {to}");
        }
    }
    assert_eq!(client.status("DELETE", "/", &[]), 403);
    assert_eq!(client.status("PUT", "/", &[]), 405);
    assert_eq!(client.list("/"), ["/", "/bkt/", "/second/"]);
}

#[test]
fn a_collection_at_the_top_is_renamed_and_moved_into_others_and_out_of_them() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/New%20folder");
    client.put("/New%20folder/file", b"x");
    assert_eq!(client.to("MOVE", "/New%20folder", "/My%20Files", &[]), 201);
    assert_eq!(client.get("/My%20Files/file"), b"x");
    assert_eq!(client.list("/"), ["/", "/My%20Files/", "/bkt/"]);
    let renamed = server.ns().bucket_called(&root(), b"My Files").unwrap();
    assert!(renamed.name.starts_with("my-files-"), "{}", renamed.name);
    // Into a folder, where it is no bucket any more, and out of it, where it is another bucket.
    assert_eq!(client.to("MOVE", "/My%20Files", "/bkt/inner", &[]), 201);
    assert_eq!(client.get("/bkt/inner/file"), b"x");
    assert_eq!(client.to("MOVE", "/bkt/inner", "/Photos", &[]), 201);
    assert_eq!(client.to("COPY", "/Photos", "/Photos%20(copy)", &[]), 201);
    assert_eq!(client.get("/Photos%20(copy)/file"), b"x");
    assert_eq!(client.list("/"), ["/", "/Photos%20%28copy%29/", "/Photos/", "/bkt/"]);
    // Refused while somebody uploads to it: the upload would end with the bucket.
    let name = server.ns().bucket_called(&root(), b"Photos").unwrap().name;
    let upload = server.ns().create_upload(&root(), &name, b"big", ObjectMeta::default()).unwrap().id;
    assert_eq!(client.to("MOVE", "/Photos", "/bkt/photos", &[]), 409);
    assert_eq!(client.to("MOVE", "/Photos", "/photos", &[]), 201);
    assert!(server.ns().upload(&root(), "photos", b"big", &upload).is_ok(), "a rename keeps it");
}

#[test]
fn files_at_the_top_are_put_moved_locked_and_deleted() {
    let server = Server::start();
    let mut client = server.client();
    for name in
        ["/desktop.ini", "/.DS_Store", "/._.DS_Store", "/.localized", "/Thumbs.db", "/file%20with%20spaces", "/%FF"]
    {
        client.put(name, name.as_bytes());
        assert_eq!(client.get(name), name.as_bytes());
    }
    assert_eq!(client.ask("PUT", "/desktop.ini", &[("if-none-match", "*")], b"again").status, 412);
    assert_eq!(client.to("MOVE", "/desktop.ini", "/bkt/desktop.ini", &[]), 201);
    assert_eq!(client.to("MOVE", "/bkt/desktop.ini", "/back.ini", &[]), 201);
    assert_eq!(client.to("COPY", "/back.ini", "/copy.ini", &[]), 201);
    assert_eq!(client.to("MOVE", "/copy.ini", "/back.ini", &[]), 204);
    assert_eq!(client.get("/back.ini"), b"/desktop.ini");
    // As Finder and Office begin a file: a lock on a name that is not there yet.
    let body = "<D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>";
    let locked = client.ask("LOCK", "/.TemporaryItems", &[("depth", "0")], body.as_bytes());
    assert_eq!(locked.status, 201);
    assert_eq!(client.ask("PUT", "/.TemporaryItems", &[], b"x").status, 423);
    for name in
        ["/back.ini", "/.DS_Store", "/._.DS_Store", "/.localized", "/Thumbs.db", "/file%20with%20spaces", "/%FF"]
    {
        client.ok("DELETE", name);
    }
    assert_eq!(client.list("/"), ["/", "/.TemporaryItems", "/bkt/"]);
}

#[test]
fn explorer_makes_a_folder_at_the_top_names_it_and_sets_its_properties() {
    let server = Server::start();
    let mut client = server.client();
    // As the redirector of Windows does, in this order.
    assert_eq!(client.status("PROPFIND", "/", &[("depth", "1")]), 207);
    assert_eq!(client.status("PROPFIND", "/New%20folder", &[("depth", "0")]), 404);
    client.ok("MKCOL", "/New%20folder");
    let times = "<?xml version=\"1.0\"?><D:propertyupdate xmlns:D=\"DAV:\" xmlns:Z=\"urn:schemas-microsoft-com:\"><D:set><D:prop>\
        <Z:Win32CreationTime>Thu, 01 Jan 2026 00:00:00 GMT</Z:Win32CreationTime><Z:Win32LastModifiedTime>Thu, 01 Jan 2026 00:00:00 GMT\
        </Z:Win32LastModifiedTime><Z:Win32FileAttributes>00000010</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>";
    assert_eq!(client.ask("PROPPATCH", "/New%20folder", &[], times.as_bytes()).status, 207);
    assert_eq!(client.to("MOVE", "/New%20folder/", "/My%20Files", &[("overwrite", "F")]), 201);
    for name in ["/My%20Files/desktop.ini", "/desktop.ini", "/My%20Files/Thumbs.db"] {
        assert_eq!(client.status("PROPFIND", name, &[("depth", "0")]), 404);
    }
    client.put("/My%20Files/desktop.ini", b"[.ShellClassInfo]");
    assert_eq!(client.ask("PROPPATCH", "/My%20Files/desktop.ini", &[], times.as_bytes()).status, 207);
    client.put("/desktop.ini", b"[.ShellClassInfo]");
    assert_eq!(client.ask("PROPPATCH", "/desktop.ini", &[], times.as_bytes()).status, 207);
    client.ok("DELETE", "/My%20Files/desktop.ini");
    client.ok("DELETE", "/My%20Files/");
    assert_eq!(client.list("/"), ["/", "/bkt/", "/desktop.ini"]);
}

#[test]
fn what_webdav_cannot_show_is_not_shown_but_keeps_its_name() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/dir");
    client.put("/bkt/file", b"x");
    let op = root();
    let dir = server.ns().resolve(&op, b"bkt/dir").unwrap();
    server.ns().symlink(&op, dir.ino, b"link", b"/etc/passwd").unwrap();
    assert_eq!(client.list("/bkt/dir/"), ["/bkt/dir/"]);
    assert_eq!(client.status("GET", "/bkt/dir/link", &[]), 404);
    assert_eq!(client.ask("PUT", "/bkt/dir/link", &[], b"y").status, 409);
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/dir/link", &[]), 409);
    for (method, path) in [("MKCOL", "/bkt/dir/link"), ("MKCOL", "/bkt/dir/link/sub"), ("PUT", "/bkt/dir/link/file")] {
        assert_eq!(client.status(method, path, &[]), 409, "{method} {path}");
    }
    assert_eq!(server.ns().lookup(&op, dir.ino, b"link").unwrap().kind, NodeKind::Symlink);
    client.ok("DELETE", "/bkt/dir");
    assert_eq!(client.status("PROPFIND", "/bkt/dir", &[("depth", "0")]), 404);
    // The refusal for a bucket says what keeps it from being removed.
    client.ok("MKCOL", "/second");
    let second = server.ns().resolve(&op, b"second").unwrap();
    server.ns().symlink(&op, second.ino, b"link", b"/etc/passwd").unwrap();
    let kept = client.ask("DELETE", "/second", &[], b"");
    let words = String::from_utf8_lossy(&kept.body).into_owned();
    assert!(kept.status == 409 && words.contains("link") && words.contains("symbolic link"), "{words}");
    server.sound();
}

#[test]
fn objects_that_posix_cannot_name_are_listed_and_read_under_their_aliases() {
    let server = Server::start();
    let (ns, op) = (server.ns(), root());
    for key in [b"dir/".as_slice(), b"dir", b"a//b", b"x/../y"] {
        let mut ingest = ns.ingest(&op, "bkt").unwrap();
        ingest.push(key).unwrap();
        ns.put_object(&op, "bkt", key, ingest.finish().unwrap(), None, ObjectMeta::default(), &Condition::default())
            .unwrap();
    }
    let mut client = server.client();
    let (mut folders, mut found) = (vec!["/bkt/".to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let mut listed = client.list(&folder);
        assert_eq!(listed.remove(0), folder);
        let (collections, files): (Vec<_>, Vec<_>) = listed.into_iter().partition(|href| href.ends_with('/'));
        folders.extend(collections);
        found.extend(files.iter().map(|href| client.get(href)));
    }
    found.sort_unstable();
    assert_eq!(found, [b"a//b".as_slice(), b"dir", b"dir/", b"x/../y"]);
}

#[test]
fn a_request_says_once_which_server_it_means() {
    let server = Server::start();
    for hosts in ["", "host: a\r\nhost: a\r\n"] {
        let mut client = server.client();
        client.put("/bkt/file", b"x");
        client.write(format!("DELETE /bkt/file HTTP/1.1\r\n{hosts}\r\n").as_bytes()).unwrap();
        assert_eq!(client.reply(false).unwrap().status, 400, "{hosts}");
        assert_eq!(client.get("/bkt/file"), b"x");
    }
}

#[test]
fn a_body_in_a_transfer_coding_that_is_not_undone_is_not_stored() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let head = client.head("PUT", "/bkt/file", &[("transfer-encoding", "gzip, chunked")]);
    client.write(format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(client.reply(false).unwrap().status, 501);
    assert_eq!(server.client().get("/bkt/file"), b"x");
}

#[test]
fn methods_that_are_known_and_not_offered_are_told_apart_from_unknown_ones() {
    let server = Server::start();
    let reply = server.client().ask("POST", "/bkt/", &[], b"");
    assert_eq!(reply.status, 405);
    assert!(reply.expect("allow").contains("PROPFIND"));
    assert_eq!(server.client().status("BREW", "/bkt/", &[]), 501);
}
