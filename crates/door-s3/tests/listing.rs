//! Buckets and listings: every page, every roll-up, every token.

mod common;

use common::Running;
use strata_door_s3::S3Config;
use strata_namespace::{Caller, Door, DoorNumber, NewNode, NodeKind, Op, ROOT_INO, STORE};

static MOUNT: Door = Door { settles: false, keeps_pages: true, ..Door::of_uids("mount", DoorNumber::new(2), &[]) };

#[tokio::test]
async fn buckets_are_created_listed_found_and_removed() {
    let door = Running::start().await;
    let client = door.client();
    for name in ["charlie", "alpha", "bravo"] {
        assert_eq!(client.put(&format!("/{name}"), "").await.expect(200).header("location"), format!("/{name}"));
    }
    client.put("/alpha/kept", "x").await.expect(200);
    client.put("/alpha", "").await.expect(200);
    client.delete("/alpha/kept").await.expect(204);
    let other = door.user("other", 2000);
    door.client_of(&other).put("/alpha", "").await.expect_error(409, "BucketAlreadyExists");
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

#[tokio::test]
async fn paths_longer_than_any_key_are_listed_page_by_page_up_to_sixteen_kibibytes() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    let op = Op::new(Caller::root(&MOUNT));
    let mut dir = door.ns.resolve(&op, b"bucket").unwrap().ino;
    // Escaped, every byte of a name takes three.
    let (name, escaped) = ("ü".repeat(125), "%C3%BC".repeat(125));
    let (mut path, mut expected) = (String::new(), Vec::new());
    for depth in 1..=70 {
        dir = door.ns.mkdir(&op, dir, name.as_bytes(), 0o755).unwrap().ino;
        path = format!("{path}{escaped}/");
        if depth * 251 <= 16 << 10 {
            expected.push(path.clone());
        }
        if depth == 5 {
            for name in ["one", "three", "two"] {
                let file = NewNode { kind: NodeKind::File, mode: 0o644, rdev: 0 };
                door.ns.mknod(&op, dir, name.as_bytes(), file).unwrap();
                expected.push(format!("{path}{name}"));
            }
        }
    }
    assert!(expected[4].len() > 1100 && expected.len() == 68);
    expected.sort();
    client.put("/bucket/%C3%BD", "x").await.expect(200);
    expected.push("%C3%BD".to_owned());
    for (first, next, of_page) in [
        ("list-type=2", "list-type=2&continuation-token=", "NextContinuationToken"),
        ("", "marker=", "Key"),
        ("versions", "versions&key-marker=", "NextKeyMarker"),
    ] {
        let (mut found, mut query) = (Vec::new(), first.to_owned());
        loop {
            let page = client.get(&format!("/bucket?{query}&max-keys=3&encoding-type=url")).await.expect(200);
            found.extend(page.elements("Key"));
            if page.element("IsTruncated").as_deref() != Some("true") {
                break;
            }
            query = format!("{next}{}", page.elements(of_page).last().unwrap());
        }
        // Escaped letters sort differently.
        found.sort();
        assert_eq!(found, expected, "{first}");
    }
    door.stop().await;
}

#[tokio::test]
async fn control_characters_of_keys_are_written_so_that_a_parser_reads_them_back() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for key in ["Icon%0D", "dir%0D/x", "bell%07"] {
        client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    for query in ["list-type=2", "", "versions"] {
        let page = client.get(&format!("/bucket?{query}")).await.expect(200);
        assert_eq!(page.elements("Key"), ["Icon&#xD;", "bell&#x7;", "dir&#xD;/x"], "{query}");
        let rolled = client.get(&format!("/bucket?{query}&delimiter=/&prefix=d")).await.expect(200);
        assert_eq!(rolled.elements("CommonPrefixes"), ["<Prefix>dir&#xD;/</Prefix>"], "{query}");
    }
    client.post("/bucket/Icon%0D?uploads", "").await.expect(200);
    assert_eq!(client.get("/bucket?uploads").await.expect(200).elements("Key"), ["Icon&#xD;"]);
    let list = "<Delete><Object><Key>Icon&#xD;</Key></Object></Delete>";
    let deleted = client.post("/bucket?delete", list).await.expect(200);
    assert_eq!(deleted.elements("Key"), ["Icon&#xD;"]);
    assert_eq!(client.get("/bucket").await.expect(200).elements("Key"), ["bell&#x7;", "dir&#xD;/x"]);
    door.stop().await;
}

#[tokio::test]
async fn every_object_is_listed_as_its_only_version_by_every_page_length() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    for key in ["a", "a/b", "a/c", "b"] {
        client.put(&format!("/bucket/{key}"), "12").await.expect(200);
    }
    let whole = client.get("/bucket?versions").await.expect(200);
    assert_eq!(whole.elements("Key"), ["a", "a/b", "a/c", "b"]);
    assert_eq!(whole.elements("VersionId"), ["null"; 4]);
    assert_eq!((whole.elements("IsLatest"), whole.elements("Size")), (vec!["true".into(); 4], vec!["2".into(); 4]));
    assert!(whole.elements("Owner").len() == 4 && whole.elements("DeleteMarker").is_empty());
    for (query, expected) in
        [("", &["a", "a/b", "a/c", "b"][..]), ("&delimiter=/", &["a", "a/", "b"]), ("&prefix=a/", &["a/b", "a/c"])]
    {
        for len in 1..=4 {
            let (mut found, mut marker) = (Vec::new(), String::new());
            loop {
                let page = client.get(&format!("/bucket?versions&max-keys={len}{query}{marker}")).await.expect(200);
                found.extend(page.elements("Key"));
                let prefixes = page.elements("CommonPrefixes");
                found.extend(prefixes.iter().map(|text| text.replace("<Prefix>", "").replace("</Prefix>", "")));
                let Some(next) = page.element("NextKeyMarker") else {
                    assert_eq!(page.element("IsTruncated").as_deref(), Some("false"));
                    break;
                };
                let version = page.element("NextVersionIdMarker");
                assert_eq!(version.is_some(), !next.ends_with('/'), "{next}");
                marker = format!("&key-marker={next}&version-id-marker={}", version.unwrap_or_default());
            }
            found.sort();
            assert_eq!(found, expected, "{query} by {len}");
        }
    }
    let encoded = client.get("/bucket?versions&encoding-type=url&prefix=a/").await.expect(200);
    assert_eq!(encoded.element("EncodingType").as_deref(), Some("url"));
    let none = client.get("/bucket?versions&max-keys=0").await.expect(200);
    assert_eq!((none.elements("Key").len(), none.element("IsTruncated").as_deref()), (0, Some("false")));
    client.get("/bucket?versions&version-id-marker=null").await.expect_error(400, "InvalidArgument");
    client.get("/bucket?versions&key-marker=a&version-id-marker=x").await.expect_error(400, "InvalidArgument");
    client.get("/absent?versions").await.expect_error(404, "NoSuchBucket");
    // Listed versions can be read and removed.
    assert_eq!(client.get("/bucket/a?versionId=null").await.expect(200).text(), "12");
    let list = "<Delete><Object><Key>a/b</Key><VersionId>null</VersionId></Object></Delete>";
    client.post("/bucket?delete", list).await.expect(200);
    client.delete("/bucket/a?versionId=null").await.expect(204);
    assert_eq!(client.get("/bucket?versions").await.expect(200).elements("Key"), ["a/c", "b"]);
    door.stop().await;
}

#[tokio::test]
async fn settings_that_were_never_set_read_as_they_do_at_s3() {
    let door = Running::start().await;
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/k", "x").await.expect(200);
    for (query, code) in [
        ("cors", "NoSuchCORSConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("metadataTable", "MetadataConfigurationNotFound"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("policy", "NoSuchBucketPolicy"),
        ("policyStatus", "NoSuchBucketPolicy"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("tagging", "NoSuchTagSet"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("analytics&id=a", "NoSuchConfiguration"),
        ("intelligent-tiering&id=a", "NoSuchConfiguration"),
        ("inventory&id=a", "NoSuchConfiguration"),
        ("metrics&id=a", "NoSuchConfiguration"),
    ] {
        client.get(&format!("/bucket?{query}")).await.expect_error(404, code);
        client.get(&format!("/absent?{query}")).await.expect_error(404, "NoSuchBucket");
    }
    for (query, root) in [
        ("accelerate", "AccelerateConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("notification", "NotificationConfiguration"),
        ("ownershipControls", "OwnershipControls"),
        ("requestPayment", "RequestPaymentConfiguration"),
        ("versioning", "VersioningConfiguration"),
        ("analytics", "ListBucketAnalyticsConfigurationResult"),
        ("intelligent-tiering", "ListBucketIntelligentTieringConfigurationsOutput"),
        ("inventory", "ListInventoryConfigurationsResult"),
        ("metrics", "ListMetricsConfigurationsResult"),
    ] {
        let text = client.get(&format!("/bucket?{query}")).await.expect(200).text();
        assert!(text.contains(&format!("<{root}")), "{query}: {text}");
        client.get(&format!("/absent?{query}")).await.expect_error(404, "NoSuchBucket");
    }
    let payer = client.get("/bucket?requestPayment").await.element("Payer");
    let owner = client.get("/bucket?ownershipControls").await.element("ObjectOwnership");
    assert_eq!((payer.as_deref(), owner.as_deref()), (Some("BucketOwner"), Some("BucketOwnerEnforced")));
    for query in ["retention", "legal-hold"] {
        client.get(&format!("/bucket/k?{query}")).await.expect_error(400, "InvalidRequest");
        client.get(&format!("/bucket/absent?{query}")).await.expect_error(404, "NoSuchKey");
    }
    door.stop().await;
}

#[tokio::test]
async fn a_bucket_created_again_is_refused_outside_of_the_first_region() {
    let door = Running::with(S3Config { region: "eu-1".to_owned(), ..S3Config::default() }).await;
    let mut client = door.client();
    client.signer.region = "eu-1".to_owned();
    client.put("/alpha", "").await.expect(200);
    client.put("/alpha", "").await.expect_error(409, "BucketAlreadyOwnedByYou");
    door.stop().await;
}

#[tokio::test]
async fn folders_of_any_name_are_buckets_by_an_alias_and_the_answers_stay_well_formed() {
    let door = Running::start().await;
    let client = door.client();
    let op = Op::new(Caller::root(&MOUNT));
    let names = [&b"My Files"[..], b"a\nb<&>\x01", b"\xff\xfe", b"photos", b"PHOTOS", b"x--strata", b".Trash-1000"];
    for name in names {
        door.ns.mkdir(&op, ROOT_INO, name, 0o755).unwrap();
    }
    let listed = client.get("/").await.expect(200).elements("Name");
    assert_eq!(listed.len(), names.len());
    assert!(listed.is_sorted() && listed.contains(&"photos".to_owned()), "{listed:?}");
    assert_eq!(listed.iter().filter(|name| name.ends_with("--strata")).count(), names.len() - 1, "{listed:?}");
    for name in &listed {
        client.put(&format!("/{name}/dir/key"), name.clone()).await.expect(200);
        assert_eq!(client.get(&format!("/{name}/dir/key")).await.expect(200).text(), *name);
        assert_eq!(client.get(&format!("/{name}?list-type=2")).await.expect(200).element("Name").unwrap(), *name);
    }
    // The buckets have no other names, and nobody makes one that looks like an alias.
    client.get("/My%20Files/dir/key").await.expect_error(400, "InvalidBucketName");
    client.get("/my-files-1--strata/dir/key").await.expect_error(404, "NoSuchBucket");
    client.put("/new--strata", "").await.expect_error(400, "InvalidBucketName");
    client.put("/New", "").await.expect_error(400, "InvalidBucketName");
    let alias = listed.iter().find(|name| name.starts_with("my-files-")).unwrap();
    client.delete(&format!("/{alias}")).await.expect_error(409, "BucketNotEmpty");
    client.delete(&format!("/{alias}/dir/key")).await.expect(204);
    client.delete(&format!("/{alias}")).await.expect(204);
    assert!(door.ns.resolve(&op, b"My Files").is_err());
    door.stop().await;
}

#[tokio::test]
async fn files_at_the_top_are_a_bucket_of_keys_without_slashes() {
    let door = Running::start().await;
    let client = door.client();
    assert!(client.get("/").await.expect(200).elements("Name").is_empty(), "not listed while there is nothing in it");
    client.head("/top").await.expect(200);
    // The bucket belongs to the owner of the root directory.
    client.put("/top", "").await.expect_error(409, "BucketAlreadyExists");
    let other = door.user("other", 2000);
    door.client_of(&other).put("/top", "").await.expect_error(409, "BucketAlreadyExists");
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/inner", "x").await.expect(200);
    client.put("/top/desktop.ini", "[x]").await.expect(200);
    assert_eq!(client.get("/").await.expect(200).elements("Name"), ["bucket", "top"]);
    for query in ["list-type=2", "list-type=2&delimiter=/", "", "delimiter=/&prefix=d"] {
        let page = client.get(&format!("/top?{query}")).await.expect(200);
        assert_eq!((page.elements("Key"), page.elements("Prefix").len() < 2), (vec!["desktop.ini".to_owned()], true));
    }
    assert_eq!(client.get("/top/desktop.ini").await.expect(200).text(), "[x]");
    let copied = client.request("PUT", "/bucket/copy").header("x-amz-copy-source", "/top/desktop.ini").send().await;
    copied.expect(200);
    client.get("/top/bucket/inner").await.expect_error(404, "NoSuchKey");
    let refused = client.put("/top/bucket/new", "x").await.expect_error(400, "InvalidArgument");
    assert!(refused.element("Message").unwrap().contains("have no `/`"), "{}", refused.text());
    client.put("/top/folder/", "").await.expect_error(400, "InvalidArgument");
    client.post("/top/a/b?uploads", "").await.expect_error(400, "InvalidArgument");
    client.delete("/top/bucket/inner").await.expect_error(400, "InvalidArgument");
    client.delete("/top").await.expect_error(403, "AccessDenied");
    client.delete("/top/desktop.ini").await.expect(204);
    assert_eq!(client.get("/bucket/inner").await.expect(200).text(), "x");
    // Users who may make buckets may make files there, and nobody else.
    door.client_of(&other).put("/top/theirs", "x").await.expect_error(403, "AccessDenied");
    door.users.set_may_make_buckets(&Op::new(Caller::root(&STORE)), "other", true).unwrap();
    door.client_of(&other).put("/top/theirs", "x").await.expect(200);
    door.client_of(&other).delete("/top/theirs").await.expect(204);
    door.stop().await;
}
