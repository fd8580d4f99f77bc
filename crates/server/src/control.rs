//! `DIR/control.sock`: how commands on the same machine talk to the running server.
//!
//! The command sends one line of JSON. The server sends lines of progress if the answer takes long, then the answer, and closes the
//! connection. A command that closes its side before the answer ends the work; the answer then says how far it came. Only root and the
//! user who runs the server get answers. The kernel says who is asking, so no secret is needed.

pub(crate) mod messages;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::fs::{Mode, OFlags};
use strata_seam::Stopwatch;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc::error::TrySendError;

use messages::{Answer, Progress, Reply, Request, Strange};

use crate::lock::{LOOK_EVERY, NoAnswer, PATIENCE, StoreLock};

/// Longest line either way, in bytes.
const LINE_LEN_MAX: u64 = 16 << 20;
/// How long either side may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often the server says that it is still at work.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Lines of progress under way; while nobody takes them, further ones are left out.
const PROGRESS_QUEUE: usize = 16;
/// Commands that are served at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 8;
/// Name of the socket within the store's folder.
const SOCKET: &str = "control.sock";

/// Told how far an answer is; says whether anybody still waits for it.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Progress) -> bool;
/// Answers one request; called on a blocking thread.
pub(crate) type Responder = Arc<dyn Fn(Request, Tell<'_>) -> anyhow::Result<Answer> + Send + Sync>;

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
    pub(crate) async fn serve(self, answer: Responder) {
        let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, answer).await {
                            tracing::debug!(error = format!("{error:#}"), "a command went away");
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

async fn converse(mut stream: tokio::net::UnixStream, answer: Responder) -> anyhow::Result<()> {
    let asker = stream.peer_cred()?.uid();
    let (reading, mut writing) = stream.split();
    if asker != 0 && asker != rustix::process::geteuid().as_raw() {
        let why = format!("user {asker} may not command this server; become the user who runs it, or root");
        return write(&mut writing, &Reply::Refused(why)).await;
    }
    let mut reading = tokio::io::BufReader::new(reading.take(LINE_LEN_MAX));
    let mut line = String::new();
    tokio::time::timeout(SILENCE_MAX, reading.read_line(&mut line)).await.context("it asked nothing")??;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            let why = format!(
                "the request is not understood: {error}; the command and the server may be of different versions; nothing was changed"
            );
            return write(&mut writing, &Reply::Refused(why)).await;
        }
    };
    let (sender, mut progress) = tokio::sync::mpsc::channel(PROGRESS_QUEUE);
    let mut answering = tokio::task::spawn_blocking(move || {
        answer(request, &mut |far| match sender.try_send(far) {
            Ok(()) | Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Closed(_)) => false,
        })
    });
    let mut rest = [0; 1];
    let mut alive = tokio::time::interval(SIGN_OF_LIFE);
    alive.reset();
    loop {
        // Leaving this loop drops the queue, which tells the answering side that nobody waits any more.
        tokio::select! {
            biased;
            // Read first, because there may be progress without a pause.
            read = reading.read(&mut rest) => if read? == 0 {
                break;
            },
            Some(far) = progress.recv() => within(write(&mut writing, &Reply::Progress(far))).await?,
            answered = &mut answering => {
                let reply = answered?.map_or_else(|error| Reply::Refused(format!("{error:#}")), Reply::Done);
                return within(write(&mut writing, &reply)).await;
            }
            _ = alive.tick() => within(write(&mut writing, &Reply::Alive)).await?,
        }
    }
    // The command only wants to know what was done, if it still listens.
    drop(progress);
    let answered = tokio::time::timeout(SILENCE_MAX, answering).await.context("it did not wait for the answer")?;
    let reply = answered?.map_or_else(|error| Reply::Refused(format!("{error:#}")), Reply::Done);
    within(write(&mut writing, &reply)).await
}

/// Waits at most [`SILENCE_MAX`] for the other side to take a line.
async fn within(writing: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(SILENCE_MAX, writing).await.context("it does not listen")?
}

async fn write(writing: &mut tokio::net::unix::WriteHalf<'_>, reply: &Reply) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writing.write_all(&line).await?;
    Ok(())
}

/// Asks the server that runs on the store in `data`.
///
/// # Errors
/// It does not answer, or it refuses; the refusal is the error's text.
pub(crate) fn ask<T: TryFrom<Answer, Error = Strange>>(data: &Path, request: &Request) -> anyhow::Result<T> {
    ask_watching(data, request, &mut |_| {})
}

/// As [`ask`], for what takes long: `progress` is shown how far it is.
///
/// # Errors
/// As for [`ask`].
pub(crate) fn ask_watching<T: TryFrom<Answer, Error = Strange>>(
    data: &Path,
    request: &Request,
    progress: &mut dyn FnMut(&Progress),
) -> anyhow::Result<T> {
    let mut told = |far: Option<&Progress>| {
        far.into_iter().for_each(&mut *progress);
        true
    };
    ask_while(data, request, &mut told)
}

/// As [`ask_watching`], for work that may be ended. `progress` is called with every progress and every sign of life (which has none), and
/// returns whether to go on. If not, the server is told to end the work, and its answer says how far it came.
///
/// # Errors
/// As for [`ask`].
pub(crate) fn ask_while<T: TryFrom<Answer, Error = Strange>>(
    data: &Path,
    request: &Request,
    progress: &mut dyn FnMut(Option<&Progress>) -> bool,
) -> anyhow::Result<T> {
    Ok(converse_as_command(data, request, progress)?.try_into()?)
}

fn converse_as_command(
    data: &Path,
    request: &Request,
    progress: &mut dyn FnMut(Option<&Progress>) -> bool,
) -> anyhow::Result<Answer> {
    let begin = || {
        let mut stream = through_folder(data, |path| UnixStream::connect(path))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        std::io::Result::Ok(BufReader::new(stream))
    };
    let silent = || format!("the server does not answer on {}", data.join(SOCKET).display());
    let waited = Stopwatch::start();
    let mut answers = loop {
        match begin() {
            // The server is starting or stopping, and has the store.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                let Some(pid) = StoreLock::holder(data) else {
                    bail!("the server has ended meanwhile; what was asked of it was not done");
                };
                if waited.elapsed() >= PATIENCE {
                    return Err(NoAnswer { pid, data: data.to_owned() }.into());
                }
                std::thread::sleep(LOOK_EVERY);
            }
            begun => break begun.with_context(silent)?,
        }
    };
    loop {
        let mut line = String::new();
        let len = (&mut answers).take(LINE_LEN_MAX).read_line(&mut line).with_context(silent)?;
        ensure!(
            len > 0,
            "the server ended before it had answered; what was asked may have been done; look when it runs again"
        );
        let on = match serde_json::from_str(&line).with_context(silent)? {
            Reply::Progress(far) => progress(Some(&far)),
            Reply::Alive => progress(None),
            Reply::Done(answer) => return Ok(answer),
            Reply::Refused(why) => bail!(why),
        };
        if !on {
            // A server that has answered meanwhile may have closed its side.
            let _ = answers.get_ref().shutdown(Shutdown::Write);
        }
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
    use crate::fsck::messages::CheckAt;
    use crate::user::messages::UserAnswer;

    fn at(done: u64) -> Progress {
        Progress::Check(CheckAt { what: "steps".to_owned(), done })
    }

    fn removed(name: &str) -> UserAnswer {
        UserAnswer::Removed { removed: name.to_owned() }
    }

    async fn asked<T>(answer: Responder) -> anyhow::Result<T>
    where
        T: TryFrom<Answer, Error = Strange> + Send + 'static,
    {
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
        let answer: UserAnswer = asked(Arc::new(|_, _| Ok(removed("nobody").into()))).await.unwrap();
        assert!(matches!(answer, UserAnswer::Removed { removed } if removed == "nobody"));
    }

    #[tokio::test]
    async fn an_answer_to_another_question_is_none() {
        let error = asked::<crate::keys::messages::KeyStatus>(Arc::new(|_, _| Ok(removed("nobody").into())))
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("different versions"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_comes_back_in_its_own_words() {
        let error = asked::<UserAnswer>(Arc::new(|_, _| bail!("there is no user `nobody`"))).await.err().unwrap();
        assert_eq!(error.to_string(), "there is no user `nobody`");
    }

    #[tokio::test]
    async fn what_takes_long_tells_how_far_it_is_and_ends_when_nobody_waits_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (ended, end) = std::sync::mpsc::channel();
        let ended = std::sync::Mutex::new(ended);
        let answer: Responder = Arc::new(move |_, progress| {
            while progress(at(1)) {
                std::thread::sleep(Duration::from_millis(1));
            }
            ended.lock().unwrap().send(()).unwrap();
            Ok(removed("nobody").into())
        });
        let server = tokio::spawn(ControlSocket::make(folder.path()).unwrap().serve(answer));
        tokio::task::spawn_blocking(move || {
            let mut stream = through_folder(folder.path(), |path| UnixStream::connect(path)).unwrap();
            stream.write_all(b"\"heal\"\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(line, "{\"progress\":{\"check\":{\"what\":\"steps\",\"done\":1}}}\n");
            end.recv_timeout(SILENCE_MAX).unwrap();
        })
        .await
        .unwrap();
        server.abort();
    }

    #[tokio::test]
    async fn whoever_ends_what_was_asked_for_is_told_how_far_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let answer: Responder = Arc::new(move |_, progress| {
            let mut steps = 0;
            while progress(at(steps)) {
                steps += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            bail!("ended after {steps} steps")
        });
        let server = tokio::spawn(ControlSocket::make(folder.path()).unwrap().serve(answer));
        let ended = tokio::task::spawn_blocking(move || {
            let mut seen = 0;
            let ended = ask_while::<UserAnswer>(folder.path(), &Request::Heal, &mut |far| {
                if let Some(Progress::Check(far)) = far {
                    seen = far.done;
                }
                seen < 10
            });
            (seen, ended.err().unwrap().to_string())
        });
        let (seen, ended) = ended.await.unwrap();
        let steps = ended.strip_prefix("ended after ").and_then(|rest| rest.strip_suffix(" steps")).unwrap();
        assert!(steps.parse::<u64>().unwrap() >= seen, "{ended}, and {seen} were told");
        server.abort();
    }

    #[test]
    fn a_server_that_has_ended_meanwhile_is_said_to_have() {
        let folder = tempfile::tempdir().unwrap();
        let error = ask::<UserAnswer>(folder.path(), &Request::Status).err().unwrap();
        assert!(error.to_string().contains("the server has ended meanwhile"), "{error}");
    }
}
