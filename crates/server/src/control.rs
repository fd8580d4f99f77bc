//! `DIR/control.sock`: how the commands of the same machine talk to the running server.
//!
//! One line of JSON in, one line of JSON out, then the connection ends. Only the user who runs the server and root are
//! answered: the kernel says who is asking, so there is no secret to keep.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::user::UserRequest;

/// Longest line either way, in bytes.
const LINE_LEN_MAX: u64 = 16 << 20;
/// How long either side may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Commands that are served at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8;
/// Name of the socket within the store's folder.
const SOCKET: &str = "control.sock";

/// What a command asks of the server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What `strata status` shows.
    Status,
    /// What `strata reclaim` does.
    Reclaim(crate::reclaim::ReclaimRequest),
    /// What `strata user` does.
    User(UserRequest),
}

/// What it says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    Done(Value),
    Refused(String),
}

/// Answers one request; called on a blocking thread.
pub(crate) type Answer = Arc<dyn Fn(Request) -> anyhow::Result<Value> + Send + Sync>;

/// The socket of a running server.
pub(crate) struct ControlSocket {
    listener: UnixListener,
}

impl ControlSocket {
    /// Makes the socket in the store's folder, in place of one that a killed server left. The caller holds the lock.
    ///
    /// # Errors
    /// The folder does not take sockets.
    pub(crate) fn make(data: &Path) -> anyhow::Result<Self> {
        Self::withdraw(data);
        let listener = through_folder(data, |path| UnixListener::bind(path))
            .with_context(|| format!("the socket {} cannot be made", data.join(SOCKET).display()))?;
        Ok(Self { listener })
    }

    /// Removes the socket; that there is none is fine.
    pub(crate) fn withdraw(data: &Path) {
        // A socket that stays is replaced by the next start and refuses connections until then.
        let _ = std::fs::remove_file(data.join(SOCKET));
    }

    /// Answers requests until dropped.
    pub(crate) async fn serve(self, answer: Answer) {
        let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        match tokio::time::timeout(SILENCE_MAX * 2, converse(stream, answer)).await {
                            Ok(Err(error)) => tracing::debug!(error = format!("{error:#}"), "a command went away"),
                            Err(_) => tracing::debug!("a command was silent for too long"),
                            Ok(Ok(())) => {}
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn converse(mut stream: tokio::net::UnixStream, answer: Answer) -> anyhow::Result<()> {
    let asker = stream.peer_cred()?.uid();
    let reply = if asker == 0 || asker == rustix::process::geteuid().as_raw() {
        let (reading, _) = stream.split();
        let mut line = String::new();
        tokio::io::BufReader::new(reading.take(LINE_LEN_MAX)).read_line(&mut line).await?;
        match serde_json::from_str(&line) {
            Ok(request) => match tokio::task::spawn_blocking(move || answer(request)).await? {
                Ok(value) => Reply::Done(value),
                Err(error) => Reply::Refused(format!("{error:#}")),
            },
            Err(error) => Reply::Refused(format!("the request is not understood: {error}; is this another version?")),
        }
    } else {
        Reply::Refused(format!("user {asker} may not command this server; become the user who runs it, or root"))
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(())
}

/// Asks the server that runs on the store in `data`.
///
/// # Errors
/// It does not answer, or it refuses; the refusal is the error's text.
pub(crate) fn ask(data: &Path, request: &Request) -> anyhow::Result<Value> {
    let exchange = || {
        let mut stream = through_folder(data, |path| UnixStream::connect(path))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream.take(LINE_LEN_MAX)).read_line(&mut answer)?;
        std::io::Result::Ok(serde_json::from_str(&answer)?)
    };
    match exchange().with_context(|| format!("the server does not answer on {}", data.join(SOCKET).display()))? {
        Reply::Done(value) => Ok(value),
        Reply::Refused(why) => bail!(why),
    }
}

/// Reaches the socket through a descriptor of its folder: the path of a socket may have 107 bytes, that of a folder more.
fn through_folder<T>(data: &Path, reach: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    let folder = rustix::fs::open(data, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    reach(Path::new(&format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(answer: Answer) -> anyhow::Result<Value> {
        let folder = tempfile::tempdir().unwrap();
        // Deeper than the path of a socket may be.
        let data = folder.path().join("d".repeat(120));
        std::fs::create_dir(&data).unwrap();
        let server = tokio::spawn(ControlSocket::make(&data).unwrap().serve(answer));
        let reply = tokio::task::spawn_blocking(move || ask(&data, &Request::Status)).await.unwrap();
        server.abort();
        reply
    }

    #[tokio::test]
    async fn a_command_gets_the_servers_answer() {
        let value = asked(Arc::new(|_| Ok(serde_json::json!({"set": "4+2"})))).await.unwrap();
        assert_eq!(value["set"], "4+2");
    }

    #[tokio::test]
    async fn a_refusal_comes_back_in_its_own_words() {
        let error = asked(Arc::new(|_| bail!("there is no user `nobody`"))).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no user `nobody`");
    }

    #[test]
    fn without_a_server_the_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask(folder.path(), &Request::Status).unwrap_err();
        assert!(error.to_string().contains("control.sock"), "{error}");
    }
}
