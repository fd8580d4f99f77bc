//! The server around the door: limits, slow and malformed clients, shutdown, metrics, host names.

mod common;

use std::time::Duration;

use common::{POLICY, Running, form, noise, send, send_over};
use strata_door_s3::S3Config;
use strata_gate::Pace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_bucket_may_be_a_host_name_below_a_configured_domain() {
    let door = Running::with(S3Config { domains: vec!["s3.test".to_owned()], ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let there = |method: &str, target: &str| client.request(method, target).header("host", "bucket.s3.test");
    there("PUT", "/dir/k").body("data").send().await.expect(200);
    assert_eq!(there("GET", "/dir/k").send().await.expect(200).text(), "data");
    assert_eq!(there("GET", "/?list-type=2").send().await.expect(200).elements("Key"), ["dir/k"]);
    assert_eq!(client.get("/bucket/dir/k").await.expect(200).text(), "data");
    assert_eq!(
        client.request("GET", "/bucket/dir/k").header("host", "s3.test").send().await.expect(200).text(),
        "data"
    );
    door.stop().await;
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_to_slow_down() {
    let door = Running::with(S3Config { in_flight_max: 1, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    // A request that is admitted and then sends nothing: it holds the one place.
    let mut headers = vec![("host".to_owned(), door.addr.to_string())];
    client.signer.sign("PUT", "/bucket/slow", &mut headers, &"0123456789".into(), common::Payload::Sha256);
    let mut head = String::from("PUT /bucket/slow HTTP/1.1\r\ncontent-length: 10\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut slow = door.connect().await;
    slow.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    while door.metrics.in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = client.get("/bucket").await.expect_error(503, "SlowDown");
    assert_eq!((refused.header("retry-after"), door.metrics.shed()), ("1", 1));
    slow.write_all(b"0123456789").await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(slow);
    while door.metrics.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(client.get("/bucket/slow").await.expect(200).text(), "0123456789");
    door.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let data = noise(3_000_000, 4);
    for sent in [0, 1000, 2_500_000] {
        let mut headers = vec![("host".to_owned(), door.addr.to_string())];
        client.signer.sign("PUT", "/bucket/k", &mut headers, &data.clone().into(), common::Payload::Unsigned);
        let mut head = format!("PUT /bucket/k HTTP/1.1\r\ncontent-length: {}\r\n", data.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = door.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&data[..sent]).await.unwrap();
        drop(stream);
        while door.metrics.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.get("/bucket/k").await.expect_error(404, "NoSuchKey");
    }
    door.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_an_answer_that_skips_the_interim_one_its_client_waited_for() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    // Status, whether `100 Continue` came first, and whether the connection was closed.
    let put = async |key: &str, body: &'static [u8], signed_for: &str| {
        let mut headers = vec![("host".to_owned(), door.addr.to_string())];
        client.signer.sign("PUT", signed_for, &mut headers, &body.into(), common::Payload::Sha256);
        let mut head = format!("PUT {key} HTTP/1.1\r\ncontent-length: {}\r\nexpect: 100-continue\r\n", body.len());
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = door.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut asked = false;
        let ended = tokio::time::timeout(Duration::from_secs(2), async {
            while stream.read_buf(&mut answer).await.unwrap() > 0 {
                if !asked && answer.starts_with(b"HTTP/1.1 100 ") {
                    asked = true;
                    answer.clear();
                    stream.write_all(body).await.unwrap();
                }
            }
        });
        let closed = ended.await.is_ok();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(text.contains("connection: close"), closed, "{text}");
        (text[9..12].to_owned(), asked, closed)
    };
    assert_eq!(put("/bucket/full", b"body", "/bucket/full").await, ("200".to_owned(), true, false));
    assert_eq!(put("/bucket/empty", b"", "/bucket/empty").await, ("200".to_owned(), false, true));
    assert_eq!(put("/bucket/refused", b"body", "/bucket/other").await, ("403".to_owned(), false, true));
    door.stop().await;
}

/// Sends a request without waiting for anything, and reads what comes until the connection ends or nothing comes.
async fn send_whole(door: &Running, head: &str, body: &[u8]) -> (String, bool) {
    let mut stream = door.connect().await;
    stream
        .write_all(format!("{head}host: {}\r\ncontent-length: {}\r\n\r\n", door.addr, body.len()).as_bytes())
        .await
        .expect("what was sent is taken");
    stream.write_all(body).await.expect("what was sent is taken");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(2), async {
        while stream.read_buf(&mut answer).await.expect("the answer is not taken back") > 0 {}
    });
    let closed = ended.await.is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), closed)
}

#[tokio::test]
async fn an_error_arrives_whole_although_its_client_was_still_sending_and_says_that_the_connection_ends() {
    let door = Running::start().await;
    let body = vec![7; 8 << 20];
    for head in
        ["PUT /bucket/k HTTP/1.1\r\n", "POST /bucket HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=X\r\n"]
    {
        let (answer, closed) = send_whole(&door, head, &body).await;
        assert!(closed && answer.contains("\r\nconnection: close\r\n") && answer.ends_with("</Error>"), "{answer}");
    }
    // If all was received, the connection stays open, and the answer has no such header.
    let (answer, closed) = send_whole(&door, "GET /bucket/k HTTP/1.1\r\n", b"").await;
    assert!(!closed && !answer.contains("connection: close") && answer.ends_with("</Error>"), "{answer}");
    door.stop().await;
}

#[tokio::test]
async fn every_error_has_a_message_and_the_ids_of_request_and_store() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let mut hosts = std::collections::BTreeSet::new();
    for (method, target, body) in [
        ("GET", "/absent", ""),
        ("GET", "/bucket/absent", ""),
        ("GET", "/bucket?cors", ""),
        ("POST", "/bucket?delete", "<Delete>"),
        ("POST", "/bucket?delete", "no document"),
        ("PUT", "/bucket?versioning", "<VersioningConfiguration/>"),
        ("PATCH", "/bucket/k", ""),
        ("PUT", "/Not_A_Bucket", ""),
        ("GET", "/bucket?max-keys=x", ""),
    ] {
        let reply = client.request(method, target).body(body).send().await;
        assert!(reply.status.as_u16() >= 400, "{method} {target}: {}", reply.text());
        assert!(
            !reply.code().is_empty() && reply.element("Message").is_some_and(|text| !text.is_empty()),
            "{}",
            reply.text()
        );
        assert_eq!(reply.element("RequestId").as_deref(), Some(reply.header("x-amz-request-id")), "{}", reply.text());
        assert_eq!(reply.element("HostId").as_deref(), Some(reply.header("x-amz-id-2")), "{}", reply.text());
        hosts.insert(reply.element("HostId"));
    }
    assert_eq!(hosts.len(), 1);
    client.get("/bucket/absent").await.expect_error(404, "NoSuchKey");
    door.stop().await;
}

#[tokio::test]
async fn an_object_without_a_length_is_refused_and_one_in_chunks_of_http_is_not_guessed() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", "old").await.expect(200);
    for more in ["", "transfer-encoding: chunked\r\n"] {
        let mut headers = vec![("host".to_owned(), door.addr.to_string())];
        client.signer.sign("PUT", "/bucket/k", &mut headers, &"".into(), common::Payload::Unsigned);
        let mut head = format!("PUT /bucket/k HTTP/1.1\r\n{more}");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let end = if more.is_empty() { "" } else { "0\r\n\r\n" };
        let mut stream = door.connect().await;
        stream.write_all(format!("{head}\r\n{end}").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 411");
    }
    assert_eq!(client.get("/bucket/k").await.text(), "old");
    door.stop().await;
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_door_serves_on() {
    let door = Running::start().await;
    let host = door.addr.to_string();
    for bytes in [
        "GARBAGE\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n"),
        format!("PUT /b/k HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\n{}\r\n", "a: b\r\n".repeat(200)),
        format!("GET / HTTP/1.1\r\nhost: {host}\r\na: {}\r\n\r\n", "x".repeat(20_000)),
        format!("GET /?prefix={} HTTP/1.1\r\nhost: {host}\r\n\r\n", "x".repeat(70_000)),
        format!("OPTIONS /b/k HTTP/1.1\r\nhost: {host}\r\norigin: http://a\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /%ff%fe/k HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ] {
        let mut stream = door.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.unwrap();
        let wanted: &[u8] = if bytes.contains("gzip") { b"HTTP/1.1 501" } else { b"HTTP/1.1 4" };
        if read.is_ok() {
            assert!(answer.starts_with(wanted), "{}", bytes.escape_debug());
        }
    }
    door.client().get("/").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn a_head_that_is_no_request_is_answered_with_a_document_also_behind_a_request() {
    let door = Running::start().await;
    let host = door.addr.to_string();
    let fine = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    for (bytes, status, code) in [
        ("GARBAGE\r\n\r\n".to_owned(), "400", "BadRequest"),
        (format!("GET / HTTP/1.1\r\nhost: {host}\r\na b: c\r\n\r\n"), "400", "BadRequest"),
        (
            format!("GET / HTTP/1.1\r\nhost: {host}\r\n{}\r\n", "a: b\r\n".repeat(200)),
            "431",
            "RequestHeaderSectionTooLarge",
        ),
        (format!("GET /{} HTTP/1.1\r\nhost: {host}\r\n\r\n", "x".repeat(70_000)), "414", "InvalidURI"),
    ] {
        for before in [None, Some(&fine)] {
            let mut stream = door.connect().await;
            let mut answer = Vec::new();
            if let Some(before) = before {
                stream.write_all(before.as_bytes()).await.unwrap();
                while !answer.ends_with(b"</Error>") {
                    stream.read_buf(&mut answer).await.unwrap();
                }
                assert!(answer.starts_with(b"HTTP/1.1 403"));
                answer.clear();
            }
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
            ended.await.expect("the connection ends").unwrap();
            let answer = String::from_utf8(answer).unwrap();
            let (head, document) = answer.split_once("\r\n\r\n").expect(code);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(document.contains(&format!("<Code>{code}</Code><Message>")), "{answer}");
            let id = document.split_once("<RequestId>").unwrap().1.split_once('<').unwrap().0;
            for line in [
                format!("x-amz-request-id: {id}"),
                format!("content-length: {}", document.len()),
                "content-type: application/xml".to_owned(),
                "connection: close".to_owned(),
            ] {
                assert_eq!(head.lines().filter(|found| **found == line).count(), 1, "{answer}");
            }
            assert!(head.contains("\r\ndate: ") && document.contains("</HostId></Error>"), "{answer}");
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn a_client_that_ends_its_half_behind_a_request_is_still_answered_whole() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let content = noise(8 << 20, 3);
    client.put("/bucket/object", content.clone()).await.expect(200);
    let link = client.request("GET", "/bucket/object").presigned(60);
    for _ in 0..10 {
        let mut stream = door.connect().await;
        stream.write_all(format!("GET {link} HTTP/1.1\r\nhost: {}\r\n\r\n", door.addr).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        ended.await.expect("the connection ends").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&content), "{} bytes came", answer.len());
    }
    door.stop().await;
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_accepts_no_more() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let mut headers = vec![("host".to_owned(), door.addr.to_string())];
    client.signer.sign("PUT", "/bucket/late", &mut headers, &"0123456789".into(), common::Payload::Sha256);
    let mut head = String::from("PUT /bucket/late HTTP/1.1\r\ncontent-length: 10\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut slow = door.connect().await;
    slow.write_all(format!("{head}\r\n01234").as_bytes()).await.unwrap();
    while door.metrics.in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let addr = door.addr;
    let stopping = tokio::spawn(door.stop());
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.write_all(b"56789").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", noise(100_000, 1)).await.expect(200);
    client.get("/bucket/k").await.expect(200);
    client.get("/bucket/absent").await.expect(404);
    let headers = [("host".to_owned(), door.addr.to_string())];
    send(door.addr, "GET", "/bucket/k", &headers, "".into()).await.expect(403);
    let counted: Vec<_> =
        door.metrics.requests().map(|(operation, class, count)| (operation.name(), class, count)).collect();
    assert_eq!(
        counted,
        [("Other", 4, 1), ("CreateBucket", 2, 1), ("GetObject", 2, 1), ("GetObject", 4, 1), ("PutObject", 2, 1)]
    );
    assert!(door.metrics.bytes_in() == 100_000 && door.metrics.bytes_out() > 100_000);
    door.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_given_up() {
    let pace = Pace { stall: Duration::from_millis(300), ..Pace::default() };
    let door = Running::with(S3Config { pace, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/long", noise(24 << 20, 7)).await.expect(200);
    let mut headers = vec![("host".to_owned(), door.addr.to_string())];
    client.signer.sign("GET", "/bucket/long", &mut headers, &"".into(), common::Payload::Sha256);
    let mut head = String::from("GET /bucket/long HTTP/1.1\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut deaf = door.connect().await;
    deaf.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    while door.metrics.in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let given_up = async {
        while door.metrics.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), given_up).await.expect("it is given up");
    client.get("/bucket/long").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn slow_uploads_of_one_user_leave_places_for_the_others() {
    let door = Running::with(S3Config { in_flight_max: 8, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let mut slow = Vec::new();
    for n in 0..8 {
        let target = format!("/bucket/slow{n}");
        let mut headers = vec![("host".to_owned(), door.addr.to_string())];
        client.signer.sign("PUT", &target, &mut headers, &"0123456789".into(), common::Payload::Sha256);
        let mut head = format!("PUT {target} HTTP/1.1\r\ncontent-length: 10\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = door.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        slow.push(stream);
    }
    while door.metrics.in_flight() + door.metrics.shed() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let other = door.user("other", 2000);
    let reply = door.client_of(&other).get("/").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    client.get("/").await.expect_error(503, "SlowDown");
    drop(slow);
    door.stop().await;
}

/// Sends a form but for the end of it, and waits until it is worked on or refused.
async fn slow_form(door: &Running, sent_of: impl Fn(&[u8]) -> &[u8]) -> TcpStream {
    let known = door.metrics.in_flight() + door.metrics.shed();
    let (headers, body) = form(&door.client(), &[("key", "up/slow")], POLICY, b"0123456789");
    let mut head = format!("POST /bucket HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let mut stream = door.connect().await;
    stream.write_all(format!("{head}\r\n").as_bytes()).await.expect("what was sent is taken");
    stream.write_all(sent_of(&body)).await.expect("what was sent is taken");
    while door.metrics.in_flight() + door.metrics.shed() <= known {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream
}

#[tokio::test]
async fn slow_forms_of_one_user_leave_places_for_the_others() {
    let door = Running::with(S3Config { in_flight_max: 8, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let mut slow = Vec::new();
    while client.get("/").await.status == 200 {
        slow.push(slow_form(&door, |body| &body[..body.len() - 20]).await);
    }
    let other = door.user("other", 2000);
    door.client_of(&other).get("/").await.expect(200);
    drop(slow);
    door.stop().await;
}

#[tokio::test]
async fn forms_that_prove_nothing_leave_places_for_users_and_for_other_addresses() {
    let door = Running::with(S3Config { in_flight_max: 8, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let mut slow = Vec::new();
    for _ in 0..8 {
        slow.push(slow_form(&door, |body| &body[..10]).await);
    }
    client.get("/").await.expect(200);
    let (headers, body) = form(&client, &[("key", "up/k")], POLICY, b"data");
    send(door.addr, "POST", "/bucket", &headers, body.clone().into()).await.expect_error(503, "SlowDown");
    let elsewhere = door.connect_from_elsewhere().await;
    send_over(elsewhere, "POST", "/bucket", &headers, body.into()).await.expect(204);
    drop(slow);
    door.stop().await;
}

#[tokio::test]
async fn a_form_finds_the_one_place_there_is() {
    let door = Running::with(S3Config { in_flight_max: 1, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let (headers, body) = form(&client, &[("key", "up/k")], POLICY, b"data");
    send(door.addr, "POST", "/bucket", &headers, body.into()).await.expect(204);
    door.stop().await;
}

#[tokio::test]
async fn connections_of_one_address_leave_some_for_the_others() {
    let door = Running::with(S3Config { connections_max: 8, ..S3Config::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(door.connect().await);
    }
    let settled = async {
        while door.metrics.connections() < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), settled).await.unwrap();
    let mut other = door.connect_from_elsewhere().await;
    other.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 10];
    tokio::time::timeout(Duration::from_secs(5), other.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 4");
    drop((idle, other));
    door.stop().await;
}
