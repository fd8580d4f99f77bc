//! Which operation a request is: every operation of S3 and every query key with every method, none of which may touch anything but
//! what it names.

mod common;

use common::{Client, Reply, Running};
use http::Method;
use strata_namespace::{Caller, ListQuery, Op, STORE};

/// A line of the table of operations that the door routes by.
struct Known {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    selectors: Vec<&'static str>,
    query: Vec<&'static str>,
    headers: Vec<&'static str>,
}

fn table() -> Vec<Known> {
    let lines = include_str!("../model/operations.tsv").lines().filter(|line| !line.starts_with('#'));
    let known = lines.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let list = |column: usize| columns[column].split(' ').filter(|item| *item != "-").collect::<Vec<_>>();
        let path = match columns[2] {
            "root" => "/",
            "bucket" => "/bucket",
            "object" => "/bucket/key",
            _ => "/WriteGetObjectResponse",
        };
        Known { name: columns[0], method: columns[1], path, selectors: list(3), query: list(4), headers: list(5) }
    });
    known.collect()
}

/// Everything there is: buckets, and objects with what tells one version from another.
fn everything(door: &Running) -> Vec<String> {
    let op = Op::new(Caller::root(&STORE));
    let mut all = Vec::new();
    for bucket in door.ns.buckets(&op).expect("buckets") {
        all.push(format!("{} {}", bucket.name, bucket.uid));
        let query = ListQuery { prefix: Vec::new(), delimiter: None, after: None, limit: 1000 };
        for (key, info) in door.ns.list(&op, &bucket.name, &query).expect("a list").objects {
            let (key, meta) = (String::from_utf8_lossy(&key).into_owned(), &info.meta);
            all.push(format!(
                "{}/{key} {} {:?} {:?} {meta:?}",
                bucket.name,
                strata_etag::of(&info.tag),
                info.attr.mtime,
                info.attr.ctime
            ));
        }
    }
    all
}

async fn with_one_object(door: &Running) -> Client {
    let client = door.client();
    client.put("/bucket", "").await.expect(200);
    client.put("/empty", "").await.expect(200);
    client.put("/bucket/key", "data").await.expect(200);
    client
}

async fn ask(client: &Client, method: &str, target: &str) -> Reply {
    client.request(method, target).body(if method == "PUT" || method == "POST" { "x" } else { "" }).send().await
}

#[tokio::test]
async fn every_operation_does_what_it_says_or_nothing() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    let before = everything(&door);
    // Operations that may change something are sent with parameters that make them fail, or only open an upload.
    let changing = ["CopyObject", "CreateBucket", "DeleteBucket", "DeleteObject", "PutObject"];
    for known in table().into_iter().filter(|known| !changing.contains(&known.name)) {
        let required = known.query.iter().filter_map(|key| key.strip_suffix('!')).map(|key| format!("{key}=1"));
        let query: Vec<String> = known.selectors.iter().map(|key| (*key).to_owned()).chain(required).collect();
        for path in [known.path, "/empty"].iter().take(if known.path == "/bucket" { 2 } else { 1 }) {
            let target = format!("{path}?{}&x-id={}", query.join("&"), known.name);
            let mut call = client.request(known.method, &target);
            for header in known.headers.iter().filter_map(|header| header.strip_suffix('!')) {
                call = call.header(header, "bucket/key");
            }
            let reply = call.send().await;
            let status = reply.status.as_u16();
            assert!(status < 500 || status == 501, "{target}: {status} {}", reply.text());
            assert_eq!(everything(&door), before, "{} {target}: {status}", known.method);
            if status == 501 && known.method != "HEAD" {
                assert_eq!(reply.code(), "NotImplemented", "{target}");
            }
        }
    }
    // The same operations by their names, as the newest clients call them.
    client.put("/bucket/key?x-id=PutObject", "more").await.expect(200);
    assert_eq!(client.get("/bucket/key?x-id=GetObject").await.text(), "more");
    client.delete("/bucket/key?x-id=DeleteObject").await.expect(204);
    client.delete("/bucket?x-id=DeleteBucket").await.expect(204);
    client.put("/bucket?x-id=CreateBucket", "").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn every_query_key_with_every_method_leaves_alone_what_it_does_not_name() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    let before = everything(&door);
    let mut keys: Vec<String> = Vec::new();
    for known in table() {
        let names = known.selectors.iter().chain(&known.query);
        keys.extend(names.map(|key| key.trim_end_matches('!').split('=').next().unwrap().to_owned()));
    }
    keys.extend(["nobody-knows-this", "ACL", "append", "events", "Policy", "Action"].map(ToOwned::to_owned));
    keys.sort();
    keys.dedup();
    for key in &keys {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
            for path in ["/", "/bucket", "/empty", "/bucket/key"] {
                for value in ["", "=1"] {
                    let target = format!("{path}?{key}{value}");
                    let reply = ask(&client, method.as_str(), &target).await;
                    let status = reply.status.as_u16();
                    assert_eq!(everything(&door), before, "{method} {target}: {status}");
                    assert!(status < 500 || status == 501, "{method} {target}: {status} {}", reply.text());
                    let reads = method == Method::GET || method == Method::HEAD;
                    let begins_an_upload = (method.as_str(), path, key.as_str()) == ("POST", "/bucket/key", "uploads");
                    assert!(reads || begins_an_upload || status >= 400, "{method} {target}: {status}");
                }
            }
        }
    }
    door.stop().await;
}

#[tokio::test]
async fn what_is_unknown_is_ignored_by_reads_and_refused_by_changes() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    assert_eq!(client.get("/bucket/key?utm_source=mail").await.expect(200).text(), "data");
    client.get("/bucket?cachebuster=1").await.expect(200);
    client.put("/bucket/key?utm_source=mail", "x").await.expect_error(400, "InvalidArgument");
    client.delete("/bucket/key?utm_source=mail").await.expect_error(400, "InvalidArgument");
    client.delete("/empty?force").await.expect_error(400, "InvalidArgument");
    let refused = client.delete("/bucket/key?acl").await.expect_error(405, "MethodNotAllowed");
    assert_eq!(refused.header("allow"), "GET");
    // A name that differs in its escapes only is the same name.
    client.delete("/bucket/key?%61cl").await.expect_error(405, "MethodNotAllowed");
    client.delete("/bucket%2Fkey?acl").await.expect_error(405, "MethodNotAllowed");
    client.get("/bucket?acl&location").await.expect_error(400, "InvalidArgument");
    assert_eq!(client.get("/bucket/key").await.text(), "data");
    door.stop().await;
}

#[tokio::test]
async fn a_form_with_a_query_is_refused() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    let form = client.request("POST", "/bucket?delete").header("content-type", "multipart/form-data; boundary=x");
    form.body("--x--").send_unsigned().await.expect_error(400, "InvalidArgument");
    door.stop().await;
}

/// One request to a host that this server knows no domain for.
async fn at(client: &Client, host: &str, method: &str, target: &str, body: &'static str) -> Reply {
    client.request(method, target).header("host", host).body(body).send().await
}

#[tokio::test]
async fn a_bucket_in_the_host_is_neither_listed_as_buckets_nor_made_one() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    let before = everything(&door);
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/?list-type=2"),
        ("GET", "/?location"),
        ("PUT", "/new-key"),
        ("PUT", "/"),
        ("DELETE", "/empty"),
        ("DELETE", "/"),
        ("POST", "/?delete"),
    ] {
        for host in ["bucket.s3.example.com", "BUCKET.lan:9000"] {
            let refused = at(&client, host, method, target, "").await.expect_error(400, "InvalidRequest");
            assert!(refused.text().contains("--domain"), "{}", refused.text());
        }
    }
    assert_eq!(everything(&door), before);
    // Any other host is only an address of the server.
    for host in ["localhost", "127.0.0.1:9000", "[::1]:9000", "files.example.com", "bucket"] {
        assert_eq!(at(&client, host, "GET", "/", "").await.expect(200).elements("Name").len(), 2, "{host}");
        assert_eq!(at(&client, host, "GET", "/bucket/key", "").await.expect(200).text(), "data", "{host}");
        at(&client, host, "PUT", "/made-here", "").await.expect(200);
        at(&client, host, "DELETE", "/made-here", "").await.expect(204);
    }
    // The same with the name of a bucket in the host, where the path says which object is meant.
    let bucket = "bucket.example.com";
    assert_eq!(at(&client, bucket, "GET", "/bucket/key", "").await.expect(200).text(), "data");
    at(&client, bucket, "GET", "/bucket", "").await.expect(200);
    door.stop().await;
}

#[tokio::test]
async fn a_bucket_is_not_made_of_what_was_to_be_an_object() {
    let door = Running::start().await;
    let client = door.client();
    let refused = client.put("/photo.jpg", "not a configuration").await.expect_error(400, "MalformedXML");
    assert!(refused.text().contains("--domain"), "{}", refused.text());
    let refused = client.request("PUT", "/photo.jpg").header("x-amz-meta-a", "b").send().await;
    assert!(refused.expect_error(400, "InvalidRequest").text().contains("--domain"));
    assert!(everything(&door).is_empty());
    door.stop().await;
}

#[tokio::test]
async fn keys_to_delete_are_read_as_xml_has_them() {
    let door = Running::start().await;
    let client = with_one_object(&door).await;
    for key in ["a/b", "b", "Icon%0D", "%01", "%F0%9F%98%80", "ab"] {
        client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    let delete = |inside: &str| format!("<Delete><Object><Key>{inside}</Key></Object><Quiet>true</Quiet></Delete>");
    for (inside, gone) in [
        ("<![CDATA[a/]]>b", "a/b"),
        ("Icon&#13;", "Icon%0D"),
        ("&#x1;", "%01"),
        ("&#x1F600;", "%F0%9F%98%80"),
        ("a<!-- -->b", "ab"),
    ] {
        client.get(&format!("/bucket/{gone}")).await.expect(200);
        client.post("/bucket?delete", delete(inside)).await.expect(200);
        client.get(&format!("/bucket/{gone}")).await.expect_error(404, "NoSuchKey");
    }
    for document in ["<Delete><Object><Key>b</Key><VersionID>1</VersionID></Object></Delete>", "<Delete>b</Delete>"] {
        client.post("/bucket?delete", document).await.expect_error(400, "MalformedXML");
    }
    assert_eq!(client.get("/bucket/b").await.expect(200).text(), "x");
    door.stop().await;
}
