//! MKCOL, DELETE, COPY and MOVE of single files and of trees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strata_namespace::SetAttr;

use crate::support::{Server, root};

const FILES: usize = 300;

/// A tree of 300 files in 10 folders below `/bkt/tree`.
fn planted() -> Server {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/tree");
    for dir in 0..10 {
        client.ok("MKCOL", &format!("/bkt/tree/d{dir}"));
    }
    for n in 0..FILES {
        client.put(&format!("/bkt/tree/d{}/f{n}", n % 10), format!("content {n}").as_bytes());
    }
    server
}

fn is_whole(server: &Server, at: &str) {
    let mut client = server.client();
    for n in 0..FILES {
        assert_eq!(client.get(&format!("{at}/d{}/f{n}", n % 10)), format!("content {n}").as_bytes());
    }
    assert_eq!(client.list(&format!("{at}/")).len(), 11);
}

#[test]
fn a_tree_is_copied_whole_and_on_its_own() {
    let server = planted();
    let mut client = server.client();
    assert_eq!(client.to("COPY", "/bkt/tree", "/bkt/copy", &[]), 201);
    is_whole(&server, "/bkt/copy");
    client.put("/bkt/copy/d0/f0", b"changed");
    client.ok("DELETE", "/bkt/copy");
    is_whole(&server, "/bkt/tree");
    server.sound();
}

#[test]
fn a_tree_is_moved_whole() {
    let server = planted();
    let mut client = server.client();
    assert_eq!(client.to("MOVE", "/bkt/tree/", "/bkt/moved/", &[]), 201);
    is_whole(&server, "/bkt/moved");
    assert_eq!(client.status("PROPFIND", "/bkt/tree", &[("depth", "0")]), 404);
    server.sound();
}

#[test]
fn a_tree_is_moved_into_another_bucket_by_reference_and_replaces_what_is_there() {
    let server = planted();
    let mut client = server.client();
    client.ok("MKCOL", "/other");
    client.put("/other/moved", b"a file is in the way");
    let set = "<propertyupdate xmlns='DAV:'><set><prop><c xmlns='urn:x'>blue</c></prop></set></propertyupdate>";
    assert_eq!(client.ask("PROPPATCH", "/bkt/tree/d3", &[], set.as_bytes()).status, 207);
    let lines = |server: &Server| server.ns().store().ledger().status().position;
    let before = lines(&server);
    assert_eq!(client.to("MOVE", "/bkt/tree/", "/other/moved/", &[("overwrite", "F")]), 412);
    assert_eq!(client.get("/other/moved"), b"a file is in the way");
    assert_eq!(client.to("MOVE", "/bkt/tree/", "/other/moved/", &[]), 204);
    is_whole(&server, "/other/moved");
    assert_eq!(client.status("PROPFIND", "/bkt/tree", &[("depth", "0")]), 404);
    assert!(client.ask("PROPFIND", "/other/moved/d3", &[("depth", "0")], b"").text().contains("blue"));
    assert_eq!(client.list("/other/").len(), 2, "nothing else is left there");
    assert_eq!(lines(&server).segment, before.segment);
    assert_eq!(client.to("MOVE", "/other/moved/d1/f1", "/bkt/f1", &[]), 201);
    assert_eq!((client.get("/bkt/f1"), client.status("GET", "/other/moved/d1/f1", &[])), (b"content 1".to_vec(), 404));
    server.sound();
}

/// The folder `path` and what is in it belong to somebody.
fn give(server: &Server, path: &str, uid: u32) {
    let ino = server.ns().resolve(&root(), path.as_bytes()).expect("it is there").ino;
    let all = SetAttr { uid: Some(uid), mode: Some(0o755), ..SetAttr::default() };
    server.ns().setattr(&root(), ino, &all).expect("given");
}

#[test]
fn nothing_is_changed_by_a_move_whose_user_may_not_remove_all_that_it_replaces() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/other");
    for path in ["/bkt", "/other"] {
        client.ok("MKCOL", &format!("{path}/final"));
        client.ok("MKCOL", &format!("{path}/final/private"));
        client.put(&format!("{path}/final/private/kept"), b"somebody else's");
        client.put(&format!("{path}/final/report"), b"old");
    }
    client.ok("MKCOL", "/bkt/draft");
    client.put("/bkt/draft/report", b"new");
    for path in ["/bkt", "/other", "/bkt/draft", "/bkt/final", "/other/final"] {
        give(&server, path, 4711);
    }
    let mut alice = server.user("alice", 4711);
    for to in ["/bkt/final/", "/other/final/"] {
        for _ in 0..2 {
            let refused = alice.ask("MOVE", "/bkt/draft/", &[("destination", to)], b"");
            assert_eq!(refused.status, 403, "{to}");
            assert!(refused.text().contains("final/private"), "{}", refused.text());
            assert_eq!(client.get("/bkt/draft/report"), b"new");
            assert_eq!(client.get(&format!("{to}report")), b"old");
        }
    }
    assert_eq!(client.list("/other/").len(), 2, "nothing was copied");
    client.ok("DELETE", "/bkt/final/private");
    assert_eq!(alice.to("MOVE", "/bkt/draft/", "/bkt/final/", &[]), 204);
    assert_eq!(client.get("/bkt/final/report"), b"new");
    server.sound();
}

/// What a folder that everybody may write to holds is removed by its owners alone: asked of the name that is replaced, of what is below it, and of
/// where the replaced thing is removed from.
#[test]
fn nothing_is_changed_by_a_move_that_replaces_what_a_sticky_folder_keeps() {
    let server = Server::start();
    let (mut client, mut alice) = (server.client(), server.user("alice", 4711));
    let set = |path: &str, mode: u32, uid: u32| {
        let ino = server.ns().resolve(&root(), path.as_bytes()).expect("it is there").ino;
        let all = SetAttr { mode: Some(mode), uid: Some(uid), ..SetAttr::default() };
        server.ns().setattr(&root(), ino, &all).expect("set");
    };
    set("/bkt", 0o777, 0);
    client.ok("MKCOL", "/bkt/shared");
    set("/bkt/shared", 0o1777, 0);
    // The name that is replaced is in the sticky folder, and belongs to somebody else.
    client.ok("MKCOL", "/bkt/shared/final");
    client.put("/bkt/shared/final/report", b"old");
    set("/bkt/shared/final", 0o777, 1);
    alice.ok("MKCOL", "/bkt/shared/draft");
    alice.put("/bkt/shared/draft/report", b"new");
    let refused = |alice: &mut crate::client::Client, from: &str, to: &str| {
        let refused = alice.ask("MOVE", from, &[("destination", to)], b"");
        assert_eq!(refused.status, 403, "{from} {to}");
        assert!(refused.text().contains("sticky"), "{}", refused.text());
    };
    let both_are_there = |client: &mut crate::client::Client, from: &str, to: &str| {
        assert_eq!(client.get(&format!("{from}report")), b"new");
        assert_eq!(client.get(&format!("{to}report")), b"old");
    };
    for _ in 0..2 {
        refused(&mut alice, "/bkt/shared/draft/", "/bkt/shared/final/");
        both_are_there(&mut client, "/bkt/shared/draft/", "/bkt/shared/final/");
    }
    // Something below the name is in a sticky folder: she owns the target, but not the file in the folder that somebody else shares.
    alice.ok("MKCOL", "/bkt/final");
    alice.ok("MKCOL", "/bkt/final/theirs");
    client.put("/bkt/final/theirs/file", b"x");
    client.put("/bkt/final/report", b"old");
    set("/bkt/final", 0o777, 4711);
    set("/bkt/final/theirs", 0o1777, 2);
    let asked = alice.ask("MOVE", "/bkt/shared/draft/", &[("destination", "/bkt/final/")], b"");
    assert_eq!(asked.status, 403);
    assert!(asked.text().contains("final/theirs/file") && asked.text().contains("sticky"), "{}", asked.text());
    both_are_there(&mut client, "/bkt/shared/draft/", "/bkt/final/");
    client.ok("DELETE", "/bkt/final/theirs");
    // The target would be removed from the sticky folder that the source is in: she may remove her own there, not that of others.
    set("/bkt/final", 0o777, 1);
    refused(&mut alice, "/bkt/shared/draft/", "/bkt/final/");
    both_are_there(&mut client, "/bkt/shared/draft/", "/bkt/final/");
    set("/bkt/final", 0o777, 4711);
    assert_eq!(alice.to("MOVE", "/bkt/shared/draft/", "/bkt/final/", &[]), 204);
    assert_eq!(client.get("/bkt/final/report"), b"new");
    assert_eq!(alice.to("MOVE", "/bkt/final/", "/bkt/shared/mine/", &[]), 201);
    server.sound();
}

#[test]
fn nothing_is_moved_out_of_a_locked_tree_or_into_one_in_another_bucket() {
    let server = planted();
    let mut client = server.client();
    client.ok("MKCOL", "/other");
    client.ok("MKCOL", "/other/dir");
    let info = "<lockinfo xmlns='DAV:'><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>";
    let lock = |path: &str| {
        let reply = server.client().ask("LOCK", path, &[("depth", "infinity")], info.as_bytes());
        assert_eq!(reply.status, 200, "{path}");
        reply.expect("lock-token").to_owned()
    };
    let (source, target) = (lock("/bkt/tree"), lock("/other/dir"));
    assert_eq!(client.to("MOVE", "/bkt/tree", "/other/dir/tree", &[]), 423);
    let one = format!("</bkt/tree> ({source})");
    assert_eq!(client.to("MOVE", "/bkt/tree", "/other/dir/tree", &[("if", &one)]), 423);
    let both = format!("{one} </other/dir> ({target})");
    assert_eq!(client.to("MOVE", "/bkt/tree", "/other/dir/tree", &[("if", &both)]), 201);
    is_whole(&server, "/other/dir/tree");
    // The lock of the moved tree stays behind, and ends with it.
    assert_eq!(client.status("MKCOL", "/bkt/tree", &[]), 201);
}

#[test]
fn what_was_at_the_destination_is_replaced_not_merged() {
    let server = planted();
    let mut client = server.client();
    for method in ["COPY", "MOVE"] {
        client.ok("MKCOL", "/bkt/target");
        client.put("/bkt/target/stale", b"x");
        assert_eq!(client.to(method, "/bkt/tree", "/bkt/target", &[("overwrite", "F")]), 412);
        assert_eq!(client.get("/bkt/target/stale"), b"x");
        assert_eq!(client.to(method, "/bkt/tree", "/bkt/target", &[]), 204);
        is_whole(&server, "/bkt/target");
        assert_eq!(client.status("GET", "/bkt/target/stale", &[]), 404);
        if method == "COPY" {
            client.ok("DELETE", "/bkt/target");
        }
    }
    // A file over a collection, and a collection over a file.
    client.put("/bkt/file", b"f");
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/target", &[]), 204);
    assert_eq!(client.get("/bkt/target"), b"f");
    client.ok("MKCOL", "/bkt/dir");
    assert_eq!(client.to("MOVE", "/bkt/dir", "/bkt/target", &[]), 204);
    assert_eq!(client.list("/bkt/"), ["/bkt/", "/bkt/target/"]);
    server.sound();
}

#[test]
fn a_copy_with_depth_0_is_the_collection_without_its_members() {
    let server = planted();
    let mut client = server.client();
    assert_eq!(client.to("COPY", "/bkt/tree", "/bkt/bare", &[("depth", "0")]), 201);
    assert_eq!(client.list("/bkt/bare/"), ["/bkt/bare/"]);
    assert_eq!(client.to("COPY", "/bkt/tree", "/bkt/other", &[("depth", "1")]), 400);
}

#[test]
fn a_tree_does_not_go_into_itself_nor_over_what_holds_it() {
    let server = planted();
    let mut client = server.client();
    for method in ["COPY", "MOVE"] {
        for (from, to) in
            [("/bkt/tree", "/bkt/tree"), ("/bkt/tree", "/bkt/tree/d0/inner"), ("/bkt/tree/d0", "/bkt/tree")]
        {
            assert_eq!(client.to(method, from, to, &[]), 403, "{method} {from} to {to}");
        }
        assert_eq!(client.to(method, "/bkt/tree", "/bkt/none/there", &[]), 409);
        assert_eq!(client.to(method, "/bkt/none", "/bkt/there", &[]), 404);
        assert_eq!(client.to(method, "/bkt/tree", "http://elsewhere.example/bkt/x", &[]), 502);
        assert_eq!(client.status(method, "/bkt/tree", &[]), 400);
    }
    is_whole(&server, "/bkt/tree");
}

#[test]
fn a_destination_may_be_a_whole_url_of_this_server() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let url = format!("http://{}/bkt/else%20where", server.address);
    assert_eq!(client.to("MOVE", "/bkt/file", &url, &[]), 201);
    assert_eq!(client.get("/bkt/else%20where"), b"x");
}

#[test]
fn a_deleted_tree_is_gone_with_all_below() {
    let server = planted();
    let mut client = server.client();
    assert_eq!(client.status("DELETE", "/bkt/tree", &[("depth", "0")]), 400);
    assert_eq!(client.status("DELETE", "/bkt/tree", &[]), 204);
    assert_eq!(client.list("/bkt/"), ["/bkt/"]);
    assert_eq!(client.status("DELETE", "/bkt/tree", &[]), 404);
    server.sound();
}

#[test]
fn the_destination_of_a_move_is_never_missing() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/target");
    client.put("/bkt/target/file", b"0");
    let (stop, mut watcher) = (Arc::new(AtomicBool::new(false)), server.client());
    let watching = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(watcher.status("HEAD", "/bkt/target/file", &[]), 200);
                looks += 1;
            }
            looks
        })
    };
    for round in 0..50 {
        client.ok("MKCOL", "/bkt/next");
        client.put("/bkt/next/file", format!("{round}").as_bytes());
        assert_eq!(client.to("MOVE", "/bkt/next", "/bkt/target", &[]), 204);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(watching.join().expect("never missing") > 0);
    server.sound();
}

#[test]
fn mkcol_is_strict() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    assert_eq!(client.status("MKCOL", "/bkt/file", &[]), 405);
    assert_eq!(client.status("MKCOL", "/bkt/none/dir", &[]), 409);
    assert_eq!(client.ask("MKCOL", "/bkt/dir", &[], b"<body/>").status, 415);
    assert_eq!(client.status("MKCOL", "/bkt/dir/", &[]), 201);
    assert_eq!(client.status("MKCOL", "/bkt/dir", &[]), 405);
}

#[test]
fn nothing_is_changed_by_a_copy_whose_user_may_not_remove_all_that_it_replaces() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/other");
    client.ok("MKCOL", "/bkt/draft");
    client.put("/bkt/draft/report", b"new");
    for path in ["/bkt", "/other"] {
        client.ok("MKCOL", &format!("{path}/final"));
        client.ok("MKCOL", &format!("{path}/final/private"));
        client.put(&format!("{path}/final/private/kept"), b"somebody else's");
        client.put(&format!("{path}/final/report"), b"old");
    }
    for path in ["/bkt", "/other", "/bkt/draft", "/bkt/draft/report", "/bkt/final", "/other/final"] {
        give(&server, path, 4711);
    }
    let mut alice = server.user("alice", 4711);
    for to in ["/bkt/final/", "/other/final/"] {
        let refused = alice.ask("COPY", "/bkt/draft/", &[("destination", to)], b"");
        assert_eq!(refused.status, 403, "{to}");
        assert!(refused.text().contains("final/private"), "{}", refused.text());
        assert_eq!(client.get(&format!("{to}report")), b"old");
        assert_eq!(client.get(&format!("{to}private/kept")), b"somebody else's");
    }
    assert_eq!((client.list("/bkt/").len(), client.list("/other/").len()), (3, 2), "no copy is left beside");
    client.ok("DELETE", "/other/final/private");
    assert_eq!(alice.to("COPY", "/bkt/draft/", "/other/final/", &[]), 204);
    assert_eq!(client.get("/other/final/report"), b"new");
    assert_eq!(client.get("/bkt/draft/report"), b"new");
    server.sound();
}

#[test]
fn a_folder_over_a_file_at_the_top_is_a_bucket_then() {
    let server = Server::start();
    let mut client = server.client();
    client.ok("MKCOL", "/bkt/folder");
    client.put("/bkt/folder/f", b"content");
    client.put("/loose", b"a file at the top");
    assert_eq!(client.to("COPY", "/bkt/folder/", "/loose", &[]), 204);
    assert_eq!(client.get("/loose/f"), b"content");
    assert_eq!(client.get("/bkt/folder/f"), b"content");
    server.sound();
}
