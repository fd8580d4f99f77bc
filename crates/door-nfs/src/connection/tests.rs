//! Replies leave whole, whatever the socket takes at a time, and a client that does not read is given up.

use std::time::Duration;

use bytes::Bytes;
use strata_gate::{Pace, Seats};
use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;
use crate::rpc::accepted;

fn outgoing(xid: u32, data: Bytes) -> Outgoing {
    let busy = Seats::new(1, 1).take([127, 0, 0, 1].into()).unwrap().busy().unwrap();
    Outgoing { answer: Reply::finish(accepted(xid, 64), data).into(), _place: Places::default(), _busy: busy }
}

fn writer(stream: DuplexStream) -> Arc<ReplyWriter<PacedStream<DuplexStream>>> {
    Arc::new(ReplyWriter { stream: Mutex::new(Some(PacedStream::new(stream, Pace::default()))) })
}

#[tokio::test]
async fn replies_are_written_whole_and_padded() {
    for window in [1, 7, 64, 100_000] {
        let (mut client, server) = tokio::io::duplex(window);
        let (sender, receiver) = mpsc::channel(64);
        let mut expected = 0;
        for xid in 0..40 {
            let reply = outgoing(xid, Bytes::from(vec![1; xid as usize]));
            expected += reply.answer.reply.len();
            sender.send(reply).await.unwrap();
        }
        drop(sender);
        let writing = tokio::spawn(write_replies(writer(server), receiver));
        let mut wire = Vec::new();
        client.read_to_end(&mut wire).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(wire.len(), expected);
        assert_eq!(wire.len() % 4, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let (_client, server) = tokio::io::duplex(8);
    let (sender, receiver) = mpsc::channel(1);
    sender.send(outgoing(1, Bytes::from(vec![1; 100]))).await.unwrap();
    let result = write_replies(writer(server), receiver).await;
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_reply_that_was_cut() {
    let (mut client, server) = tokio::io::duplex(8);
    let writer = writer(server);
    let long = [outgoing(1, Bytes::from(vec![1; 100]))];
    let first = tokio::time::timeout(Duration::from_secs(1), writer.write(&long));
    first.await.unwrap_err();
    let second = writer.write(&[outgoing(2, Bytes::new())]).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let mut wire = Vec::new();
    client.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire.len(), 8);
}
