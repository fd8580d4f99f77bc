//! Conditions of changes: held or refused, by every operation.

mod common;

use common::{Client, Payload, Reply, Running};

/// Every conditional header, each with a value that does not hold for the object `key`.
const FAILING: [(&str, &str); 17] = [
    ("if-match", "\"0123456789abcdef0123456789abcdef\""),
    ("if-none-match", "*"),
    ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("if-range", "\"0123456789abcdef0123456789abcdef\""),
    ("x-amz-copy-source-if-match", "\"0123456789abcdef0123456789abcdef\""),
    ("x-amz-copy-source-if-none-match", "*"),
    ("x-amz-copy-source-if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ("x-amz-copy-source-if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("x-amz-if-match-initiated-time", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("x-amz-if-match-last-modified-time", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("x-amz-if-match-size", "99999"),
    ("x-amz-object-if-match", "\"0123456789abcdef0123456789abcdef\""),
    ("x-amz-rename-source-if-match", "\"0123456789abcdef0123456789abcdef\""),
    ("x-amz-rename-source-if-none-match", "*"),
    ("x-amz-if-nobody-knows-this-yet", "1"),
    ("x-amz-new-source-if-match", "1"),
];

/// Method, target, headers and body.
type Ask<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

async fn upload(client: &Client, key: &str) -> String {
    client.post(&format!("/bucket/{key}?uploads"), "").await.expect(200).element("UploadId").expect("an id")
}

#[tokio::test]
async fn no_operation_ignores_a_condition_that_does_not_hold() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/empty", "").await.expect(200);
    client.put("/bucket/source", "source").await.expect(200);
    let etag = client.put("/bucket/key", "data").await.expect(200).header("etag").to_owned();
    let id = upload(&client, "key").await;
    let part = client.put(&format!("/bucket/key?partNumber=1&uploadId={id}"), "part").await.expect(200);
    let completion = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").trim_matches('"')
    );
    let delete = "<Delete><Object><Key>key</Key></Object></Delete>";
    let of_upload = format!("/bucket/key?uploadId={id}");
    let of_part = format!("/bucket/key?partNumber=2&uploadId={id}");
    let copies = [("x-amz-copy-source", "bucket/source")];
    let asks: [Ask<'_>; 12] = [
        ("PUT", "/bucket/key", &[], "new"),
        ("PUT", "/bucket/key", &copies, ""),
        ("PUT", &of_part, &[], "new"),
        ("PUT", &of_part, &copies, ""),
        ("POST", &of_upload, &[], &completion),
        ("POST", "/bucket/key?uploads", &[], ""),
        ("POST", "/bucket?delete", &[], delete),
        ("DELETE", "/bucket/key", &[], ""),
        ("DELETE", &of_upload, &[], ""),
        ("DELETE", "/empty", &[], ""),
        ("PUT", "/new-bucket", &[], ""),
        ("GET", "/bucket", &[], ""),
    ];
    for (method, target, headers, body) in asks {
        for (name, value) in FAILING {
            let mut call = client.request(method, target).body(body.to_owned());
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let reply = call.header(name, value).send().await;
            let status = reply.status.as_u16();
            assert!([400, 404, 412, 501].contains(&status), "{method} {target} {name}: {status} {}", reply.text());
            let kept = client.get("/bucket/key").await.expect(200);
            assert_eq!(
                (kept.header("etag"), kept.text().as_str()),
                (etag.as_str(), "data"),
                "{method} {target} {name}"
            );
        }
    }
    let parts = client.get(&of_upload).await.expect(200);
    assert_eq!(parts.elements("PartNumber"), ["1"], "only the part from before is there");
    client.get("/empty").await.expect(200);
    client.get("/new-bucket").await.expect(404);
    // Without conditions, the upload that none of this changed is completed.
    client.post(&of_upload, completion).await.expect(200);
    door.stop().await;
}

async fn copy(client: &Client, target: &str, name: &str, value: &str) -> Reply {
    let call = client.request("PUT", target).header("x-amz-copy-source", "bucket/source");
    call.header(name, value).send().await
}

#[tokio::test]
async fn a_copy_holds_the_conditions_of_its_destination() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/source", "source").await.expect(200);
    let etag = client.put("/bucket/key", "data").await.expect(200).header("etag").to_owned();
    copy(&client, "/bucket/key", "if-none-match", "*").await.expect_error(412, "PreconditionFailed");
    copy(&client, "/bucket/key", "if-match", "\"other\"").await.expect_error(412, "PreconditionFailed");
    copy(&client, "/bucket/new", "if-match", "*").await.expect_error(404, "NoSuchKey");
    assert_eq!(client.get("/bucket/key").await.text(), "data");
    copy(&client, "/bucket/new", "if-none-match", "*").await.expect(200);
    copy(&client, "/bucket/key", "if-match", &etag).await.expect(200);
    assert_eq!(client.get("/bucket/key").await.text(), "source");
    door.stop().await;
}

#[tokio::test]
async fn a_condition_that_cannot_be_read_is_not_taken_for_none() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let etag = client.put("/bucket/key", "data").await.expect(200).header("etag").to_owned();
    for (name, value) in [
        ("if-match", ""),
        ("if-match", ","),
        ("if-match", "\"open"),
        ("if-none-match", ""),
        ("if-none-match", "\"open"),
    ] {
        let put = client.request("PUT", "/bucket/key").header(name, value).body("new").send().await;
        put.expect_error(400, "InvalidArgument");
        client.request("DELETE", "/bucket/key").header(name, value).send().await.expect(400);
    }
    for value in [format!("W/{etag}"), format!("\"x,{}\"", etag.trim_matches('"')), "\"*\"".to_owned()] {
        let put = client.request("PUT", "/bucket/key").header("if-match", &value).body("new").send().await;
        put.expect_error(412, "PreconditionFailed");
    }
    for value in ["", "yesterday"] {
        let copy = client.request("PUT", "/bucket/copy").header("x-amz-copy-source", "bucket/key");
        copy.header("x-amz-copy-source-if-unmodified-since", value).send().await.expect_error(400, "InvalidArgument");
    }
    assert_eq!(client.get("/bucket/key").await.text(), "data");
    door.stop().await;
}

#[tokio::test]
async fn a_condition_in_the_query_of_a_presigned_request_is_held_too() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/key", "data").await.expect(200);
    let ask = async |method: &str, target: &str| {
        let target = client.request(method, target).presigned(60);
        client.request(method, &target).send_unsigned().await
    };
    ask("DELETE", "/bucket/key?x-amz-if-match-size=9").await.expect_error(501, "NotImplemented");
    let copy = "/bucket/new?X-Amz-Copy-Source=bucket%2Fkey";
    let (failing, unusable) = ("&X-Amz-Copy-Source-If-Match=%22x%22", "&X-Amz-Copy-Source-If-Match=%00");
    ask("PUT", &format!("{copy}{failing}")).await.expect_error(412, "PreconditionFailed");
    ask("PUT", &format!("{copy}{unusable}")).await.expect_error(400, "InvalidArgument");
    client.get("/bucket/new").await.expect(404);
    ask("PUT", copy).await.expect(200);
    assert_eq!(client.get("/bucket/new").await.text(), "data");
    door.stop().await;
}

#[tokio::test]
async fn part_of_a_body_never_replaces_the_whole() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/key", "0123456789").await.expect(200);
    let part = client.request("PUT", "/bucket/key").header("content-range", "bytes 0-1/10").body("xx");
    part.send().await.expect_error(400, "InvalidRequest");
    let copy = client.request("PUT", "/bucket/copy").header("x-amz-copy-source", "bucket/key");
    copy.header("x-amz-copy-source-range", "bytes=0-1").send().await.expect_error(400, "InvalidRequest");
    assert_eq!(client.get("/bucket/key").await.text(), "0123456789");
    client.get("/bucket/copy").await.expect(404);
    door.stop().await;
}

/// Chunks without signatures around `data`, as clients frame a body.
fn framed(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n0\r\n\r\n", data.len())
}

#[tokio::test]
async fn framing_is_never_stored_as_content() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let put = async |coding: &str, decoded: &str, payload: Payload, body: String| {
        let mut call = client.request("PUT", "/bucket/key").payload(payload);
        if !coding.is_empty() {
            call = call.header("content-encoding", coding);
        }
        if !decoded.is_empty() {
            call = call.header("x-amz-decoded-content-length", decoded);
        }
        call.body(body).send().await
    };
    for coding in ["aws-chunked", "AWS-Chunked", "gzip, Aws-Chunked"] {
        put(coding, "5", Payload::Unsigned, framed("hello")).await.expect(200);
        let stored = client.get("/bucket/key").await.expect(200);
        assert_eq!(stored.text(), "hello", "{coding}");
        assert_eq!(stored.header("content-encoding"), if coding.starts_with("gzip") { "gzip" } else { "" });
        client.delete("/bucket/key").await.expect(204);
    }
    // The encoding claims frames, but there are none: equal lengths leave no room for frames.
    put("aws-chunked", "5", Payload::Unsigned, "hello".to_owned()).await.expect(200);
    assert_eq!(client.get("/bucket/key").await.text(), "hello");
    client.delete("/bucket/key").await.expect(204);
    let shorter = format!("{}\r\n", framed("hell"));
    for (coding, decoded, payload, body) in [
        ("aws-chunked", "4", Payload::Unsigned, framed("hello")),
        ("aws-chunked", "6", Payload::Unsigned, framed("hello")),
        ("aws-chunked", "6", Payload::Unsigned, "hello".to_owned()),
        ("aws-chunked", "5", Payload::Unsigned, shorter),
        ("aws-chunked", "5", Payload::Sha256, framed("hello")),
        ("aws-chunked", "x", Payload::Unsigned, framed("hello")),
        ("", "5", Payload::Unsigned, framed("hello")),
        ("gzip", "5", Payload::Unsigned, framed("hello")),
        ("", "4", Payload::Sha256, "hello".to_owned()),
    ] {
        let what = format!("{coding} {decoded} {payload:?} {body:?}");
        let reply = put(coding, decoded, payload, body).await;
        assert_eq!(reply.status.as_u16(), 400, "{what}: {}", reply.text());
        client.get("/bucket/key").await.expect(404);
    }
    door.stop().await;
}
