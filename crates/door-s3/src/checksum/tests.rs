//! Checksums against published values, and the promises that are refused.

use super::*;

fn digest(algorithm: Algorithm, data: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    BASE64.encode(hasher.finish())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
    map
}

#[test]
fn the_five_algorithms_give_their_check_values() {
    // The check values of the CRC catalogue for "123456789"; SHA values from the standard.
    for (algorithm, hex) in [
        (Algorithm::Crc32, "cbf43926"),
        (Algorithm::Crc32c, "e3069283"),
        (Algorithm::Crc64Nvme, "ae8b14860a799888"),
        (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ] {
        assert_eq!(digest(algorithm, b"123456789"), BASE64.encode(hex::decode(hex).unwrap()), "{algorithm:?}");
    }
}

#[test]
fn checksums_of_parts_combine_to_that_of_the_whole() {
    let (a, b, c) = (vec![1u8; 5000], vec![2u8; 777], vec![3u8; 1]);
    for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
        let parts: Vec<_> = [&a, &b, &c].map(|part| (digest(algorithm, part), part.len() as u64)).into();
        assert_eq!(combine(algorithm, &parts), Some(digest(algorithm, &[a.clone(), b.clone(), c.clone()].concat())));
    }
    assert_eq!(combine(Algorithm::Sha1, &[(digest(Algorithm::Sha1, &a), 5000)]), None);
    let composite = composite(Algorithm::Sha256, &[(digest(Algorithm::Sha256, &a), 5000)]).unwrap();
    assert!(composite.ends_with("-1"));
}

#[test]
fn a_checksum_in_a_header_is_held_against_the_body() {
    let good = digest(Algorithm::Crc32c, b"data");
    let promise = Promise::of_headers(&headers(&[("x-amz-checksum-crc32c", &good)])).unwrap();
    let kept = promise.verify(Some(&BASE64.decode(&good).unwrap()), &[]).unwrap();
    assert_eq!(kept, BTreeMap::from([("crc32c".to_owned(), good)]));
    assert_eq!(promise.verify(Some(&[0; 4]), &[]).unwrap_err().code(), &S3ErrorCode::BadDigest);
}

#[test]
fn a_checksum_announced_for_the_trailer_must_be_there_and_right() {
    let promise = Promise::of_headers(&headers(&[("x-amz-trailer", "x-amz-checksum-sha1")])).unwrap();
    let sha1 = BASE64.decode(digest(Algorithm::Sha1, b"data")).unwrap();
    let trailer = |value: &str| vec![("x-amz-checksum-sha1".to_owned(), value.to_owned())];
    assert!(promise.verify(Some(&sha1), &trailer(&BASE64.encode(&sha1))).is_ok());
    assert_eq!(promise.verify(Some(&sha1), &trailer("AAAA")).unwrap_err().code(), &S3ErrorCode::BadDigest);
    assert_eq!(promise.verify(Some(&sha1), &[]).unwrap_err().code(), &S3ErrorCode::InvalidRequest);
    let unannounced = vec![("x-amz-meta-owner".to_owned(), "eve".to_owned())];
    assert_eq!(Promise::default().verify(None, &unannounced).unwrap_err().code(), &S3ErrorCode::InvalidRequest);
}

#[test]
fn ambiguous_and_malformed_promises_are_refused() {
    let bad: [&[(&'static str, &str)]; 9] = [
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32", "AAAAAA==")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-crc32")],
        &[("x-amz-checksum-crc32", "AAAA")],
        &[("x-amz-checksum-crc16", "AAAA")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-foo", "AAAA")],
        &[("x-amz-trailer", "x-amz-meta-owner")],
        &[("x-amz-sdk-checksum-algorithm", "CRC32")],
        &[("x-amz-sdk-checksum-algorithm", "SHA1"), ("x-amz-checksum-crc32", "AAAAAA==")],
    ];
    for pairs in bad {
        assert_eq!(Promise::of_headers(&headers(pairs)).unwrap_err().code(), &S3ErrorCode::InvalidRequest, "{pairs:?}");
    }
}
