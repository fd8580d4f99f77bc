//! Framing: whole, split and hostile streams.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

/// Remembers what was asked for.
#[derive(Default)]
struct Ledger(AtomicUsize);

impl Budget for Ledger {
    type Permit = ();
    async fn acquire(&self, len: usize) {
        self.0.fetch_add(len, Ordering::Relaxed);
    }
}

const LIMITS: RecordLimits = RecordLimits {
    len_max: 100_000,
    idle_timeout: Duration::from_secs(60),
    pace: Pace { stall: Duration::from_secs(5), rate_min: 1024, window: Duration::from_secs(10) },
};

fn mark(len: usize, last: bool) -> [u8; 4] {
    (u32::try_from(len).unwrap() | if last { LAST_FRAGMENT } else { 0 }).to_be_bytes()
}

async fn next<S: AsyncRead + Unpin>(reader: &mut RecordReader<S>, budget: &Ledger) -> Result<Bytes, RecordError> {
    reader.begins().await?;
    Ok(reader.next(budget).await?.0)
}

async fn first_of(stream: &[u8]) -> (Result<Bytes, RecordError>, usize) {
    let budget = Ledger::default();
    let mut reader = RecordReader::new(stream, LIMITS);
    let result = next(&mut reader, &budget).await;
    (result, budget.0.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_forged_length_is_refused_before_anything_is_allocated() {
    for announced in [LIMITS.len_max + 1, 0x7fff_ffff] {
        let (result, acquired) = first_of(&mark(announced, true)).await;
        assert!(matches!(result, Err(RecordError::TooLong { .. })));
        assert_eq!(acquired, 0);
    }
}

#[tokio::test]
async fn fragments_together_stay_below_the_limit_too() {
    let mut stream = Vec::new();
    for _ in 0..3 {
        stream.extend(mark(40_000, false));
        stream.extend(vec![1; 40_000]);
    }
    let (result, acquired) = first_of(&stream).await;
    assert!(matches!(result, Err(RecordError::TooLong { .. })));
    assert_eq!(acquired, LIMITS.len_max);
}

#[tokio::test]
async fn endless_fragments_are_refused_empty_ones_too() {
    let stream: Vec<u8> = (0..FRAGMENTS_MAX + 1).flat_map(|_| mark(0, false)).collect();
    assert!(matches!(first_of(&stream).await.0, Err(RecordError::Fragments)));
    let stream: Vec<u8> = (0..FRAGMENTS_MAX + 1).flat_map(|_| [0, 0, 0, 1, 7]).collect();
    assert!(matches!(first_of(&stream).await.0, Err(RecordError::Fragments)));
}

#[tokio::test]
async fn the_end_between_records_is_no_failure_but_inside_one_it_is() {
    assert!(matches!(first_of(&[]).await.0, Err(RecordError::Closed)));
    assert!(matches!(first_of(&[0x80, 0]).await.0, Err(RecordError::Io(_))));
    assert!(matches!(first_of(&[0x80, 0, 0, 8, 1, 2]).await.0, Err(RecordError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_idle_and_a_dripping_one_slow() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut reader = RecordReader::new(server, LIMITS);
    assert!(matches!(next(&mut reader, &Ledger::default()).await, Err(RecordError::Idle)));
    client.write_all(&mark(8, true)).await.unwrap();
    client.write_all(&[1, 2, 3]).await.unwrap();
    assert!(matches!(next(&mut reader, &Ledger::default()).await, Err(RecordError::Slow(_))));
}

#[tokio::test]
async fn waiting_for_a_record_can_be_interrupted_without_loss() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut reader = RecordReader::new(server, LIMITS);
    client.write_all(&mark(2, true)[..3]).await.unwrap();
    assert!(timeout(Duration::from_millis(5), reader.begins()).await.is_err());
    client.write_all(&[mark(2, true)[3], 8, 9]).await.unwrap();
    assert_eq!(next(&mut reader, &Ledger::default()).await.unwrap(), Bytes::from_static(&[8, 9]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_come_out_as_they_were_sent(
        records in proptest::collection::vec(proptest::collection::vec(0usize..50_000, 1..4), 1..5),
        window in 1usize..70_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut expected = Vec::new();
            let mut stream = Vec::new();
            for (number, fragments) in records.iter().enumerate() {
                let mut whole = Vec::new();
                for (at, len) in fragments.iter().enumerate() {
                    let last = at + 1 == fragments.len();
                    // Empty fragments are as good as others (RFC 5531 section 11).
                    let len = len / fragments.len();
                    let byte = u8::try_from((number * 7 + at) % 256).unwrap();
                    stream.extend(mark(len, last));
                    stream.extend(std::iter::repeat_n(byte, len));
                    whole.extend(std::iter::repeat_n(byte, len));
                }
                expected.push(Bytes::from(whole));
            }
            let (mut client, server) = tokio::io::duplex(window);
            let sender = tokio::spawn(async move { client.write_all(&stream).await });
            let mut reader = RecordReader::new(server, LIMITS);
            for record in expected {
                assert_eq!(next(&mut reader, &Ledger::default()).await.unwrap(), record);
            }
            sender.await.unwrap().unwrap();
            assert!(matches!(next(&mut reader, &Ledger::default()).await, Err(RecordError::Closed)));
        });
    }

    #[test]
    fn records_of_a_stream_of_any_bytes_are_parts_of_it_and_never_ask_for_more_than_the_limit(
        pieces in proptest::collection::vec((any::<bool>(), prop_oneof![0usize..40, any::<usize>()], 0usize..40), 0..40),
    ) {
        let mut stream = Vec::new();
        for (last, announced, len) in pieces {
            stream.extend(mark(announced & 0x7fff_ffff, last));
            stream.extend((0..len).map(|at| at as u8));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut reader = RecordReader::new(stream.as_slice(), LIMITS);
            let mut taken = 0;
            loop {
                let budget = Ledger::default();
                let record = next(&mut reader, &budget).await;
                assert!(budget.0.load(Ordering::Relaxed) <= LIMITS.len_max);
                let Ok(record) = record else { break };
                taken += 4 + record.len();
                assert!(taken <= stream.len(), "more came out than was sent");
                assert!(record.is_empty() || stream.windows(1).any(|part| part == &record[..1]));
            }
        });
    }
}
