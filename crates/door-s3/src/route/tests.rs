//! Which operation a request is, as tables.

use super::*;

fn route(method: &str, target: &str, headers: &[(&'static str, &str)]) -> Result<(Operation, String), S3Error> {
    let uri: Uri = target.parse().unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()));
    let (operation, uri) = resolve(&method, level_of(uri.path(), false), &uri, &headers.collect())?;
    Ok((operation, uri.query().unwrap_or_default().to_owned()))
}

#[test]
fn every_operation_of_this_door_is_in_the_table() {
    for operation in OPERATIONS {
        // A form is none of the model's operations, and `Other` is none at all.
        let outside = matches!(operation, Operation::Other | Operation::PostObject);
        let known = TABLE.iter().filter(|known| known.offered == Some(*operation)).count();
        assert_eq!(known, usize::from(!outside), "{}", operation.name());
    }
    assert!(TABLE.len() > 100, "{}", TABLE.len());
}

#[test]
fn what_needs_no_look_at_the_table_is_in_it() {
    for (method, operation) in PLAIN {
        let known = TABLE.iter().find(|known| known.offered == Some(operation)).unwrap();
        assert_eq!((known.method, known.level), (method.as_str(), Some(Level::Object)));
        assert!(known.selectors.is_empty() && !known.copies());
    }
    let copy = route("PUT", "/b/k", &[(COPY_SOURCE, "/b/other")]).unwrap();
    assert_eq!(copy.0, Operation::CopyObject);
}

#[test]
fn every_operation_of_s3_is_itself_or_not_offered() {
    for known in TABLE.iter() {
        let path = match known.level {
            Some(Level::Root) => "/",
            Some(Level::Bucket) => "/bucket",
            Some(Level::Object) => "/bucket/key",
            None => continue,
        };
        let query: Vec<_> = known.selectors.iter().map(|key| format!("{key}=2")).collect();
        let source: &[(&'static str, &str)] = if known.copies() { &[(COPY_SOURCE, "b/k")] } else { &[] };
        let found = route(known.method, &format!("{path}?{}", query.join("&")), source);
        match (known.offered, found) {
            (Some(operation), Ok((found, kept))) => {
                assert_eq!((found, kept), (operation, query.join("&")), "{}", known.name);
            }
            // The request has the method and the path of ListBuckets, and goes to hosts of its own.
            (None, Ok((Operation::ListBuckets, _))) if known.name == "ListDirectoryBuckets" => {}
            // Two names of one request.
            (None, Ok((operation, _))) => assert!(operation.name().starts_with(known.name), "{}", known.name),
            (offered, Err(err)) => {
                assert_eq!((offered, err.code()), (None, &S3ErrorCode::NotImplemented), "{}", known.name);
            }
        }
    }
}

#[test]
fn what_selects_nothing_here_is_refused_and_never_falls_through() {
    for (method, target, code) in [
        ("PUT", "/b/k?annotation", "InvalidArgument NotImplemented"),
        ("PUT", "/b/k?torrent", "MethodNotAllowed"),
        ("PUT", "/b/k?restore", "MethodNotAllowed"),
        ("PUT", "/b/k?policy", "MethodNotAllowed"),
        ("PUT", "/b/k?encryption", "NotImplemented"),
        ("DELETE", "/b/k?acl", "MethodNotAllowed"),
        ("DELETE", "/b/k?%61cl", "MethodNotAllowed"),
        ("DELETE", "/b?versioning", "MethodNotAllowed"),
        ("DELETE", "/b?metadataConfiguration", "NotImplemented"),
        ("GET", "/b?abac", "NotImplemented"),
        ("HEAD", "/b/k?acl", "MethodNotAllowed"),
        ("GET", "/?acl", "MethodNotAllowed"),
        ("POST", "/b/k", "MethodNotAllowed"),
        ("POST", "/b", "MethodNotAllowed"),
        ("POST", "/", "MethodNotAllowed"),
        ("PUT", "/", "MethodNotAllowed"),
        ("PATCH", "/b/k", "MethodNotAllowed"),
        ("OPTIONS", "/b/k", "MethodNotAllowed"),
        ("GET", "/b?acl&location", "InvalidArgument"),
        ("POST", "/b/k?uploads&uploadId=1", "InvalidArgument"),
        ("PUT", "/b/k?uploadId=1", "InvalidArgument"),
        ("PUT", "/b/k?partNumber=1", "InvalidArgument"),
        ("PUT", "/b/k?versionId=null", "InvalidArgument"),
        ("PUT", "/b/k?ACL", "InvalidArgument"),
        ("PUT", "/b/k?nobody-knows-this", "InvalidArgument"),
        ("PUT", "/b/k?=1", "InvalidArgument"),
        ("DELETE", "/b/k?prefix=x", "InvalidArgument"),
        ("DELETE", "/b?prefix=x", "InvalidArgument"),
        ("DELETE", "/b/k?versionId=null&versionId=1", "InvalidArgument"),
        ("GET", "/b?list-type=2&list-type=2", "InvalidArgument"),
        ("GET", "/b?list-type=1", "InvalidArgument"),
        ("GET", "/b?max-keys=%2B1", "InvalidArgument"),
        ("DELETE", "/b/100%", "InvalidURI"),
        ("DELETE", "/b/%zz", "InvalidURI"),
        ("DELETE", "/b/%ff", "InvalidURI"),
        ("DELETE", "/b/k?versionId=%", "InvalidURI"),
        ("GET", "/b?prefix=%ff", "InvalidURI"),
    ] {
        let refused = route(method, target, &[]).expect_err(target);
        assert!(code.split(' ').any(|code| code == refused.code().as_str()), "{method} {target}: {refused:?}");
        if refused.code() == &S3ErrorCode::MethodNotAllowed {
            assert!(refused.headers().is_some_and(|headers| headers.contains_key(ALLOW)), "{method} {target}");
        }
    }
}

#[test]
fn what_does_not_matter_is_left_out() {
    for (method, target, operation, kept) in [
        ("GET", "/", Operation::ListBuckets, ""),
        ("GET", "/b?nobody-knows-this&prefix=x%20y", Operation::ListObjects, "prefix=x%20y"),
        (
            "GET",
            "/b/?list-type=2&x-id=ListObjectsV2&&fetch-owner=true",
            Operation::ListObjectsV2,
            "list-type=2&fetch-owner=true",
        ),
        ("GET", "/b%2Fk?partNumber=2&foo", Operation::GetObject, "partNumber=2"),
        ("HEAD", "/b/k?versionId=null&prefix=x", Operation::HeadObject, "versionId=null"),
        ("PUT", "/b/k?x-id=PutObject&X-Trace=1", Operation::PutObject, ""),
        ("PUT", "/b/k?x-id=UploadPart&partNumber=1&uploadId=u", Operation::UploadPart, "partNumber=1&uploadId=u"),
        ("DELETE", "/b/k?x-id=DeleteObject", Operation::DeleteObject, ""),
        ("DELETE", "/b/k?uploadId=u", Operation::AbortMultipartUpload, "uploadId=u"),
        ("POST", "/b?delete=", Operation::DeleteObjects, "delete="),
        ("PUT", "/b", Operation::CreateBucket, ""),
    ] {
        assert_eq!(route(method, target, &[]).unwrap(), (operation, kept.to_owned()), "{method} {target}");
    }
    let copy = route("PUT", "/b/k", &[(COPY_SOURCE, "a/b")]).unwrap();
    assert_eq!(copy.0, Operation::CopyObject);
    let part = route("PUT", "/b/k?partNumber=1&uploadId=u", &[(COPY_SOURCE, "a/b")]).unwrap();
    assert_eq!(part.0, Operation::UploadPartCopy);
}

#[test]
fn a_path_is_decoded_before_it_is_taken_apart() {
    for (path, level) in [
        ("/", Level::Root),
        ("/b", Level::Bucket),
        ("/b/", Level::Bucket),
        ("/b/k", Level::Object),
        ("/b//", Level::Object),
        ("/b%2Fk", Level::Object),
        ("/b%2F", Level::Bucket),
        ("//k", Level::Object),
    ] {
        assert_eq!(level_of(path, false), level, "{path}");
    }
    assert_eq!((level_of("/", true), level_of("/k", true)), (Level::Bucket, Level::Object));
}
