//! Streams taken in by several threads: the same content as by one, in whatever order threads run.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use strata_content::{Content, ContentError, DedupDomain, Intake, Item, Job, Store};

use crate::{create, noise, read};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Bytes that an intake may queue.
const ROOM: u64 = 1 << 20;

fn on_a_thread(job: Job) {
    drop(std::thread::spawn(job));
}

/// Bytes of which a part shrinks and a part was there before.
fn mixed() -> Vec<u8> {
    let text: Vec<u8> = (0..40_000).flat_map(|line| format!("line {line} of {}\n", line % 77).into_bytes()).collect();
    let noise = noise(5, 1 << 20);
    [&text[..], &noise, &noise[..300_000], &text, &noise].concat()
}

fn at_once(store: &Arc<Store>, data: &[u8]) -> Content {
    let mut ingest = store.ingest(DedupDomain::COMMON, false);
    ingest.push(data).unwrap();
    ingest.finish().unwrap()
}

fn own(store: &Arc<Store>, content: Content) -> Vec<Item> {
    let owned = store.transact(false, |tx| {
        let items = tx.attach(&content)?;
        tx.put(b"owner".as_slice(), b"of a stream".to_vec());
        Ok::<_, ContentError>(items)
    });
    owned.unwrap().value
}

#[test]
fn helpers_change_neither_content_nor_what_is_stored() {
    let data = mixed();
    let stored = |helpers: usize| {
        let (_world, store) = create();
        std::thread::scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|| store.helpers().help(store.mover()));
            }
            let items = own(&store, at_once(&store, &data));
            store.helpers().end();
            assert!(read(&store, &items) == data);
            store.ledger().sync().unwrap();
            (items, store.ledger().status().position.offset)
        })
    };
    let (alone, end_alone) = stored(0);
    for helpers in [1, 3] {
        let (items, end) = stored(helpers);
        assert_eq!(items, alone);
        assert_eq!(end, end_alone, "what repeats within a stream is stored once, also while its block is on its way");
    }
}

#[test]
fn a_stream_in_pieces_is_the_content_of_all_of_them() {
    let data = mixed();
    let (_world, store) = create();
    let expected = at_once(&store, &data).items().to_vec();
    for piece_len in [1000, 70_000, 3 << 20] {
        let mut intake = Intake::new(store.ingest(DedupDomain::COMMON, false), on_a_thread);
        let pieces: Vec<_> = data.chunks(piece_len).map(Bytes::copy_from_slice).collect();
        let content = block_on(async {
            for (at, piece) in pieces.iter().enumerate() {
                intake.push(piece.clone(), at + 1 == pieces.len(), ROOM).await.unwrap();
            }
            intake.finish().await.unwrap()
        });
        assert_eq!((content.len(), content.items()), (data.len() as u64, &expected[..]), "pieces of {piece_len}");
    }
}

#[test]
fn a_stream_without_its_last_piece_is_no_content() {
    let (_world, store) = create();
    let mut intake = Intake::new(store.ingest(DedupDomain::COMMON, false), on_a_thread);
    block_on(intake.push(Bytes::from(noise(1, 5000)), false, ROOM)).unwrap();
    assert!(matches!(block_on(intake.finish()), Err(ContentError::Abandoned)));
}

#[test]
fn a_stream_whose_thread_dies_ends_in_an_error() {
    let (_world, store) = create();
    let never: fn(Job) = |job| drop(job);
    let mut intake = Intake::new(store.ingest(DedupDomain::COMMON, false), never);
    block_on(intake.push(Bytes::from(noise(1, 5000)), true, ROOM)).unwrap();
    assert!(matches!(block_on(intake.finish()), Err(ContentError::Abandoned)));
}
