//! Buckets and listings: every page, every roll-up, every token.

mod common;

use common::Running;

#[tokio::test]
async fn buckets_are_created_listed_found_and_removed() {
    let door = Running::start().await;
    let client = door.client();
    for name in ["charlie", "alpha", "bravo"] {
        assert_eq!(client.put(&format!("/{name}"), "").await.expect(200).header("location"), format!("/{name}"));
    }
    client.put("/alpha", "").await.expect_error(409, "BucketAlreadyOwnedByYou");
    client.put("/Not_A_Bucket", "").await.expect_error(400, "InvalidBucketName");
    let elsewhere =
        "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    client.put("/delta", elsewhere).await.expect_error(400, "InvalidLocationConstraint");
    let list = client.get("/").await.expect(200);
    assert_eq!(list.elements("Name"), ["alpha", "bravo", "charlie"]);
    let page = client.get("/?max-buckets=2").await.expect(200);
    assert_eq!(page.elements("Name"), ["alpha", "bravo"]);
    let rest = client
        .get(&format!("/?max-buckets=2&continuation-token={}", page.element("ContinuationToken").unwrap()))
        .await
        .expect(200);
    assert_eq!((rest.elements("Name"), rest.element("ContinuationToken")), (vec!["charlie".to_owned()], None));
    assert_eq!(client.head("/alpha").await.expect(200).header("x-amz-bucket-region"), "us-east-1");
    client.get("/alpha?location").await.expect(200);
    client.put("/alpha/k", "x").await.expect(200);
    client.delete("/alpha").await.expect_error(409, "BucketNotEmpty");
    client.delete("/alpha/k").await.expect(204);
    client.delete("/alpha").await.expect(204);
    assert!(client.head("/alpha").await.expect(404).body.is_empty());
    client.get("/alpha?list-type=2").await.expect_error(404, "NoSuchBucket");
    door.stop().await;
}

#[tokio::test]
async fn every_page_length_walks_over_the_same_entries() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let keys = ["a", "a/", "a/b", "a/c/d", "a-b", "b/1", "b/2", "c", "ü"];
    for key in keys {
        client.put(&format!("/bucket/{}", key.replace('ü', "%C3%BC")), "").await.expect(200);
    }
    let mut sorted = keys;
    sorted.sort_unstable();
    let rolled = ["a", "a-b", "a/", "b/", "c", "ü"];
    for (query, expected) in [
        ("", &sorted[..]),
        ("&delimiter=/", &rolled),
        ("&prefix=a/", &["a/", "a/b", "a/c/d"]),
        ("&prefix=a/&delimiter=/", &["a/", "a/b", "a/c/"]),
        ("&prefix=zz", &[]),
    ] {
        for len in [1, 2, 3, 1000] {
            let (mut found, mut token) = (Vec::new(), String::new());
            loop {
                let page = client.get(&format!("/bucket?list-type=2&max-keys={len}{query}{token}")).await.expect(200);
                found.extend(page.elements("Key"));
                found.extend(
                    page.elements("CommonPrefixes")
                        .iter()
                        .map(|prefix| prefix.replace("<Prefix>", "").replace("</Prefix>", "")),
                );
                let count: usize = page.element("KeyCount").unwrap().parse().unwrap();
                assert!(count <= len);
                match page.element("NextContinuationToken") {
                    Some(next) => token = format!("&continuation-token={next}"),
                    None => break,
                }
                assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
            }
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "{query} by {len}");
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn markers_start_behind_a_key_and_url_encoding_carries_every_key() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for key in ["a", "b/1", "b/2", "c%01+d"] {
        client.put(&format!("/bucket/{}", key.replace('+', "%2B")), "x").await.expect(200);
    }
    assert_eq!(client.get("/bucket?marker=a&max-keys=1").await.expect(200).elements("Key"), ["b/1"]);
    assert_eq!(
        client.get("/bucket?list-type=2&start-after=b/1&encoding-type=url").await.expect(200).elements("Key"),
        ["b/2", "c%01%2Bd"]
    );
    let page = client.get("/bucket?delimiter=/&max-keys=2").await.expect(200);
    let marker = page.element("NextMarker").unwrap();
    let page = client.get(&format!("/bucket?delimiter=/&encoding-type=url&marker={marker}")).await.expect(200);
    assert_eq!((page.elements("Key"), page.elements("CommonPrefixes").len()), (vec!["c%01%2Bd".to_owned()], 0));
    let none = client.get("/bucket?list-type=2&max-keys=0").await.expect(200);
    assert_eq!(
        (none.element("KeyCount").as_deref(), none.element("IsTruncated").as_deref()),
        (Some("0"), Some("false"))
    );
    client.get("/bucket?max-keys=-1").await.expect_error(400, "InvalidArgument");
    client.get("/bucket?list-type=2&continuation-token=nonsense").await.expect_error(400, "InvalidArgument");
    client.get("/bucket?encoding-type=base64").await.expect_error(400, "InvalidArgument");
    let owners = client.get("/bucket?list-type=2&fetch-owner=true").await.expect(200);
    assert_eq!(
        (owners.elements("Owner").len(), client.get("/bucket?list-type=2").await.elements("Owner").len()),
        (4, 0)
    );
    door.stop().await;
}
