//! A lock taken over WebDAV binds clients of this door: they are refused with 409 `ResourceLocked`.

mod common;

use common::Running;
use strata_namespace::{Caller, Door, DoorNumber, NewLock, Op};

static WEBDAV: Door = Door::of_users("webdav", DoorNumber::new(4), &[]);

/// Has somebody lock `/bucket/dir` with everything below it over WebDAV.
fn lock(door: &Running) -> Op {
    let op = Op::new(Caller::root(&WEBDAV));
    op.submit("ann", vec![]);
    let wanted = NewLock {
        token: "urn:uuid:1".to_owned(),
        path: b"/bucket/dir".to_vec(),
        deep: true,
        shared: false,
        owner_xml: vec![],
        seconds: None,
    };
    let bucket = door.ns.resolve(&op, b"/bucket").expect("a bucket").ino;
    door.ns.lock(&op, Some((bucket, b"dir")), &wanted).expect("granted");
    op
}

#[tokio::test]
async fn what_is_locked_over_webdav_is_refused_by_every_operation_and_the_reply_says_whom_to_ask() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/dir/key", "before").await.expect(200);
    client.put("/bucket/source", "source").await.expect(200);
    let id = client.post("/bucket/dir/key?uploads", "").await.expect(200).element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/dir/key?partNumber=1&uploadId={id}"), "part").await.expect(200);
    let completion = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").trim_matches('"')
    );
    let ann = lock(&door);
    let complete = format!("/bucket/dir/key?uploadId={id}");
    let asks = [
        ("PUT", "/bucket/dir/key", "new"),
        ("PUT", "/bucket/dir/new", "new"),
        ("PUT", "/bucket/dir/deeper/new", "new"),
        ("DELETE", "/bucket/dir/key", ""),
        ("POST", &complete, &completion),
    ];
    for (method, target, body) in asks {
        let reply = client.request(method, target).body(body.to_owned()).send().await;
        let reply = reply.expect_error(409, "ResourceLocked");
        let text = reply.text();
        for part in ["/bucket/dir", "locked over WebDAV by ann", "nothing was changed", "strata locks break"] {
            assert!(text.contains(part), "{method} {target}: {text}");
        }
    }
    let copy = client.request("PUT", "/bucket/dir/key").header("x-amz-copy-source", "bucket/source").send().await;
    copy.expect_error(409, "ResourceLocked");
    // In a deletion of many keys, each key is refused on its own.
    let delete = "<Delete><Object><Key>dir/key</Key></Object><Object><Key>source</Key></Object></Delete>";
    let reply = client.post("/bucket?delete", delete).await.expect(200);
    let text = reply.text();
    assert!(text.contains("<Code>ResourceLocked</Code>") && text.contains("<Deleted><Key>source</Key>"), "{text}");
    assert_eq!(client.get("/bucket/dir/key").await.expect(200).text(), "before", "reading is free");
    client.put("/bucket/elsewhere", "x").await.expect(200);

    let file = door.ns.resolve(&ann, b"/bucket/dir/key").unwrap().ino;
    door.ns.unlock(&ann, file, "urn:uuid:1").unwrap();
    client.request("POST", &complete).body(completion).send().await.expect(200);
    assert_eq!(client.get("/bucket/dir/key").await.expect(200).text(), "part", "the upload waited");
    client.request("DELETE", "/bucket/dir/key").send().await.expect(204);
    door.stop().await;
}
