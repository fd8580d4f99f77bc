//! Keys that S3 can put and that cannot be file names: how COPY and MOVE treat them.

use strata_namespace::{Condition, ListQuery, ObjectMeta};

use crate::support::{Server, root};

/// Empty parts, parts that mean something else to files, too long ones, one that looks like an alias, and objects beside directories of
/// their name.
fn keys() -> Vec<String> {
    let long = format!("{}/{}", "d".repeat(300), "f".repeat(300));
    let odd = [
        "plain",
        "a//b",
        "a//",
        "a/",
        "both",
        "both/below",
        "both/both/x",
        "../up",
        "./here",
        ".~strata~o~like",
        &long,
    ];
    odd.map(|key| format!("tree/{key}")).to_vec()
}

fn put(server: &Server, key: &str) {
    let (ns, op) = (server.ns(), root());
    let mut ingest = ns.ingest(&op, "bkt").expect("the store answers");
    ingest.push(key.as_bytes()).expect("the store answers");
    let (content, any) = (ingest.finish().expect("the store answers"), Condition::default());
    ns.put_object(&op, "bkt", key.as_bytes(), content, None, ObjectMeta::default(), &any).expect("the store answers");
}

/// The keys of a bucket below a folder, without it, and the lengths of their objects.
fn below(server: &Server, bucket: &str, folder: &str) -> Vec<(String, u64)> {
    let query = ListQuery { prefix: folder.as_bytes().to_vec(), limit: 1000, ..ListQuery::default() };
    let page = server.ns().list(&root(), bucket, &query).expect("the store answers");
    let key = |key: &[u8]| String::from_utf8(key[folder.len()..].to_vec()).expect("the store answers");
    // S3 lists a folder that a file door made as an empty object.
    let all = page.objects.iter().filter(|(of, object)| object.attr.size > 0 || !of.ends_with(b"/"));
    all.map(|(of, object)| (key(of), object.attr.size)).collect()
}

fn server() -> (Server, Vec<(String, u64)>) {
    let server = Server::start();
    server.client().ok("MKCOL", "/other");
    keys().iter().for_each(|key| put(&server, key));
    let all = below(&server, "bkt", "tree/");
    assert_eq!(all.len(), keys().len(), "{all:?}");
    (server, all)
}

#[test]
fn a_copy_has_the_same_keys_within_a_bucket_and_in_another() {
    let (server, all) = server();
    let mut client = server.client();
    for (to, bucket, folder) in [("/bkt/copy", "bkt", "copy/"), ("/other/copy", "other", "copy/")] {
        assert_eq!(client.to("COPY", "/bkt/tree/", to, &[]), 201, "{to}");
        assert_eq!(below(&server, bucket, folder), all, "{to}");
    }
    // Also over an existing target, which was once removed without a replacement.
    assert_eq!(client.to("COPY", "/bkt/tree/", "/other/copy", &[]), 204);
    assert_eq!(below(&server, "other", "copy/"), all);
    assert_eq!(below(&server, "bkt", "tree/"), all);
    server.sound();
}

#[test]
fn a_move_has_the_same_keys_within_a_bucket_and_into_another() {
    let (server, all) = server();
    let mut client = server.client();
    assert_eq!(client.to("MOVE", "/bkt/tree/", "/bkt/moved/", &[]), 201);
    assert_eq!((below(&server, "bkt", "moved/"), below(&server, "bkt", "tree/")), (all.clone(), vec![]));
    assert_eq!(client.to("MOVE", "/bkt/moved/", "/other/moved/", &[]), 201);
    assert_eq!((below(&server, "other", "moved/"), below(&server, "bkt", "moved/")), (all, vec![]));
    // A directory that was made by a key is still removed with its last object.
    server.ns().delete_object(&root(), "other", b"moved/../up", &Condition::default()).unwrap();
    assert!(client.list("/other/moved/").iter().all(|href| !href.contains("..")));
    server.sound();
}

#[test]
fn what_is_shown_under_an_alias_is_moved_and_copied_by_it() {
    let server = Server::start();
    server.client().ok("MKCOL", "/other");
    for key in ["both", "both/below", "a//b"] {
        put(&server, key);
    }
    let mut client = server.client();
    // The object beside the directory, as a file of its own; the directory with the empty name, as a collection.
    assert_eq!(client.to("COPY", "/bkt/.~strata~o~both", "/bkt/copied", &[]), 201);
    assert_eq!(client.get("/bkt/copied"), b"both");
    assert_eq!(client.to("MOVE", "/bkt/.~strata~o~both", "/other/moved", &[]), 201);
    assert_eq!(client.get("/other/moved"), b"both");
    assert_eq!(client.to("MOVE", "/bkt/a/.~strata~d~", "/bkt/a/named", &[]), 201);
    assert_eq!(client.get("/bkt/a/named/b"), b"a//b");
    assert_eq!(client.get("/bkt/both/below"), b"both/below");
    // A new name may not look like an alias, and nothing is changed where one does.
    for (method, to) in [("COPY", "/bkt/.~strata~d~x"), ("MOVE", "/other/.~strata~d~x")] {
        assert_eq!(client.to(method, "/bkt/both/", to, &[]), 400, "{method} {to}");
    }
    assert_eq!(client.list("/bkt/both/"), ["/bkt/both/", "/bkt/both/below"]);
    assert_eq!(client.list("/other/"), ["/other/", "/other/moved"]);
    server.sound();
}

#[test]
fn a_copy_replaces_a_collection_that_has_an_object_beside_it_and_leaves_the_object() {
    let server = Server::start();
    for key in ["in/n1", "in/q//r", "out/old", "out"] {
        put(&server, key);
    }
    let mut client = server.client();
    assert_eq!(client.to("COPY", "/bkt/in/", "/bkt/out/", &[]), 204);
    assert_eq!(below(&server, "bkt", "out"), [(String::new(), 3), ("/n1".to_owned(), 5), ("/q//r".to_owned(), 7)]);
    assert_eq!(below(&server, "bkt", "in/").len(), 2);
    server.sound();
}

#[test]
fn a_copy_of_a_file_onto_such_a_collection_is_refused_or_leaves_the_object() {
    let server = Server::start();
    for key in ["one", "out/old", "out"] {
        put(&server, key);
    }
    let mut client = server.client();
    let status = client.to("COPY", "/bkt/one", "/bkt/out", &[]);
    assert_eq!(status, 412);
    assert_eq!(below(&server, "bkt", "out"), [(String::new(), 3), ("/old".to_owned(), 7)]);
    server.sound();
}
