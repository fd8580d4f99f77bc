//! Section "Names", URLs in headers: which names this share has, raw UTF-8, fragments, and which depth a file takes.

use strata_door_webdav::DavConfig;

use crate::support::Server;

const URL: &str = "https://files.example/bkt/moved";

fn proxied(server: &Server, headers: &[(&str, &str)]) -> u16 {
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    let headers = [headers, &[("destination", URL)]].concat();
    let status = client.ask("MOVE", "/bkt/file", &headers, b"").status;
    // A refused MOVE has changed nothing.
    assert_eq!(client.status("GET", "/bkt/file", &[]), if status < 300 { 404 } else { 200 });
    status
}

#[test]
fn behind_a_proxy_that_is_trusted_a_move_goes_where_the_client_says() {
    let server =
        Server::with(DavConfig { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..DavConfig::default() });
    assert_eq!(proxied(&server, &[("x-forwarded-host", "files.example")]), 201);
    assert_eq!(proxied(&server, &[("forwarded", "proto=https;host=files.example")]), 204);
    assert_eq!(proxied(&server, &[("x-forwarded-host", "other.example")]), 502);
}

#[test]
fn the_word_of_a_client_that_is_no_trusted_proxy_does_not_count() {
    let server = Server::start();
    assert_eq!(proxied(&server, &[("x-forwarded-host", "files.example")]), 502);
}

#[test]
fn a_share_whose_url_was_set_takes_it_whatever_the_host_header_says() {
    let server = Server::with(DavConfig { url_authority: Some("files.example".into()), ..DavConfig::default() });
    assert_eq!(proxied(&server, &[]), 201);
}

#[test]
fn a_destination_in_raw_utf_8_is_the_same_name_as_percent_encoded() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    assert_eq!(client.to("MOVE", "/bkt/file", "/bkt/Gr\u{fc}\u{df}e \u{1f4be}", &[]), 201);
    assert_eq!(client.get("/bkt/Gr%C3%BC%C3%9Fe%20%F0%9F%92%BE"), b"x");
}

#[test]
fn a_destination_that_a_query_or_fragment_would_cut_short_is_refused() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    for destination in ["/bkt/what?", "/bkt/part#1"] {
        assert_eq!(client.to("COPY", "/bkt/file", destination, &[]), 400, "{destination}");
    }
    assert_eq!(client.list("/bkt/").len(), 2);
}

#[test]
fn a_fragment_in_a_request_line_is_refused_and_nothing_is_done() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    for (method, path) in
        [("DELETE", "/bkt/file#1"), ("MKCOL", "/bkt/new#1"), ("PUT", "/bkt/file#"), ("GET", "/bkt/file#a")]
    {
        assert_eq!(client.ask(method, path, &[], b"").status, 400, "{method} {path}");
        // On the same connection, the next request is checked by its own line.
        assert_eq!(client.get("/bkt/file"), b"x", "{method} {path}");
    }
    assert_eq!(client.status("GET", "/bkt/new/", &[]), 404);
    // Text that looks like a request line does not disturb what follows it.
    client.put("/bkt/file", b"GET /bkt/file#1 HTTP/1.1\r\n");
    assert_eq!(client.status("GET", "/bkt/file", &[]), 200);
}

#[test]
fn a_file_takes_every_depth() {
    let server = Server::start();
    let mut client = server.client();
    client.put("/bkt/file", b"x");
    client.ok("MKCOL", "/bkt/dir");
    for depth in ["0", "1", "infinity"] {
        assert_eq!(client.status("PROPFIND", "/bkt/file", &[("depth", depth)]), 207, "{depth}");
        assert_eq!(
            client.to("COPY", "/bkt/file", "/bkt/copy", &[("depth", depth)]),
            if depth == "0" { 201 } else { 204 }
        );
        assert_eq!(
            client.to("MOVE", "/bkt/copy", "/bkt/moved", &[("depth", depth)]),
            if depth == "0" { 201 } else { 204 }
        );
        client.put("/bkt/copy", b"x");
    }
    assert_eq!(client.status("DELETE", "/bkt/moved", &[("depth", "0")]), 204);
    assert_eq!(client.status("PROPFIND", "/bkt/file", &[]), 207);
    assert_eq!(client.status("PROPFIND", "/bkt/dir", &[("depth", "infinity")]), 403);
    assert_eq!(client.to("MOVE", "/bkt/dir", "/bkt/away", &[("depth", "0")]), 400);
    assert_eq!(client.to("COPY", "/bkt/dir", "/bkt/away", &[("depth", "1")]), 400);
}
