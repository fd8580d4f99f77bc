//! Retransmissions, joined executions and bounds.

use super::*;

fn cache(entries_max: usize, bytes_max: usize) -> Arc<ReplyCache> {
    ReplyCache::new(ReplyCacheLimits { entries_max, bytes_max, age_max: Duration::from_secs(120) })
}

fn key_of(client: &str, xid: u32, uid: u32, args: &[u8]) -> CallKey {
    let credential = Credential::Sys { uid, gid: 1, groups: Arc::from([]) };
    CallKey::new(client.parse().unwrap(), xid, 8, &credential, args, false)
}

fn key(xid: u32) -> CallKey {
    key_of("10.0.0.1", xid, 1000, b"args")
}

fn execute(cache: &Arc<ReplyCache>, key: CallKey, body: &'static [u8]) {
    match cache.begin(key, Instant::now()) {
        Begin::Execute(execution) => execution.finish(Bytes::from_static(body), Instant::now()),
        Begin::Repeat(_) | Begin::Join(_) => panic!("known already"),
    }
}

fn repeated(cache: &Arc<ReplyCache>, key: CallKey) -> Option<Bytes> {
    match cache.begin(key, Instant::now()) {
        Begin::Repeat(body) => Some(body),
        Begin::Execute(_) => None,
        Begin::Join(_) => panic!("still running"),
    }
}

#[test]
fn a_retransmission_gets_the_first_reply() {
    let cache = cache(10, 10_000);
    execute(&cache, key(1), b"created");
    assert_eq!(repeated(&cache, key(1)), Some(Bytes::from_static(b"created")));
    assert_eq!(repeated(&cache, key_of("::ffff:10.0.0.1", 1, 1000, b"args")), Some(Bytes::from_static(b"created")));
}

#[test]
fn another_client_xid_caller_or_argument_is_another_call() {
    let cache = cache(10, 10_000);
    execute(&cache, key(1), b"created");
    for other in [
        key(2),
        key_of("10.0.0.2", 1, 1000, b"args"),
        key_of("10.0.0.1", 1, 1001, b"args"),
        key_of("10.0.0.1", 1, 1000, b"arg"),
    ] {
        assert_eq!(repeated(&cache, other), None);
    }
}

#[tokio::test]
async fn a_retransmission_joins_the_execution_under_way() {
    let cache = cache(10, 10_000);
    let Begin::Execute(execution) = cache.begin(key(1), Instant::now()) else { panic!("known already") };
    let Begin::Join(join) = cache.begin(key(1), Instant::now()) else { panic!("executed twice") };
    let waiting = tokio::spawn(join.reply());
    tokio::task::yield_now().await;
    execution.finish(Bytes::from_static(b"done"), Instant::now());
    assert_eq!(waiting.await.unwrap(), Some(Bytes::from_static(b"done")));
}

#[tokio::test]
async fn an_execution_that_fails_lets_the_retransmission_begin_anew() {
    let cache = cache(10, 10_000);
    let Begin::Execute(execution) = cache.begin(key(1), Instant::now()) else { panic!("known already") };
    let Begin::Join(join) = cache.begin(key(1), Instant::now()) else { panic!("executed twice") };
    drop(execution);
    assert_eq!(join.reply().await, None);
    assert!(matches!(cache.begin(key(1), Instant::now()), Begin::Execute(_)));
    assert!(cache.table.lock().entries.is_empty());
}

#[test]
fn the_oldest_replies_go_when_there_are_too_many() {
    let cache = cache(3, 10_000);
    for xid in 1..=5 {
        execute(&cache, key(xid), b"reply");
    }
    assert_eq!(cache.table.lock().entries.len(), 3);
    assert!(repeated(&cache, key(2)).is_none());
    assert!(repeated(&cache, key(5)).is_some());
}

#[test]
fn the_oldest_replies_go_when_they_take_too_many_bytes() {
    let cache = cache(100, 2 * (ENTRY_OVERHEAD + 5));
    for xid in 1..=5 {
        execute(&cache, key(xid), b"reply");
    }
    let table = cache.table.lock();
    assert_eq!((table.entries.len(), table.bytes), (2, 2 * (ENTRY_OVERHEAD + 5)));
}

#[tokio::test(start_paused = true)]
async fn replies_are_forgotten_with_age() {
    let cache = cache(10, 10_000);
    execute(&cache, key(1), b"reply");
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(repeated(&cache, key(1)).is_some());
    tokio::time::advance(Duration::from_secs(21)).await;
    assert!(repeated(&cache, key(1)).is_none());
    assert_eq!(cache.table.lock().bytes, 0);
}

#[test]
fn running_calls_are_never_pushed_out() {
    let cache = cache(1, 10_000);
    let Begin::Execute(running) = cache.begin(key(1), Instant::now()) else { panic!("known already") };
    for xid in 2..=5 {
        execute(&cache, key(xid), b"reply");
    }
    assert!(matches!(cache.begin(key(1), Instant::now()), Begin::Join(_)));
    drop(running);
}
