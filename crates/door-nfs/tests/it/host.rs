//! A client's host as the door calls it: its portmapper, its lock manager and its status monitor, all on one port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::client::{Args, PORTMAP, Results};
use super::nlm_calls::{Lock, NLM, NSM};

/// What came over from the door.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// GRANTED.
    Granted(Lock),
    /// An answer to a call of the asynchronous form: the procedure and the status.
    Result(u32, u32),
    /// SM_NOTIFY: who restarted, and how often.
    Restarted(String, u32),
}

/// See the module. It ends with the test.
pub(crate) struct Host {
    pub(crate) port: u16,
    came: Receiver<(SocketAddr, Came)>,
    /// What it answers to GRANTED.
    pub(crate) answers: Arc<AtomicU32>,
}

impl Host {
    /// On 127.0.0.`last`, on a port that is free there or a given one.
    pub(crate) fn on(last: u8, port: u16) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, last], port)), 2)
    }

    /// At an address; its portmapper speaks this version alone.
    pub(crate) fn at(address: SocketAddr, portmap: u32) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, came) = channel();
        let answers = Arc::new(AtomicU32::new(0));
        let answered = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, answered) = (sender.clone(), Arc::clone(&answered));
                std::thread::spawn(move || serve(stream.unwrap(), (port, portmap), &sender, &answered));
            }
        });
        Self { port, came, answers }
    }

    /// The next call of the door, and from which address.
    pub(crate) fn next(&self) -> (SocketAddr, Came) {
        self.came.recv_timeout(Duration::from_secs(20)).expect("the door calls")
    }

    /// The lock that the door tells next that it is granted.
    pub(crate) fn granted(&self) -> Lock {
        match self.next().1 {
            Came::Granted(lock) => lock,
            other => panic!("{other:?}"),
        }
    }

    /// The door does not call.
    pub(crate) fn is_left_alone(&self) {
        if let Ok(came) = self.came.recv_timeout(Duration::from_millis(300)) {
            panic!("{came:?}");
        }
    }
}

/// Answers the calls of a connection.
fn serve(mut stream: TcpStream, (port, portmap): (u16, u32), sender: &Sender<(SocketAddr, Came)>, answers: &AtomicU32) {
    let from = stream.peer_addr().unwrap();
    let mut mark = [0; 4];
    while stream.read_exact(&mut mark).is_ok() {
        let mut record = vec![0; (u32::from_be_bytes(mark) & !(1 << 31)) as usize];
        stream.read_exact(&mut record).unwrap();
        let mut call = Results::new(record);
        let xid = call.u32().unwrap();
        assert_eq!([call.u32().unwrap(), call.u32().unwrap()], [0, 2], "a call");
        let program = (call.u32().unwrap(), call.u32().unwrap());
        let procedure = call.u32().unwrap();
        for _ in 0..2 {
            call.u32().unwrap();
            call.opaque().unwrap();
        }
        let reply = Args::default().u32(0).u32(xid).u32(1).u32(0).u32(0).u32(0).u32(0);
        let (reply, came) = match (program, procedure) {
            ((100_000, version), 3) if version != portmap => {
                let mismatch = Args::default().u32(0).u32(xid).u32(1).u32(0).u32(0).u32(0).u32(2);
                (mismatch.u32(portmap).u32(portmap), None)
            }
            (PORTMAP, 3) => (reply.u32(u32::from(port)), None),
            ((100_000, _), 3) => {
                let (asked, _version) = (call.u32().unwrap(), call.u32().unwrap());
                assert_eq!(call.opaque().unwrap(), b"tcp6");
                let hint = String::from_utf8(call.opaque().unwrap()).unwrap();
                assert!(hint.starts_with("::1."), "{hint}");
                assert_eq!(call.opaque().unwrap(), b"");
                let known = [NLM.0, NSM.0].contains(&asked);
                let told = if known { format!("::1.{}.{}", port >> 8, port & 255) } else { String::new() };
                (reply.opaque(told.as_bytes()), None)
            }
            (NLM, 5) => {
                let cookie = call.opaque().unwrap();
                let exclusive = call.bool().unwrap();
                let lock = Lock::take(&mut call, exclusive);
                (reply.opaque(&cookie).u32(answers.load(Ordering::Acquire)), Some(Came::Granted(lock)))
            }
            (NLM, 11..=15) => {
                assert_eq!(call.opaque().unwrap(), b"cook");
                (reply, Some(Came::Result(procedure, call.u32().unwrap())))
            }
            (NSM, 6) => {
                let name = String::from_utf8(call.opaque().unwrap()).unwrap();
                (reply, Some(Came::Restarted(name, call.u32().unwrap())))
            }
            other => panic!("the door calls {other:?}"),
        };
        let mut record = reply.0;
        let len = u32::try_from(record.len() - 4).unwrap();
        record[..4].copy_from_slice(&(len | 1 << 31).to_be_bytes());
        // The test gets the call before the door knows that it was taken.
        if let Some(came) = came {
            sender.send((from, came)).ok();
        }
        stream.write_all(&record).ok();
    }
}
