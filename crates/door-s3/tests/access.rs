//! Who gets in, and to what: signatures over the wire, other users' buckets, presigned requests, forms.

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Client, POLICY, Payload, Reply, Running, form, noise, send};
use strata_door_s3::S3Config;
use strata_namespace::{Caller, Op, ROOT_INO, STORE, SetAttr};

#[tokio::test]
async fn nobody_gets_in_without_a_right_signature() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", "data").await.expect(200);
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/bucket"),
        ("GET", "/bucket/k"),
        ("PUT", "/bucket/k"),
        ("DELETE", "/bucket/k"),
        ("POST", "/bucket?delete"),
        ("OPTIONS", "/bucket/k"),
    ] {
        client.request(method, target).send_unsigned().await.expect_error(403, "AccessDenied");
    }
    let mut wrong = door.client();
    wrong.signer.secret_key.push('x');
    wrong.get("/bucket/k").await.expect_error(403, "SignatureDoesNotMatch");
    let mut unknown = door.client();
    unknown.signer.access_key = "NOBODY".to_owned();
    unknown.get("/bucket/k").await.expect_error(403, "InvalidAccessKeyId");
    let mut late = door.client();
    late.signer.skew_secs = -1000;
    late.get("/bucket/k").await.expect_error(403, "RequestTimeTooSkewed");
    let mut elsewhere = door.client();
    elsewhere.signer.region = "eu-west-1".to_owned();
    let reply = elsewhere.get("/bucket/k").await.expect_error(400, "AuthorizationHeaderMalformed");
    assert_eq!(reply.element("Region").as_deref(), Some("us-east-1"));
    assert_eq!(client.get("/bucket/k").await.text(), "data");
    door.stop().await;
}

#[tokio::test]
async fn a_user_who_is_no_administrator_cannot_touch_what_belongs_to_others() {
    let door = Running::start().await;
    let (ada, eve) = (door.user("ada", 2001), door.user("eve", 2002));
    door.client().put("/bucket", "").await.expect(200);
    door.client().put("/bucket/k", "data").await.expect(200);
    let ada = door.client_of(&ada);
    // That a bucket exists is no secret, but its content is.
    assert!(ada.get("/").await.expect(200).text().contains("<Name>bucket</Name>"));
    ada.request("HEAD", "/bucket").send().await.expect(200);
    ada.get("/bucket").await.expect_error(403, "AccessDenied");
    // The root and the bucket belong to the administrator.
    ada.put("/ada-bucket", "").await.expect_error(403, "AccessDenied");
    ada.put("/bucket/mine", "x").await.expect_error(403, "AccessDenied");
    ada.put("/bucket/k", "x").await.expect_error(403, "AccessDenied");
    ada.delete("/bucket/k").await.expect_error(403, "AccessDenied");
    ada.delete("/bucket").await.expect(403);
    ada.post("/bucket/mine?uploads", "").await.expect_error(403, "AccessDenied");
    ada.request("PUT", "/bucket/copy")
        .header("x-amz-copy-source", "bucket/k")
        .send()
        .await
        .expect_error(403, "AccessDenied");
    // An upload belongs to the user who began it.
    let upload = door.client().post("/bucket/up?uploads", "").await.expect(200).element("UploadId").unwrap();
    door.client_of(&eve)
        .put(&format!("/bucket/up?partNumber=1&uploadId={upload}"), "x")
        .await
        .expect_error(403, "AccessDenied");
    assert_eq!(door.client().get("/bucket/k").await.text(), "data");
    // The same holds in another user's bucket, and the lists show it.
    door.ns.set_bucket_mode(&Op::new(Caller::root(&STORE)), "bucket", 0o666).unwrap();
    let upload = ada.post("/bucket/hers?uploads", "").await.expect(200).element("UploadId").unwrap();
    for target in ["/bucket?uploads&prefix=hers", &format!("/bucket/hers?uploadId={upload}")] {
        let listed = door.client().get(target).await.expect(200).text();
        let initiator = listed.split("<Initiator>").nth(1).and_then(|rest| rest.split("</Initiator>").next()).unwrap();
        assert!(initiator.contains("<DisplayName>ada</DisplayName>"), "{target}: {listed}");
    }
    door.stop().await;
}

#[tokio::test]
async fn what_is_put_is_its_owners_alone_and_the_mode_of_the_bucket_opens_it() {
    let door = Running::start().await;
    let (client, ada) = (door.client(), door.user("ada", 2001));
    let ada = door.client_of(&ada);
    let op = Op::new(Caller::root(&STORE));
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/dir/k", "data").await.expect(200);
    ada.get("/bucket/dir/k").await.expect_error(403, "AccessDenied");
    ada.get("/bucket").await.expect_error(403, "AccessDenied");
    door.ns.set_bucket_mode(&op, "bucket", 0o644).unwrap();
    ada.get("/bucket/dir/k").await.expect_error(403, "AccessDenied");
    client.put("/bucket/shared/k", "data").await.expect(200);
    assert_eq!(ada.get("/bucket/shared/k").await.expect(200).text(), "data");
    ada.put("/bucket/shared/k", "x").await.expect_error(403, "AccessDenied");
    // A request for a private object makes one, new or replaced, whatever the mode of the bucket.
    let private = async |method: &str, target: &str, body: &'static str| {
        client.request(method, target).header("x-amz-acl", "private").body(body).send().await.expect(200)
    };
    private("PUT", "/bucket/shared/secret", "data").await;
    private("PUT", "/bucket/shared/k", "data").await;
    client
        .request("PUT", "/bucket/shared/copy")
        .header("x-amz-copy-source", "bucket/shared/k")
        .header("x-amz-acl", "private")
        .send()
        .await
        .expect(200);
    let upload = private("POST", "/bucket/shared/parts?uploads", "").await.element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/shared/parts?partNumber=1&uploadId={upload}"), "x").await.expect(200);
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag")
    );
    client.post(&format!("/bucket/shared/parts?uploadId={upload}"), list).await.expect(200);
    for key in ["secret", "k", "copy", "parts"] {
        ada.get(&format!("/bucket/shared/{key}")).await.expect_error(403, "AccessDenied");
        client.get(&format!("/bucket/shared/{key}")).await.expect(200);
    }
    door.stop().await;
}

#[tokio::test]
async fn uid_0_alone_makes_no_administrator() {
    let door = Running::start().await;
    let (client, zero) = (door.client(), door.user("zero", 0));
    let zero = door.client_of(&zero);
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", "data").await.expect(200);
    zero.get("/bucket/k").await.expect_error(403, "AccessDenied");
    zero.delete("/bucket/k").await.expect_error(403, "AccessDenied");
    zero.put("/zero-bucket", "").await.expect_error(403, "AccessDenied");
    assert_eq!(client.get("/bucket/k").await.text(), "data");
    door.stop().await;
}

#[tokio::test]
async fn who_may_make_buckets_is_a_right_of_the_user_and_their_owner_removes_them() {
    let door = Running::start().await;
    let (ada, eve) = (door.user("ada", 2001), door.user("eve", 2002));
    let op = Op::new(Caller::root(&STORE));
    let open = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    door.ns.setattr(&op, ROOT_INO, &open).unwrap();
    let refused = door.client_of(&ada).put("/adas", "").await.expect_error(403, "AccessDenied");
    let told = refused.element("Message").unwrap();
    assert!(told.contains("--may-make-buckets") && !told.contains("inode"), "{told}");
    let ada = door.users.set_may_make_buckets(&op, "ada", true).unwrap();
    let ada = door.client_of(&ada);
    ada.put("/adas", "").await.expect(200);
    ada.put("/adas/k", "x").await.expect(200);
    ada.delete("/adas/k").await.expect(204);
    let eve = door.users.set_may_make_buckets(&op, &eve.name, true).unwrap();
    door.client_of(&eve).delete("/adas").await.expect_error(403, "AccessDenied");
    ada.delete("/adas").await.expect(204);
    door.stop().await;
}

#[tokio::test]
async fn an_expected_owner_is_held_against_the_real_one() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let with =
        |owner: &str, method: &str| client.request(method, "/bucket/k").header("x-amz-expected-bucket-owner", owner);
    with("000000001000", "PUT").body("x").send().await.expect(200);
    for method in ["PUT", "GET", "DELETE"] {
        with("111122223333", method).send().await.expect_error(403, "AccessDenied");
    }
    with("000000001000", "GET").send().await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn presigned_requests_do_what_was_signed_and_nothing_else() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let host = || vec![("host".to_owned(), door.addr.to_string())];
    let put = client.request("PUT", "/bucket/k").presigned(60);
    send(door.addr, "PUT", &put, &host(), "data".into()).await.expect(200);
    let get = client.request("GET", "/bucket/k?response-content-type=text%2Fz").presigned(60);
    let got = send(door.addr, "GET", &get, &host(), "".into()).await.expect(200);
    assert_eq!((got.text().as_str(), got.header("content-type")), ("data", "text/z"));
    send(door.addr, "DELETE", &get, &host(), "".into()).await.expect_error(403, "SignatureDoesNotMatch");
    send(door.addr, "GET", &get.replace("text%2Fz", "text%2Fhtml"), &host(), "".into())
        .await
        .expect_error(403, "SignatureDoesNotMatch");
    let with_more: Vec<_> = host().into_iter().chain([("x-amz-meta-a".to_owned(), "b".to_owned())]).collect();
    send(door.addr, "PUT", &put, &with_more, "x".into()).await.expect_error(403, "AccessDenied");
    // Headers moved into the signed query count as headers.
    let hoisted = client.request("PUT", "/bucket/m?x-amz-meta-color=blue").presigned(60);
    send(door.addr, "PUT", &hoisted, &host(), "x".into()).await.expect(200);
    assert_eq!(client.head("/bucket/m").await.header("x-amz-meta-color"), "blue");
    let public = client.request("PUT", "/bucket/m?x-amz-acl=public-read").presigned(60);
    send(door.addr, "PUT", &public, &host(), "x".into()).await.expect_error(501, "NotImplemented");
    door.stop().await;
}

#[tokio::test]
async fn chunked_bodies_are_taken_apart_and_lies_about_them_refused() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let data = noise(700_000, 11);
    let md5 = format!("\"{}\"", common::md5_hex(&data));
    for payload in [
        Payload::SignedChunks(65_536, None),
        Payload::SignedChunks(8192, None),
        Payload::UnsignedChunks(700_000, ("x-amz-meta".to_owned(), "x".to_owned())),
    ] {
        let trailer = matches!(payload, Payload::UnsignedChunks(..));
        let reply = client.request("PUT", "/bucket/k").body(data.clone()).payload(payload).send().await;
        if trailer {
            reply.expect_error(400, "InvalidRequest");
        } else {
            assert_eq!(reply.expect(200).header("etag"), md5);
        }
    }
    // Changed after signing: the chunk's signature no longer matches, and nothing is stored.
    let mut headers = vec![("host".to_owned(), door.addr.to_string())];
    let signed = client.signer.sign(
        "PUT",
        "/bucket/changed",
        &mut headers,
        &data.clone().into(),
        Payload::SignedChunks(65_536, None),
    );
    let mut changed = signed.to_vec();
    changed[200_000] ^= 1;
    send(door.addr, "PUT", "/bucket/changed", &headers, changed.into())
        .await
        .expect_error(403, "SignatureDoesNotMatch");
    // Cut at a chunk's end, with a matching Content-Length: the last chunk is missing.
    let cut = signed.windows(4).rposition(|window| window == b"\r\n0;").unwrap() + 2;
    send(door.addr, "PUT", "/bucket/changed", &headers, signed.slice(..cut)).await.expect_error(400, "IncompleteBody");
    client.get("/bucket/changed").await.expect_error(404, "NoSuchKey");
    door.stop().await;
}

/// The old signature: HMAC-SHA1 of the policy.
fn old_form(client: &Client, key: &str, file: &[u8]) -> (Vec<(String, String)>, Vec<u8>) {
    use hmac::{Hmac, KeyInit, Mac};
    let policy = BASE64.encode(
        r#"{"expiration":"2999-01-01T00:00:00Z","conditions":[{"bucket":"bucket"},["starts-with","$key","up/"]]}"#,
    );
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(client.signer.secret_key.as_bytes()).expect("any key");
    mac.update(policy.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    let access_key = client.signer.access_key.as_str();
    form(
        client,
        &[("key", key), ("AWSAccessKeyId", access_key), ("policy", &policy), ("signature", &signature)],
        "",
        file,
    )
}

#[tokio::test]
async fn forms_are_bound_by_their_signed_policy() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let post = async |fields: &[(&str, &str)], policy: &str, file: &[u8]| -> Reply {
        let (headers, body) = form(&client, fields, policy, file);
        send(door.addr, "POST", "/bucket", &headers, body.into()).await
    };
    let done = post(&[("key", "up/${filename}")], POLICY, b"data").await.expect(204);
    assert_eq!(done.header("location"), format!("http://{}/bucket/up/a.txt", door.addr));
    assert_eq!(done.header("etag"), format!("\"{}\"", common::md5_hex(b"data")));
    assert_eq!(client.get("/bucket/up/a.txt").await.text(), "data");
    post(&[("key", "elsewhere")], POLICY, b"data").await.expect_error(403, "AccessDenied");
    post(&[("key", "up/long")], POLICY, &[b'x'; 1001]).await.expect_error(400, "EntityTooLarge");
    post(&[("key", "up/short")], POLICY, b"").await.expect_error(400, "EntityTooSmall");
    post(&[("key", "up/more"), ("acl", "private")], POLICY, b"data").await.expect_error(403, "AccessDenied");
    post(&[("key", "up/old")], &POLICY.replace("2999", "2020"), b"data").await.expect_error(403, "AccessDenied");
    post(&[("key", "up/anonymous")], "", b"data").await.expect_error(403, "AccessDenied");
    post(&[("key", "up/v2"), ("AWSAccessKeyId", "x"), ("signature", "y")], "", b"data")
        .await
        .expect_error(403, "AccessDenied");
    for key in ["elsewhere", "up/long", "up/short", "up/more", "up/old", "up/anonymous", "up/v2"] {
        client.get(&format!("/bucket/{key}")).await.expect_error(404, "NoSuchKey");
    }
    let (mut headers, body) = form(&client, &[("key", "up/b")], POLICY, b"data");
    send(door.addr, "POST", "/bucket?acl", &headers, body.clone().into()).await.expect_error(400, "InvalidArgument");
    send(door.addr, "POST", "/bucket/key", &headers, body.clone().into()).await.expect_error(405, "MethodNotAllowed");
    send(door.addr, "POST", "/absent", &headers, body.clone().into()).await.expect_error(403, "AccessDenied");
    headers.push(("authorization".to_owned(), "AWS4-HMAC-SHA256 x".to_owned()));
    send(door.addr, "POST", "/bucket", &headers, body.into()).await.expect_error(400, "InvalidArgument");
    door.stop().await;
}

#[tokio::test]
async fn a_form_is_answered_as_it_asks_and_its_properties_are_kept() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let post = async |fields: &[(&str, &str)]| -> Reply {
        let more: String = fields.iter().map(|(name, _)| format!(r#"["starts-with","${name}",""],"#)).collect();
        let policy = POLICY.replace(r#""conditions":["#, &format!(r#""conditions":[{more}"#));
        let (headers, body) = form(&client, fields, &policy, b"data");
        send(door.addr, "POST", "/bucket", &headers, body.into()).await
    };
    let etag = format!("\"{}\"", common::md5_hex(b"data"));
    let created = post(&[("key", "up/<${filename}>"), ("success_action_status", "201")]).await.expect(201);
    let location = format!("http://{}/bucket/up/%3Ca.txt%3E", door.addr);
    assert_eq!(
        (created.element("Key").as_deref(), created.element("Location"), created.element("Bucket").as_deref()),
        (Some("up/&lt;a.txt&gt;"), Some(location), Some("bucket"))
    );
    assert_eq!(created.element("ETag").map(|text| text.replace("&quot;", "\"")), Some(etag.clone()));
    let redirected =
        post(&[("key", "up/r"), ("success_action_redirect", "http://example.com/done?a=b")]).await.expect(303);
    assert_eq!(
        redirected.header("location"),
        format!("http://example.com/done?a=b&bucket=bucket&key=up/r&etag=%22{}%22", etag.replace('"', ""))
    );
    post(&[("key", "up/x"), ("success_action_redirect", "nowhere")]).await.expect_error(400, "InvalidArgument");
    let fields = [
        ("key", "up/properties"),
        ("Content-Type", "text/x"),
        ("Expires", "when it pleases"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-checksum-crc32", "rfPzYw=="),
    ];
    post(&fields).await.expect(204);
    let head = client.request("HEAD", "/bucket/up/properties").header("x-amz-checksum-mode", "ENABLED").send().await;
    for (name, value) in [
        ("content-type", "text/x"),
        ("expires", "when it pleases"),
        ("x-amz-meta-color", "blue"),
        ("x-amz-checksum-crc32", "rfPzYw=="),
    ] {
        assert_eq!(head.header(name), value, "{name}");
    }
    post(&[("key", "up/bad"), ("x-amz-checksum-crc32", "AAAAAA==")]).await.expect_error(400, "BadDigest");
    post(&[("key", "up/public"), ("acl", "public-read")]).await.expect_error(501, "NotImplemented");
    door.stop().await;
}

#[tokio::test]
async fn a_form_may_carry_a_file_of_any_length_and_one_that_breaks_off_leaves_nothing() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let policy = POLICY.replace("1,1000", "0,100000000");
    for len in [0, 1, 65_000, 66_000, 3_000_000] {
        let data = noise(len, 3);
        let (headers, body) = form(&client, &[("key", &format!("up/{len}"))], &policy, &data);
        let posted = send(door.addr, "POST", "/bucket", &headers, body.into()).await.expect(204);
        assert_eq!(posted.header("etag"), format!("\"{}\"", common::md5_hex(&data)), "{len}");
        assert!(client.get(&format!("/bucket/up/{len}")).await.expect(200).body == data, "{len}");
    }
    let (headers, body) = form(&client, &[("key", "up/cut")], &policy, &noise(3_000_000, 3));
    let cut = body[..body.len() - 4].to_vec();
    send(door.addr, "POST", "/bucket", &headers, cut.into()).await.expect_error(400, "IncompleteBody");
    client.get("/bucket/up/cut").await.expect_error(404, "NoSuchKey");
    door.stop().await;
}

#[tokio::test]
async fn a_form_for_another_region_is_refused_and_one_in_the_old_signature_where_it_is_switched_off() {
    let door = Running::start().await;
    let mut client = door.client();
    client.put("/bucket", "").await.expect(200);
    let (headers, body) = old_form(&client, "up/old", b"data");
    send(door.addr, "POST", "/bucket", &headers, body.clone().into()).await.expect(204);
    assert_eq!(client.get("/bucket/up/old").await.text(), "data");
    let forged = String::from_utf8(body.clone()).unwrap().replace("\"signature\"\r\n\r\n", "\"signature\"\r\n\r\nA");
    send(door.addr, "POST", "/bucket", &headers, forged.into()).await.expect_error(403, "SignatureDoesNotMatch");
    let both = form(&client, &[("key", "up/two"), ("signature", "x"), ("AWSAccessKeyId", "y")], POLICY, b"data");
    send(door.addr, "POST", "/bucket", &both.0, both.1.into()).await.expect_error(400, "InvalidArgument");
    client.signer.region = "eu-west-1".to_owned();
    let (headers, body) = form(&client, &[("key", "up/r")], POLICY, b"data");
    send(door.addr, "POST", "/bucket", &headers, body.into()).await.expect_error(400, "AuthorizationHeaderMalformed");
    door.stop().await;
    let door = Running::with(S3Config { sigv2: false, ..S3Config::default() }).await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let (headers, body) = old_form(&client, "up/old", b"data");
    send(door.addr, "POST", "/bucket", &headers, body.into()).await.expect_error(400, "InvalidRequest");
    client.get("/bucket/up/old").await.expect_error(404, "NoSuchKey");
    door.stop().await;
}
