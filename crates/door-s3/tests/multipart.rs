//! Multipart uploads from begin to end, and every way they are refused.

mod common;

use common::{Client, Payload, Running, md5_hex, noise};

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
    let none = client.get(&format!("/bucket/k?uploadId={upload}&max-parts=0")).await.expect(200);
    assert_eq!(
        (none.element("IsTruncated").as_deref(), none.element("NextPartNumberMarker"), none.elements("Part").len()),
        (Some("false"), None, 0)
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
    // A copy has the parts that its ETag counts.
    client.request("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/k").send().await.expect(200);
    let part = client.get("/bucket/copy?partNumber=2").await.expect(206);
    assert!(part.body == two && part.header("x-amz-mp-parts-count") == "3");
    let none = client
        .request("GET", "/bucket/k?attributes")
        .header("x-amz-object-attributes", "ObjectParts")
        .header("x-amz-max-parts", "0")
        .send()
        .await
        .expect(200);
    assert_eq!(none.element("IsTruncated").as_deref(), Some("false"));
    // The answer may have got lost: the same request again gives the same answer.
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

#[tokio::test]
async fn completions_repeated_at_once_all_answer_the_same_object() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for round in 0..10 {
        let key = format!("k{round}");
        let upload = begin(&client, &key).await;
        let target = format!("/bucket/{key}?uploadId={upload}");
        let put = client.put(&format!("{target}&partNumber=1"), "a part").await.expect(200);
        let body = list(&[(1, put.header("etag"))]);
        let many = (0..12).map(|_| {
            let (client, target, body) = (client.clone(), target.clone(), body.clone());
            tokio::spawn(async move { client.post(&target, body).await })
        });
        for reply in futures_util::future::join_all(many).await {
            let reply = reply.unwrap().expect(200);
            assert_eq!(reply.element("ETag").map(|etag| etag.contains("-1")), Some(true));
        }
    }
    door.stop().await;
}

/// CRC-32C of "123456789" and of it twice, CRC-64/NVME of it, from the catalogue and from `crc-fast`.
const DIGITS_CRC32C: &str = "4waSgw==";

fn crc64(data: &[u8]) -> String {
    use base64::Engine;
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, data);
    base64::engine::general_purpose::STANDARD.encode(sum.to_be_bytes())
}

#[tokio::test]
async fn checksums_of_uploads_are_kept_and_told_again_also_by_a_second_completion() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/source", "123456789").await.expect(200);
    let (one, two) = (noise(5 * MIB, 1), "123456789");
    let whole = [&one[..], two.as_bytes()].concat();
    // The algorithm an upload is begun with, whether it sums up the whole, and what its parts are sent with.
    for (key, algorithm, kind, element, header) in [
        ("plain", None, "FULL_OBJECT", "ChecksumCRC64NVME", "x-amz-checksum-crc64nvme"),
        ("crc64", Some("CRC64NVME"), "FULL_OBJECT", "ChecksumCRC64NVME", "x-amz-checksum-crc64nvme"),
        ("crc32c", Some("CRC32C"), "FULL_OBJECT", "ChecksumCRC32C", "x-amz-checksum-crc32c"),
        ("sha256", Some("SHA256"), "COMPOSITE", "ChecksumSHA256", "x-amz-checksum-sha256"),
    ] {
        let mut call = client.request("POST", &format!("/bucket/{key}?uploads"));
        if let Some(algorithm) = algorithm {
            call = call.header("x-amz-checksum-algorithm", algorithm).header("x-amz-checksum-type", kind);
        }
        let upload = call.send().await.expect(200).element("UploadId").unwrap();
        let target = format!("/bucket/{key}?uploadId={upload}");
        // Neither part carries a checksum; one is sent and one copied.
        let etag1 = client.put(&format!("{target}&partNumber=1"), one.clone()).await.expect(200);
        assert_eq!(etag1.headers.contains_key(header), algorithm.is_some(), "{key}");
        let etag2 = client
            .request("PUT", &format!("{target}&partNumber=2"))
            .header("x-amz-copy-source", "/bucket/source")
            .send()
            .await
            .expect(200);
        assert_eq!(etag2.element(element).is_some(), algorithm.is_some(), "{key}");
        let body = list(&[(1, etag1.header("etag")), (2, &etag2.element("ETag").unwrap())]);
        let other = if kind == "COMPOSITE" { "FULL_OBJECT" } else { "COMPOSITE" };
        client
            .request("POST", &target)
            .header("x-amz-checksum-type", other)
            .body(body.clone())
            .send()
            .await
            .expect_error(400, "InvalidRequest");
        let done = client
            .request("POST", &target)
            .header("x-amz-checksum-type", kind)
            .body(body.clone())
            .send()
            .await
            .expect(200);
        let value = done.element(element).expect(key);
        assert_eq!((done.element("ChecksumType").as_deref(), value.ends_with("-2")), (Some(kind), kind == "COMPOSITE"));
        if header.ends_with("crc64nvme") {
            assert_eq!(value, crc64(&whole));
        }
        let again = client.post(&target, body).await.expect(200);
        assert_eq!(
            (again.element(element), again.element("ChecksumType").as_deref()),
            (Some(value.clone()), Some(kind))
        );
        let head =
            client.request("HEAD", &format!("/bucket/{key}")).header("x-amz-checksum-mode", "ENABLED").send().await;
        assert_eq!((head.header(header), head.header("x-amz-checksum-type")), (value.as_str(), kind));
        let attributes = client
            .request("GET", &format!("/bucket/{key}?attributes"))
            .header("x-amz-object-attributes", "Checksum")
            .send()
            .await
            .expect(200);
        assert_eq!(attributes.element(element), Some(value.clone()));
        // A copy has the same content, and so the same checksum.
        let copy = client.request("PUT", "/bucket/copy").header("x-amz-copy-source", &format!("/bucket/{key}"));
        assert_eq!(copy.send().await.expect(200).element(element), Some(value));
    }
    door.stop().await;
}

#[tokio::test]
async fn lists_of_uploads_and_parts_tell_their_checksums() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/source", "123456789").await.expect(200);
    let begin = client.request("POST", "/bucket/k?uploads").header("x-amz-checksum-algorithm", "CRC32C");
    let upload = begin.send().await.expect(200).element("UploadId").unwrap();
    let target = format!("/bucket/k?uploadId={upload}");
    let part = |number: u8| client.request("PUT", &format!("{target}&partNumber={number}")).body("123456789");
    let trailer = ("x-amz-checksum-crc32c".to_owned(), DIGITS_CRC32C.to_owned());
    for (number, put) in [
        (1, part(1).header("x-amz-checksum-crc32c", DIGITS_CRC32C)),
        (2, part(2).payload(Payload::UnsignedChunks(4, trailer))),
        (3, part(3)),
    ] {
        assert_eq!(put.send().await.expect(200).header("x-amz-checksum-crc32c"), DIGITS_CRC32C, "{number}");
    }
    part(4).body("").header("x-amz-copy-source", "bucket/source").send().await.expect(200);
    let parts = client.get(&target).await.expect(200);
    assert_eq!(parts.elements("ChecksumCRC32C"), [DIGITS_CRC32C; 4]);
    let uploads = client.get("/bucket?uploads").await.expect(200);
    for list in [parts, uploads] {
        assert_eq!(
            (list.elements("ChecksumAlgorithm"), list.elements("ChecksumType")),
            (vec!["CRC32C".to_owned()], vec!["COMPOSITE".to_owned()])
        );
    }
    door.stop().await;
}

#[tokio::test]
async fn a_whole_checksum_is_compared_although_no_part_carried_one() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let begin = client
        .request("POST", "/bucket/k?uploads")
        .header("x-amz-checksum-algorithm", "CRC32C")
        .header("x-amz-checksum-type", "FULL_OBJECT")
        .send()
        .await
        .expect(200);
    let target = format!("/bucket/k?uploadId={}", begin.element("UploadId").unwrap());
    let etag = client.put(&format!("{target}&partNumber=1"), "123456789").await.expect(200);
    let complete = |value: &str| {
        client
            .request("POST", &target)
            .body(list(&[(1, etag.header("etag"))]))
            .header("x-amz-checksum-crc32c", value)
            .send()
    };
    complete("AAAAAA==").await.expect_error(400, "BadDigest");
    assert_eq!(complete(DIGITS_CRC32C).await.expect(200).element("ChecksumCRC32C").as_deref(), Some(DIGITS_CRC32C));
    door.stop().await;
}

#[tokio::test]
async fn parts_and_completions_of_another_algorithm_than_the_upload_began_with_are_refused() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let begin = client
        .request("POST", "/bucket/k?uploads")
        .header("x-amz-checksum-algorithm", "CRC32")
        .send()
        .await
        .expect(200);
    let target = format!("/bucket/k?uploadId={}", begin.element("UploadId").unwrap());
    client
        .request("PUT", &format!("{target}&partNumber=1"))
        .header("x-amz-checksum-crc32c", DIGITS_CRC32C)
        .body("123456789")
        .send()
        .await
        .expect_error(400, "InvalidRequest");
    let etag = client.put(&format!("{target}&partNumber=1"), "123456789").await.expect(200);
    let etag = etag.header("etag");
    client
        .request("POST", &target)
        .header("x-amz-checksum-crc32c", DIGITS_CRC32C)
        .body(list(&[(1, etag)]))
        .send()
        .await
        .expect_error(400, "InvalidRequest");
    client.post(&target, list(&[(1, etag)])).await.expect(200);
    door.stop().await;
}
