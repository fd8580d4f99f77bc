//! Multipart uploads from begin to end, and every way they are refused.

mod common;

use common::{Client, Running, md5_hex, noise};

const MIB: usize = 1 << 20;

async fn begin(client: &Client, key: &str) -> String {
    client
        .request("POST", &format!("/bucket/{key}?uploads"))
        .header("x-amz-meta-a", "1")
        .header("content-type", "text/m")
        .send()
        .await
        .expect(200)
        .element("UploadId")
        .expect("an upload has an id")
}

fn list(parts: &[(usize, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[tokio::test]
async fn parts_become_one_object_and_can_be_read_by_number() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/source", "0123456789").await.expect(200);
    let upload = begin(&client, "k").await;
    let (one, two) = (noise(5 * MIB, 1), noise(5 * MIB + 1, 2));
    // Out of order, and one of them twice: the later one counts.
    let target = |number: usize| format!("/bucket/k?partNumber={number}&uploadId={upload}");
    let etag2 = client.put(&target(2), two.clone()).await.expect(200).header("etag").to_owned();
    client.put(&target(1), "first try").await.expect(200);
    let etag1 = client.put(&target(1), one.clone()).await.expect(200).header("etag").to_owned();
    let copied = client
        .request("PUT", &target(3))
        .header("x-amz-copy-source", "/bucket/source")
        .header("x-amz-copy-source-range", "bytes=2-4")
        .send()
        .await
        .expect(200);
    let etag3 = copied.element("ETag").unwrap();
    assert_eq!(etag3.replace("&quot;", "\""), format!("\"{}\"", md5_hex(b"234")));
    let parts = client.get(&format!("/bucket/k?uploadId={upload}&max-parts=2")).await.expect(200);
    assert_eq!(
        (
            parts.elements("PartNumber"),
            parts.element("IsTruncated").as_deref(),
            parts.element("NextPartNumberMarker").as_deref()
        ),
        (vec!["1".into(), "2".into()], Some("true"), Some("2"))
    );
    assert_eq!(client.get("/bucket?uploads").await.expect(200).elements("UploadId"), std::slice::from_ref(&upload));
    client.head("/bucket/k").await.expect(404);
    let body = list(&[(1, &etag1), (2, &etag2), (3, &etag3)]);
    let done = client.post(&format!("/bucket/k?uploadId={upload}"), body.clone()).await.expect(200);
    let whole = [one.as_slice(), &two, b"234"].concat();
    let md5s: Vec<u8> = [&one[..], &two, b"234"].iter().flat_map(|part| hex::decode(md5_hex(part)).unwrap()).collect();
    assert_eq!(done.element("ETag").unwrap().replace("&quot;", "\""), format!("\"{}-3\"", md5_hex(&md5s)));
    let got = client.get("/bucket/k").await.expect(200);
    assert!(got.body == whole && got.header("x-amz-meta-a") == "1" && got.header("content-type") == "text/m");
    assert!(got.header("x-amz-checksum-algorithm").is_empty());
    let part = client.get("/bucket/k?partNumber=2").await.expect(206);
    assert!(part.body == two && part.header("x-amz-mp-parts-count") == "3");
    client.get("/bucket/k?partNumber=4").await.expect_error(416, "InvalidPartNumber");
    // The answer may have got lost: asking again gives the same.
    client.post(&format!("/bucket/k?uploadId={upload}"), body).await.expect(200);
    assert!(client.get("/bucket?uploads").await.elements("UploadId").is_empty());
    door.stop().await;
}

#[tokio::test]
async fn lists_of_parts_that_do_not_fit_are_refused_and_the_upload_stays() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let upload = begin(&client, "k").await;
    let mut etags = Vec::new();
    for number in 1..=2 {
        etags.push(
            client
                .put(&format!("/bucket/k?partNumber={number}&uploadId={upload}"), "small")
                .await
                .expect(200)
                .header("etag")
                .to_owned(),
        );
    }
    let complete = async |body: String| client.post(&format!("/bucket/k?uploadId={upload}"), body).await;
    complete(list(&[(1, &etags[0]), (2, &etags[1])])).await.expect_error(400, "EntityTooSmall");
    complete(list(&[(2, &etags[1]), (1, &etags[0])])).await.expect_error(400, "InvalidPartOrder");
    complete(list(&[(1, "\"00000000000000000000000000000000\"")])).await.expect_error(400, "InvalidPart");
    complete(list(&[(3, &etags[0])])).await.expect_error(400, "InvalidPart");
    complete(list(&[])).await.expect_error(400, "MalformedXML");
    for number in [0, 10_001] {
        client
            .put(&format!("/bucket/k?partNumber={number}&uploadId={upload}"), "x")
            .await
            .expect_error(400, "InvalidArgument");
    }
    client.put("/bucket/k?partNumber=1&uploadId=0000000000000000", "x").await.expect_error(404, "NoSuchUpload");
    client.put(&format!("/bucket/other?partNumber=1&uploadId={upload}"), "x").await.expect_error(404, "NoSuchUpload");
    complete(list(&[(1, &etags[0])])).await.expect(200);
    let upload = begin(&client, "k2").await;
    client.delete(&format!("/bucket/k2?uploadId={upload}")).await.expect(204);
    client.delete(&format!("/bucket/k2?uploadId={upload}")).await.expect_error(404, "NoSuchUpload");
    door.stop().await;
}

#[tokio::test]
async fn a_completion_obeys_conditions_and_checks_size_and_checksums() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", "there").await.expect(200);
    let begin = client
        .request("POST", "/bucket/k?uploads")
        .header("x-amz-checksum-algorithm", "CRC32C")
        .header("x-amz-checksum-type", "FULL_OBJECT")
        .send()
        .await
        .expect(200);
    let upload = begin.element("UploadId").unwrap();
    // CRC-32C of "123456789", from the catalogue.
    let put = client
        .request("PUT", &format!("/bucket/k?partNumber=1&uploadId={upload}"))
        .header("x-amz-checksum-crc32c", "4waSgw==")
        .body("123456789")
        .send()
        .await
        .expect(200);
    let etag = put.header("etag").to_owned();
    let complete = || client.request("POST", &format!("/bucket/k?uploadId={upload}")).body(list(&[(1, &etag)]));
    complete().header("if-none-match", "*").send().await.expect_error(412, "PreconditionFailed");
    complete().header("x-amz-mp-object-size", "8").send().await.expect_error(400, "InvalidRequest");
    complete().header("x-amz-checksum-crc32c", "AAAAAA==").send().await.expect_error(400, "BadDigest");
    let wrong = list(&[(1, &etag)]).replace("</Part>", "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C></Part>");
    complete().body(wrong).send().await.expect_error(400, "InvalidPart");
    let done = complete()
        .header("x-amz-mp-object-size", "9")
        .header("x-amz-checksum-crc32c", "4waSgw==")
        .send()
        .await
        .expect(200);
    assert_eq!(
        (done.element("ChecksumCRC32C").as_deref(), done.element("ChecksumType").as_deref()),
        (Some("4waSgw=="), Some("FULL_OBJECT"))
    );
    door.stop().await;
}

#[tokio::test]
async fn uploads_are_listed_by_key_in_pages_and_rolled_up() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for key in ["a", "a", "b/1", "b/2", "c"] {
        begin(&client, key).await;
    }
    let (mut found, mut marker) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/bucket?uploads&max-uploads=2{marker}")).await.expect(200);
        found.extend(page.elements("Key"));
        if page.element("IsTruncated").as_deref() != Some("true") {
            break;
        }
        marker = format!(
            "&key-marker={}&upload-id-marker={}",
            page.element("NextKeyMarker").unwrap(),
            page.element("NextUploadIdMarker").unwrap()
        );
    }
    assert_eq!(found, ["a", "a", "b/1", "b/2", "c"]);
    let rolled = client.get("/bucket?uploads&delimiter=/").await.expect(200);
    assert_eq!(
        (rolled.elements("Key"), rolled.elements("CommonPrefixes").len()),
        (vec!["a".into(), "a".into(), "c".into()], 1)
    );
    let page = client.get("/bucket?uploads&delimiter=/&max-uploads=3").await.expect(200);
    let rest = client
        .get(&format!("/bucket?uploads&delimiter=/&key-marker={}", page.element("NextKeyMarker").unwrap()))
        .await
        .expect(200);
    assert_eq!((rest.elements("Key"), rest.elements("CommonPrefixes").len()), (vec!["c".into()], 0));
    door.stop().await;
}
