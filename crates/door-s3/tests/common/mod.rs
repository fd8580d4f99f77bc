//! A store in a temporary folder with its S3 door on a free port, and a client that signs.
#![allow(dead_code, unused_imports, reason = "every test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "this is test code")]

mod form;
mod sign;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use strata_disk::FileDisk;
use strata_door_s3::{S3Config, S3Door, S3Metrics, serve};
use strata_iam::{NewUser, User, Users};
use strata_keys::MasterKey;
use strata_ledger::{Geometry, Options};
use strata_namespace::{Caller, Namespace, Op, STORE};
use strata_runtime::{OpenStore, StoreConfig};
use strata_seam::{SystemClock, SystemEntropy};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) use form::{POLICY, form};
pub(crate) use sign::{Payload, Signer, chunk, trailer};

/// A running door. Dropping it stops serving; the folder vanishes with it.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: Arc<User>,
    pub(crate) users: Arc<Users>,
    pub(crate) ns: Arc<Namespace>,
    pub(crate) metrics: Arc<S3Metrics>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    store: Option<OpenStore>,
    _dir: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(S3Config::default()).await
    }

    pub(crate) async fn with(config: S3Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let store = StoreConfig {
            disks: vec![Arc::new(FileDisk::open_buffered(&disk).unwrap())],
            create: Some(Geometry { data_shards: 1, parity_shards: 0 }),
            index_dir: Some(dir.path().join("index")),
            index_engine: None,
            index_cache_bytes: 8 << 20,
            ledger: Options { segment_len: 16 << 20, zero_ahead: false, ..Options::default() },
            content: strata_content::StoreSettings::default(),
            owner: (0, 0),
            durability: strata_namespace::Durability::default(),
            threads: true,
        };
        let store = OpenStore::open(store, Arc::new(SystemClock::new()), &SystemEntropy).unwrap();
        let ns = Arc::clone(store.namespace());
        let op = Op::new(Caller::root(&STORE));
        let key = MasterKey::draw(&SystemEntropy);
        let users = Arc::new(Users::open(&op, Arc::clone(&ns), key, Arc::new(SystemEntropy)).unwrap());
        let admin = users.ensure_admin(&op, 1000, 1000, &SystemEntropy).unwrap().unwrap();
        let door = S3Door::new(Arc::clone(&ns), Arc::clone(&users), config).unwrap();
        let metrics = door.metrics();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, door, async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            admin,
            users,
            ns,
            metrics,
            stop: Some(stop),
            serving: Some(serving),
            store: Some(store),
            _dir: dir,
        }
    }

    /// A client of the administrator.
    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.admin)
    }

    pub(crate) fn client_of(&self, user: &User) -> Client {
        Client { addr: self.addr, signer: Signer::new(&user.access_key, user.secret_key.expose()) }
    }

    /// Creates a user who is no administrator.
    pub(crate) fn user(&self, name: &str, uid: u32) -> Arc<User> {
        let op = Op::new(Caller::root(&STORE));
        let new = NewUser { name: name.to_owned(), uid: Some(uid), ..NewUser::default() };
        self.users.create(&op, new, &SystemEntropy).unwrap()
    }

    /// Asks the server to end, and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.take().unwrap().await.unwrap();
        let store = self.store.take().unwrap();
        drop(self.ns.clone());
        tokio::task::spawn_blocking(move || store.close()).await.unwrap().unwrap();
    }

    /// A raw connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A raw connection from another address of this machine.
    pub(crate) async fn connect_from_elsewhere(&self) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The text of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        elements(&self.text(), name).into_iter().next()
    }
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        elements(&self.text(), name)
    }
    /// The code of an error document.
    pub(crate) fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
    /// Asserts the status, showing the body if it is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.text());
        self
    }
}

fn elements(text: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(ToOwned::to_owned).collect()
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    pub(crate) signer: Signer,
}

impl Client {
    pub(crate) fn request(&self, method: &str, target: &str) -> Call<'_> {
        let headers = vec![("host".to_owned(), self.addr.to_string())];
        Call {
            client: self,
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: Bytes::new(),
            payload: Payload::Sha256,
        }
    }
    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.request("GET", target).send().await
    }
    pub(crate) async fn head(&self, target: &str) -> Reply {
        self.request("HEAD", target).send().await
    }
    pub(crate) async fn delete(&self, target: &str) -> Reply {
        self.request("DELETE", target).send().await
    }
    pub(crate) async fn put(&self, target: &str, body: impl Into<Bytes>) -> Reply {
        self.request("PUT", target).body(body).send().await
    }
    pub(crate) async fn post(&self, target: &str, body: impl Into<Bytes>) -> Reply {
        self.request("POST", target).body(body).send().await
    }
}

pub(crate) struct Call<'a> {
    client: &'a Client,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    payload: Payload,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(given, _)| given != name || name.starts_with("x-many"));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }
    /// Signs and sends.
    pub(crate) async fn send(mut self) -> Reply {
        let signed = self.client.signer.sign(&self.method, &self.target, &mut self.headers, &self.body, self.payload);
        send(self.client.addr, &self.method, &self.target, &self.headers, signed).await
    }
    /// Sends without a signature.
    pub(crate) async fn send_unsigned(self) -> Reply {
        send(self.client.addr, &self.method, &self.target, &self.headers, self.body).await
    }
    /// The presigned target of this request.
    pub(crate) fn presigned(&self, expires_secs: u32) -> String {
        self.client.signer.presign(&self.method, &self.target, &self.headers, expires_secs)
    }
}

/// Sends one request over a connection of its own.
pub(crate) async fn send(
    addr: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Reply {
    send_over(TcpStream::connect(addr).await.unwrap(), method, target, headers, body).await
}

/// Sends one request over this connection.
pub(crate) async fn send_over(
    stream: TcpStream,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Bytes,
) -> Reply {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = http::Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(target);
    for (name, value) in headers {
        request = request.header(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    // Clients of S3 send a length even for an empty body; this library does not.
    let framed = headers.iter().any(|(name, _)| matches!(name.as_str(), "content-length" | "transfer-encoding"));
    if body.is_empty() && !framed && matches!(method, "PUT" | "POST") {
        request = request.header("content-length", "0");
    }
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// Bytes that do not repeat within a chunk, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// MD5 in hex.
pub(crate) fn md5_hex(data: &[u8]) -> String {
    use md5::Digest;
    hex::encode(md5::Md5::digest(data))
}
