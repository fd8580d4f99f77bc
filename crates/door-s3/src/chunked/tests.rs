//! Bodies in chunks: what is accepted, and every lie that is not. Signed bodies are tested in `auth::tests`.

use proptest::prelude::*;

use super::*;

type Outcome = Result<(Vec<u8>, Vec<(String, String)>), ChunkedError>;

/// Feeds the body in pieces of `step` bytes.
fn decode(body: &[u8], promised: u64, step: usize) -> Outcome {
    let mut decoder = Decoder::new(promised, Proof::None);
    let mut data = Vec::new();
    for piece in body.chunks(step.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(out) = decoder.next(&mut input)? {
            data.extend_from_slice(&out);
        }
    }
    Ok((data, decoder.finish()?))
}

const GOOD: &[u8] = b"4\r\nWiki\r\n6\r\npedia \r\n0\r\nX-Amz-Checksum-Crc32: AAAAAA==\r\n\r\n";

#[test]
fn data_and_trailer_come_out_however_the_bytes_arrive() {
    for step in 1..=GOOD.len() {
        let (data, trailer) = decode(GOOD, 10, step).unwrap();
        assert_eq!(data, b"Wikipedia ");
        assert_eq!(trailer, [("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())]);
    }
}

#[test]
fn a_body_without_a_trailer_or_without_data_is_complete() {
    assert_eq!(decode(b"1\r\nx\r\n0\r\n\r\n", 1, 3).unwrap().0, b"x");
    assert_eq!(decode(b"0\r\n\r\n", 0, 1).unwrap().0, b"");
}

#[test]
fn a_body_cut_anywhere_is_incomplete() {
    let last_chunk = GOOD.windows(5).position(|window| window == b"\r\n0\r\n").unwrap() + 5;
    for len in 0..last_chunk {
        assert_eq!(decode(&GOOD[..len], 10, 7).unwrap_err(), ChunkedError::Incomplete, "cut at {len}");
    }
}

#[test]
fn lengths_that_lie_are_refused() {
    assert_eq!(decode(GOOD, 9, 64).unwrap_err(), ChunkedError::TooLong);
    assert_eq!(decode(GOOD, 11, 64).unwrap_err(), ChunkedError::Incomplete);
    assert_eq!(decode(b"ffffffffffffffff\r\nx", 5, 64).unwrap_err(), ChunkedError::TooLong);
}

#[test]
fn malformed_sizes_line_ends_and_trailers_are_refused() {
    let long_line = [b"1;".as_slice(), &[b'a'; 2000], b"\r\nx\r\n0\r\n\r\n"].concat();
    let long_trailer = [b"0\r\n".as_slice(), &[b'a'; 20_000]].concat();
    let bad: [&[u8]; 10] = [
        b"\r\n",
        b"-1\r\n",
        b"0x1\r\nx\r\n",
        b"1\nx\n0\n\n",
        b"1\r\nxy\r\n",
        b"11111111111111111\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\na:1\r\na:2\r\n\r\n",
        &long_line,
        &long_trailer,
    ];
    for body in bad {
        assert_eq!(
            decode(body, 1.min(u64::from(body[0] != b'0' || body[1] == b'x')), 64).unwrap_err(),
            ChunkedError::Malformed,
            "{:?}",
            &body[..body.len().min(20)]
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300), promised in 0u64..400, step in 1usize..50) {
        if let Ok((data, _)) = decode(&body, promised, step) {
            prop_assert_eq!(data.len() as u64, promised);
        }
    }

    #[test]
    fn what_was_encoded_comes_back(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 0..8), step in 1usize..100) {
        let mut body = Vec::new();
        for piece in &pieces {
            body.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
            body.extend_from_slice(piece);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        let whole = pieces.concat();
        prop_assert_eq!(decode(&body, whole.len() as u64, step).unwrap().0, whole);
    }
}
