//! The lanes agree with MD5 one stream at a time, whatever the windows, the number of streams and the timing.

use proptest::prelude::*;

use super::kernel::reference;
use super::*;

/// The lanes of this machine, scalar code and the reference: each as the service may run on it.
fn engines() -> Vec<Engine> {
    vec![Engine::chosen().clone(), Engine::Scalar, Engine::Plain]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

/// Bytes that differ from stream to stream, cut into windows of pieces of the given lengths.
fn windows(seed: usize, cuts: &[Vec<usize>]) -> (Vec<u8>, Vec<Window>) {
    let mut all = Vec::new();
    let windows = cuts
        .iter()
        .map(|pieces| {
            let pieces = pieces.iter().map(|len| {
                let piece: Vec<u8> = (0..*len).map(|i| ((i + all.len()) * 31 + seed * 7 + i / 251) as u8).collect();
                all.extend_from_slice(&piece);
                Bytes::from(piece)
            });
            Arc::new(pieces.collect())
        })
        .collect();
    (all, windows)
}

async fn digest(lanes: &Arc<Lanes>, windows: Vec<Window>) -> Result<[u8; 16], Died> {
    let mut stream = Stream::of(lanes);
    for window in windows {
        stream = stream.start(window).await?;
        tokio::task::yield_now().await;
    }
    stream.finish().await
}

/// Lengths around blocks, around the shortest run, and of several steps.
fn piece_len() -> impl Strategy<Value = usize> {
    prop_oneof![0..200_usize, 960..1100_usize, 0..5000_usize, 60_000..140_000_usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn streams_hashed_together_have_the_digests_they_have_alone(
        streams in prop::collection::vec(prop::collection::vec(prop::collection::vec(piece_len(), 0..4), 0..4), 1..24),
        leaders in 1..3_usize,
    ) {
        let runtime = runtime();
        for engine in engines() {
            let lanes = Arc::new(Lanes::new(engine, leaders));
            let running: Vec<_> = streams.iter().enumerate().map(|(seed, cuts)| {
                let (data, windows) = windows(seed, cuts);
                let lanes = Arc::clone(&lanes);
                (data, runtime.spawn(async move { digest(&lanes, windows).await }))
            }).collect();
            for (data, task) in running {
                let got = runtime.block_on(task).expect("the stream's task");
                prop_assert_eq!(got, Ok(reference(&data)));
            }
            let queue = lanes.queue.lock();
            prop_assert!(queue.jobs.is_empty() && queue.hot.is_empty());
        }
    }

    #[test]
    fn a_batch_of_any_lengths_comes_to_its_end(batch in prop::collection::vec(prop::collection::vec(piece_len(), 1..5), 3..16)) {
        let engine = Engine::chosen().clone();
        let lanes = Lanes::new(engine, 1);
        let (mut jobs, mut wanted) = (Vec::new(), Vec::new());
        for (seed, pieces) in batch.iter().enumerate().take(lanes.engine.width().max(1)) {
            let (data, mut windows) = windows(seed, std::slice::from_ref(pieces));
            let (reply, _) = oneshot::channel();
            let window = windows.remove(0);
            jobs.push(Job { stream: seed as u64, state: lanes.engine.state(), window, piece: 0, offset: 0, reply });
            wanted.push(reference(&data));
        }
        while !jobs.iter().all(Job::is_done) {
            lanes.step(&mut jobs);
        }
        let got: Vec<_> = jobs.into_iter().map(|job| job.state.finish()).collect();
        prop_assert_eq!(got, wanted);
    }
}

#[test]
fn code_that_disagrees_with_the_reference_is_found_out() {
    for engine in engines() {
        assert!(engine.agrees(reference));
        assert!(!engine.agrees(|data| {
            let mut digest = reference(data);
            digest[15] ^= u8::from(data.len() > 2048);
            digest
        }));
    }
}

#[test]
fn windows_of_a_leader_that_died_are_answered() {
    let lanes = Arc::new(Lanes::new(Engine::Scalar, 1));
    let job = |stream| {
        let (reply, answer) = oneshot::channel();
        let state = lanes.engine.state();
        let window = windows(0, &[vec![10]]).1.remove(0);
        (Job { stream, state, window, piece: 0, offset: 0, reply }, answer)
    };
    let ((first, first_answer), (second, second_answer)) = (job(0), job(1));
    let leader = Lanes::hand_in(&lanes, first).expect("the first to come leads");
    assert!(Lanes::hand_in(&lanes, second).is_none(), "one leader is enough");
    drop(leader);
    assert!(first_answer.blocking_recv().is_err() && second_answer.blocking_recv().is_err());
    let ((third, answer), _) = (job(2), job(3));
    Lanes::hand_in(&lanes, third).expect("somebody leads again").lead();
    assert_eq!(answer.blocking_recv().expect("a digest").finish(), reference(&windows(0, &[vec![10]]).0));
}

#[test]
fn a_stream_that_keeps_others_waiting_is_waited_for_once() {
    let engine = Engine::chosen().clone();
    if engine.width() == 1 {
        println!("skipped: this processor has no lanes worth waiting for");
        return;
    }
    let (runtime, lanes) = (runtime(), Arc::new(Lanes::new(engine, 1)));
    let (_slow, _slower) = (Stream::of(&lanes), Stream::of(&lanes));
    runtime.block_on(async {
        let stream = Stream::of(&lanes).start(windows(0, &[vec![100]]).1.remove(0)).await.expect("alive");
        assert_eq!(lanes.queue.lock().hot.len(), 3);
        let digest = stream.finish().await;
        assert_eq!(digest, Ok(reference(&windows(0, &[vec![100]]).0)));
        assert_eq!(lanes.queue.lock().hot.len(), 0, "the silent ones are no longer waited for");
    });
}
