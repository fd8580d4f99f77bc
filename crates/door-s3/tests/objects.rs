//! Objects: what was put is what is got, by every kind of read, under every condition.

mod common;

use common::{Payload, Running, md5_hex, noise};
use strata_namespace::{Caller, Door, DoorNumber, NewNode, NodeKind, Op};

static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

#[tokio::test]
async fn an_object_comes_back_as_it_was_put_whatever_its_length() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    // Around the limits: nothing, inline, one window, several windows, odd tails.
    for len in [0, 1, 65_536, 65_537, 1_048_576, 1_048_577, 5_000_003] {
        let data = noise(len, 7);
        let put = client.put(&format!("/bucket/k{len}"), data.clone()).await.expect(200);
        assert_eq!(put.header("etag"), format!("\"{}\"", md5_hex(&data)));
        let got = client.get(&format!("/bucket/k{len}")).await.expect(200);
        assert!(got.body == data, "{len} bytes came back different");
        assert_eq!(got.header("content-length"), len.to_string());
        let head = client.head(&format!("/bucket/k{len}")).await.expect(200);
        assert_eq!(
            (head.header("content-length"), head.header("etag"), head.body.len()),
            (len.to_string().as_str(), put.header("etag"), 0)
        );
    }
    door.stop().await;
}

#[tokio::test]
async fn metadata_and_system_headers_come_back_as_they_were_stored() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let pairs = [
        ("content-type", "text/plain; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("content-disposition", "attachment; filename=\"a b\""),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("expires", "when it pleases"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-meta-empty", ""),
    ];
    let put =
        pairs.iter().fold(client.request("PUT", "/bucket/k").body("x"), |call, (name, value)| call.header(name, value));
    put.send().await.expect(200);
    for reply in [client.get("/bucket/k").await.expect(200), client.head("/bucket/k").await.expect(200)] {
        for (name, value) in pairs {
            assert_eq!(reply.header(name), value, "{name}");
        }
    }
    // Values that are not ASCII come back encoded as in mails, because headers have no Unicode.
    let unicode = client
        .request("PUT", "/bucket/u")
        .body("x")
        .header("x-amz-meta-name", "Bjørn")
        .header("content-encoding", "deflate, gzip");
    unicode.send().await.expect(200);
    let head = client.head("/bucket/u").await.expect(200);
    assert_eq!(
        (head.header("x-amz-meta-name"), head.header("content-encoding")),
        ("=?UTF-8?B?QmrDuHJu?=", "deflate, gzip")
    );
    client.put("/bucket/plain", "x").await.expect(200);
    assert_eq!(client.head("/bucket/plain").await.header("content-type"), "binary/octet-stream");
    door.stop().await;
}

#[tokio::test]
async fn ranges_and_response_overrides() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let data = noise(3_000_000, 3);
    client.put("/bucket/k", data.clone()).await.expect(200);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100-2000099", 100, 2_000_100),
        ("bytes=2999999-", 2_999_999, 3_000_000),
        ("bytes=-1500000", 1_500_000, 3_000_000),
    ] {
        let got = client.request("GET", "/bucket/k").header("range", range).send().await.expect(206);
        assert!(got.body == data[from..to], "{range}");
        assert_eq!(got.header("content-range"), format!("bytes {from}-{}/3000000", to - 1));
    }
    let outside = client
        .request("GET", "/bucket/k")
        .header("range", "bytes=3000000-")
        .send()
        .await
        .expect_error(416, "InvalidRange");
    assert_eq!(outside.header("content-range"), "bytes */3000000");
    client.put("/bucket/empty", "").await.expect(200);
    let empty = |range| client.request("GET", "/bucket/empty").header("range", range).send();
    let last = empty("bytes=-5").await.expect(200);
    assert!(last.body.is_empty() && last.header("content-range").is_empty() && last.header("content-length") == "0");
    for outside in ["bytes=-0", "bytes=0-", "bytes=0-0"] {
        empty(outside).await.expect_error(416, "InvalidRange");
    }
    for ignored in ["bytes=0-1,3-4", "lines=1-2", "bytes=5-2"] {
        let got = client.request("GET", "/bucket/k").header("range", ignored).send().await.expect(200);
        assert_eq!(got.body.len(), data.len(), "{ignored}");
    }
    let head = client.request("HEAD", "/bucket/k").header("range", "bytes=0-9").send().await.expect(206);
    assert_eq!(head.header("content-length"), "10");
    let got = client
        .get("/bucket/k?response-content-type=text%2Fx&response-expires=Thu%2C%2001%20Dec%201994%2016%3A00%3A00%20GMT")
        .await
        .expect(200);
    assert_eq!((got.header("content-type"), got.header("expires")), ("text/x", "Thu, 01 Dec 1994 16:00:00 GMT"));
    door.stop().await;
}

#[tokio::test]
async fn reads_and_writes_under_conditions() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let etag = client.put("/bucket/k", "one").await.expect(200).header("etag").to_owned();
    let get = |name, value| client.request("GET", "/bucket/k").header(name, value);
    get("if-match", etag.as_str()).send().await.expect(200);
    get("if-match", "\"0\"").send().await.expect_error(412, "PreconditionFailed");
    let same = get("if-none-match", &etag).send().await.expect(304);
    assert!(same.body.is_empty() && same.header("etag") == etag);
    get("if-none-match", "\"0\", \"1\"").send().await.expect(200);
    get("if-unmodified-since", "Thu, 01 Dec 1994 16:00:00 GMT").send().await.expect(412);
    get("if-modified-since", "Thu, 01 Dec 1994 16:00:00 GMT").send().await.expect(200);
    let put =
        |name, value, body: &'static str| client.request("PUT", "/bucket/k").header(name, value).body(body).send();
    put("if-none-match", "*", "two").await.expect_error(412, "PreconditionFailed");
    put("if-match", "\"0\"", "two").await.expect_error(412, "PreconditionFailed");
    put("if-match", &etag, "two").await.expect(200);
    put("if-none-match", "\"0\"", "three").await.expect_error(501, "NotImplemented");
    assert_eq!(client.get("/bucket/k").await.text(), "two");
    client.request("PUT", "/bucket/new").header("if-none-match", "*").body("new").send().await.expect(200);
    client
        .request("DELETE", "/bucket/k")
        .header("if-match", &etag)
        .send()
        .await
        .expect_error(412, "PreconditionFailed");
    client.get("/bucket/k").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn keys_of_every_shape_are_kept_apart() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let keys = [
        "a",
        "a/",
        "a/b",
        "a//b",
        "/lead",
        ".",
        "..",
        "../up",
        "a/./b",
        "sp%20ace",
        "pl%2Bus",
        "per%25cent",
        "ques%3Ftion",
        "h%23ash",
        "%C3%BCml%C3%A4ut",
        "tilde~star*",
        "control%01",
        "semi;colon=eq",
        "back%5Cslash",
        "UPPER",
        "upper",
    ];
    for (n, key) in keys.iter().enumerate() {
        // A key that ends with a slash stands for a directory and holds nothing.
        let body = if key.ends_with('/') { String::new() } else { format!("{n}") };
        client.put(&format!("/bucket/{key}"), body).await.expect(200);
    }
    for (n, key) in keys.iter().enumerate() {
        let body = if key.ends_with('/') { String::new() } else { format!("{n}") };
        assert_eq!(client.get(&format!("/bucket/{key}")).await.expect(200).text(), body, "{key}");
    }
    let listed = client.get("/bucket?list-type=2&encoding-type=url").await.expect(200);
    assert_eq!(listed.elements("Key").len(), keys.len(), "{}", listed.text());
    for key in keys {
        client.delete(&format!("/bucket/{key}")).await.expect(204);
        client.get(&format!("/bucket/{key}")).await.expect_error(404, "NoSuchKey");
    }
    assert!(client.get("/bucket?list-type=2").await.expect(200).elements("Key").is_empty());
    client.put(&format!("/bucket/{}", "k".repeat(1025)), "x").await.expect_error(400, "KeyTooLongError");
    door.stop().await;
}

#[tokio::test]
async fn copies_move_no_data_and_obey_their_conditions() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let data = noise(300_000, 5);
    let put = client
        .request("PUT", "/bucket/from%20here")
        .body(data.clone())
        .header("x-amz-meta-a", "1")
        .header("content-type", "text/a");
    let etag = put.send().await.expect(200).header("etag").to_owned();
    let copy = |target: &str| client.request("PUT", target).header("x-amz-copy-source", "/bucket/from%20here");
    let copied = copy("/bucket/to").send().await.expect(200);
    assert_eq!(copied.element("ETag").unwrap().replace("&quot;", "\""), etag);
    let got = client.get("/bucket/to").await.expect(200);
    assert!(got.body == data && got.header("x-amz-meta-a") == "1" && got.header("content-type") == "text/a");
    copy("/bucket/other")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-b", "2")
        .send()
        .await
        .expect(200);
    let got = client.head("/bucket/other").await.expect(200);
    assert!(got.header("x-amz-meta-a").is_empty() && got.header("x-amz-meta-b") == "2");
    copy("/bucket/from%20here").send().await.expect_error(400, "InvalidRequest");
    copy("/bucket/from%20here")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-c", "3")
        .send()
        .await
        .expect(200);
    assert_eq!(client.head("/bucket/from%20here").await.header("x-amz-meta-c"), "3");
    copy("/bucket/to")
        .header("x-amz-copy-source-if-match", "\"0\"")
        .send()
        .await
        .expect_error(412, "PreconditionFailed");
    copy("/bucket/to")
        .header("x-amz-copy-source-if-none-match", &etag)
        .send()
        .await
        .expect_error(412, "PreconditionFailed");
    client
        .request("PUT", "/bucket/to")
        .header("x-amz-copy-source", "bucket/absent")
        .send()
        .await
        .expect_error(404, "NoSuchKey");
    client
        .request("PUT", "/bucket/to")
        .header("x-amz-copy-source", "absent/k")
        .send()
        .await
        .expect_error(404, "NoSuchBucket");
    let upload = client.post("/bucket/to?uploads", "").await.expect(200).element("UploadId").unwrap();
    for source in ["bucket/100%", "bucket/%zz", "bucket/from%2", "bucket/%ff", "bucket/from%20here?versionId=%"] {
        for target in ["/bucket/to", &format!("/bucket/to?partNumber=1&uploadId={upload}")] {
            let copy = client.request("PUT", target).header("x-amz-copy-source", source);
            copy.send().await.expect_error(400, "InvalidArgument");
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn deletes_one_by_one_and_many_at_once() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for n in 0..5 {
        client.put(&format!("/bucket/k{n}"), "x").await.expect(200);
    }
    client.delete("/bucket/k0").await.expect(204);
    client.delete("/bucket/k0").await.expect(204);
    let list: String = ["k1", "k2", "absent"].iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    let reply = client.post("/bucket?delete", format!("<Delete>{list}</Delete>")).await.expect(200);
    assert_eq!(reply.elements("Key"), ["k1", "k2", "absent"]);
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>k3</Key></Object><Object><Key>k4</Key><VersionId>77</VersionId></Object></Delete>";
    let reply = client.post("/bucket?delete", quiet).await.expect(200);
    assert_eq!((reply.elements("Key"), reply.code()), (vec!["k4".to_owned()], "NoSuchVersion".to_owned()));
    assert_eq!(client.get("/bucket?list-type=2").await.elements("Key"), ["k4"]);
    let tag = client.put("/bucket/k5", "five").await.expect(200).header("etag").to_owned();
    let object = |key: &str, tag: &str| format!("<Object><Key>{key}</Key><ETag>{tag}</ETag></Object>");
    let list = [object("k5", "&quot;0123&quot;"), object("k5", &format!("W/{tag}")), object("k5", &tag)].concat();
    let reply = client.post("/bucket?delete", format!("<Delete>{list}</Delete>")).await.expect(200);
    assert_eq!(reply.elements("Code"), ["PreconditionFailed", "PreconditionFailed"], "{}", reply.text());
    assert_eq!(reply.text().matches("<Deleted>").count(), 1);
    client.get("/bucket/k5").await.expect_error(404, "NoSuchKey");
    client.post("/bucket?delete", "<Delete></Delete>").await.expect_error(400, "MalformedXML");
    let empty = "<Delete><Object><Key></Key></Object></Delete>";
    client.post("/bucket?delete", empty).await.expect_error(400, "MalformedXML");
    client.post("/bucket?delete", "<!DOCTYPE x [<!ENTITY e \"e\">]><Delete/>").await.expect_error(400, "MalformedXML");
    door.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_what_was_promised_leaves_nothing() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for len in [10, 200_000, 3_000_000] {
        let data = noise(len, 9);
        let put = || client.request("PUT", "/bucket/k").body(data.clone());
        put().header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==").send().await.expect_error(400, "BadDigest");
        put().header("content-md5", "AAAA").send().await.expect_error(400, "InvalidDigest");
        put().header("x-amz-checksum-crc32", "AAAAAA==").send().await.expect_error(400, "BadDigest");
        put().payload(Payload::Literal("0".repeat(64))).send().await.expect_error(400, "XAmzContentSHA256Mismatch");
        let wrong = Payload::UnsignedChunks(8192, ("x-amz-checksum-crc32c".to_owned(), "AAAAAA==".to_owned()));
        put().payload(wrong).send().await.expect_error(400, "BadDigest");
        client.get("/bucket/k").await.expect_error(404, "NoSuchKey");
    }
    door.stop().await;
}

#[tokio::test]
async fn checksums_are_verified_stored_and_returned_on_request() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    // If the client names no algorithm, it is CRC-64/NVME, as at S3. Small and large bodies take different paths.
    for (data, value) in [(b"123456789".to_vec(), Some("rosUhgp5mIg=")), (noise(3_000_000, 5), None)] {
        let put = client.put("/bucket/none", data).await.expect(200);
        let value = value.unwrap_or(put.header("x-amz-checksum-crc64nvme"));
        let head = client.request("HEAD", "/bucket/none").header("x-amz-checksum-mode", "ENABLED").send().await;
        for reply in [&put, &head] {
            assert_eq!(
                (reply.header("x-amz-checksum-crc64nvme"), reply.header("x-amz-checksum-type"), value.len()),
                (value, "FULL_OBJECT", 12)
            );
        }
    }
    // Of "123456789", from the CRC catalogue and the SHA standards.
    for (name, value) in [
        ("crc32", "y/Q5Jg=="),
        ("crc32c", "4waSgw=="),
        ("crc64nvme", "rosUhgp5mIg="),
        ("sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ] {
        let header = format!("x-amz-checksum-{name}");
        let put = client.request("PUT", "/bucket/k").body("123456789").header(&header, value).send().await.expect(200);
        assert_eq!(put.header(&header), value);
        assert_eq!(client.head("/bucket/k").await.header(&header), "");
        let head =
            client.request("HEAD", "/bucket/k").header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
        assert_eq!((head.header(&header), head.header("x-amz-checksum-type")), (value, "FULL_OBJECT"));
        let trailer = (header.clone(), value.to_owned());
        for payload in [Payload::UnsignedChunks(4, trailer.clone()), Payload::SignedChunks(4, Some(trailer))] {
            client.request("PUT", "/bucket/t").body("123456789").payload(payload).send().await.expect(200);
            let got =
                client.request("GET", "/bucket/t").header("x-amz-checksum-mode", "ENABLED").send().await.expect(200);
            assert_eq!(
                (got.header(&header), got.text().as_str(), got.header("content-encoding")),
                (value, "123456789", "")
            );
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn attributes_acl_and_tagging_are_answered_and_what_is_not_there_is_refused() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let etag = client.put("/bucket/k", "123").await.expect(200).header("etag").replace('"', "");
    let reply = client
        .request("GET", "/bucket/k?attributes")
        .header("x-amz-object-attributes", "ETag,ObjectSize,StorageClass")
        .send()
        .await
        .expect(200);
    assert_eq!(
        (reply.element("ETag"), reply.element("ObjectSize"), reply.element("StorageClass")),
        (Some(etag), Some("3".into()), Some("STANDARD".into()))
    );
    for target in ["/bucket?acl", "/bucket/k?acl"] {
        assert_eq!(client.get(target).await.expect(200).element("Permission").unwrap(), "FULL_CONTROL");
    }
    client.get("/bucket/k?tagging").await.expect(200);
    assert_eq!(client.get("/bucket?versioning").await.expect(200).element("Status"), None);
    for (method, target) in [
        ("PUT", "/bucket?versioning"),
        ("PUT", "/bucket?policy"),
        ("PUT", "/bucket/k?acl"),
        ("PUT", "/bucket/k?tagging"),
    ] {
        let reply = client.request(method, target).body("<X/>").send().await;
        assert!(reply.status.is_client_error() || reply.status.as_u16() == 501, "{method} {target}: {}", reply.text());
    }
    client
        .request("PUT", "/bucket/e")
        .header("x-amz-server-side-encryption", "AES256")
        .body("x")
        .send()
        .await
        .expect_error(501, "NotImplemented");
    client.get("/bucket/k?versionId=77").await.expect_error(404, "NoSuchVersion");
    client.get("/bucket/k?versionId=null").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn what_is_no_object_is_neither_replaced_nor_walked_through() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let op = Op::new(Caller::root(&MOUNT));
    let bucket = door.ns.resolve(&op, b"bucket").unwrap().ino;
    door.ns.symlink(&op, bucket, b"link", b"target").unwrap();
    door.ns.mknod(&op, bucket, b"fifo", NewNode { kind: NodeKind::Fifo, mode: 0o600, rdev: 0 }).unwrap();
    client.put("/bucket/source", "data").await.expect(200);
    for name in ["link", "fifo"] {
        for key in [format!("/bucket/{name}"), format!("/bucket/{name}/below"), format!("/bucket/{name}/")] {
            let refused = client.put(&key, "x").await.expect_error(409, "NameIsNoObject");
            assert!(refused.text().contains("nothing was changed"), "{}", refused.text());
            let condition = client.request("PUT", &key).header("if-none-match", "*").body("x");
            condition.send().await.expect_error(409, "NameIsNoObject");
            let copy = client.request("PUT", &key).header("x-amz-copy-source", "bucket/source");
            copy.send().await.expect_error(409, "NameIsNoObject");
            client.get(&key).await.expect_error(404, "NoSuchKey");
            client.delete(&key).await.expect(204);
            let id = client.post(&format!("{key}?uploads"), "").await.expect(200).element("UploadId").unwrap();
            let part = client.put(&format!("{key}?partNumber=1&uploadId={id}"), "x").await.expect(200);
            let etag = part.header("etag").trim_matches('"').to_owned();
            let listed = format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>");
            let document = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
            let completed = client.post(&format!("{key}?uploadId={id}"), document).await;
            completed.expect_error(409, "NameIsNoObject");
        }
    }
    client.delete("/bucket/source").await.expect(204);
    assert!(client.get("/bucket?list-type=2").await.expect(200).elements("Key").is_empty());
    let kept = client.delete("/bucket").await.expect_error(409, "BucketNotEmpty");
    assert!(kept.text().contains("fifo"), "{}", kept.text());
    for (name, kind) in [("link", NodeKind::Symlink), ("fifo", NodeKind::Fifo)] {
        assert_eq!(door.ns.lookup(&op, bucket, name.as_bytes()).unwrap().kind, kind);
        door.ns.unlink(&op, bucket, name.as_bytes()).unwrap();
    }
    client.delete("/bucket").await.expect(204);
    door.stop().await;
}
