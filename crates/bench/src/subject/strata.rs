//! StrataFS as a subject: the program as its users start it, found through the doors.json it writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Door, Subject, WebDav};
use crate::options::{Durability, Options};
use crate::report::Role;
use crate::s3;

/// The program to measure.
pub(crate) fn program(options: &Options) -> Result<PathBuf> {
    let program = match &options.strata {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("strata"),
    };
    ensure!(
        program.is_file(),
        "{} is not there: build it with `cargo build --release -p strata-server`, or name it with --strata",
        program.display()
    );
    Ok(program)
}

/// Starts a new store and waits for all its doors.
pub(super) async fn start(options: &Options, below: &Path, doors: &[Door], durability: Durability) -> Result<Subject> {
    let mut subject = Subject::new(&format!("strata {}", durability.word()), Role::Ours, below)?;
    subject.index_engine = options.index_engine.first().cloned();
    subject.serve(options, doors, durability)?;
    subject.doors_open(doors).await?;
    Ok(subject)
}

/// Has the running server at `data` give back what is not wanted and pack what was committed in small pieces.
///
/// # Errors
/// What the command says.
pub(crate) fn reclaim(options: &Options, data: &Path) -> Result<()> {
    let done = Command::new(program(options)?).arg("reclaim").arg("--wait").arg("--data").arg(data).output()?;
    ensure!(done.status.success(), "strata reclaim: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Checks the store at `data`, beside its server or at rest.
///
/// # Errors
/// What the check says, if it finds anything.
pub(crate) fn fsck(options: &Options, data: &Path) -> Result<()> {
    let done = Command::new(program(options)?).arg("fsck").arg("--json").arg("--data").arg(data).output()?;
    let said = [done.stdout, done.stderr].concat();
    ensure!(done.status.success(), "strata fsck: {}", String::from_utf8_lossy(&said));
    Ok(())
}

/// What `strata status` says of the running server at `data`.
///
/// # Errors
/// What the command says.
pub(crate) fn status(options: &Options, data: &Path) -> Result<Value> {
    let said = Command::new(program(options)?).arg("status").arg("--json").arg("--data").arg(data).output()?;
    ensure!(said.status.success(), "strata status: {}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).context("strata status --json is not JSON")
}

impl Subject {
    /// `host:port` of the admin door, and the token it asks for.
    ///
    /// # Errors
    /// That the server has none.
    pub(crate) fn admin(&self) -> Result<(String, String)> {
        let doors: Value = serde_json::from_slice(&std::fs::read(self.data.join("doors.json"))?)?;
        let url = doors["admin"]["url"].as_str().context("doors.json has no admin.url")?;
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let token = std::fs::read_to_string(self.data.join("admin.token")).context("the token of the admin door")?;
        Ok((address, token.trim().to_owned()))
    }

    fn serve(&mut self, options: &Options, doors: &[Door], durability: Durability) -> Result<()> {
        let mut command = Command::new(program(options)?);
        command.arg("serve").arg("--data").arg(&self.data);
        command.args(["--disks", &options.layout.disks().to_string(), "--ports", "auto"]);
        command.args(["--durability", durability.word()]);
        if let Some(engine) = &self.index_engine {
            command.args(["--index-engine", engine]);
        }
        if doors.contains(&Door::Mount) {
            let at = self.folder().join("mnt");
            command.arg("--mount").arg(&at);
            self.mounted_at = vec![at];
        }
        self.spawn(&mut command)
    }

    async fn doors_open(&mut self, doors: &[Door]) -> Result<()> {
        let file = self.data.join("doors.json");
        self.until("doors.json", async |_| file.exists()).await?;
        let found: Value = serde_json::from_slice(&std::fs::read(&file)?).context("doors.json is not JSON")?;
        let text = |door: &str, field: &str| -> Result<String> {
            let value = found[door][field].as_str();
            Ok(value.with_context(|| format!("doors.json has no {door}.{field}"))?.to_owned())
        };
        let address = |url: String| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        for door in doors {
            match door {
                Door::S3 => {
                    self.s3 = Some(s3::Endpoint {
                        address: address(text("s3", "endpoint")?),
                        region: text("s3", "region")?,
                        access_key: text("s3", "access_key")?,
                        secret_key: text("s3", "secret_key")?,
                    });
                }
                Door::WebDav => {
                    self.webdav = Some(WebDav {
                        address: address(text("webdav", "url")?),
                        path: "/bench/".to_owned(),
                        login: Some((text("webdav", "user")?, text("webdav", "password")?)),
                    });
                }
                Door::Mount => {
                    let bucket = PathBuf::from(text("mount", "path")?).join("bench");
                    std::fs::create_dir_all(&bucket)?;
                    self.mount = Some(bucket);
                }
                Door::Nfs => {
                    let port = found["nfs"]["port"].as_u64().context("doors.json has no nfs.port")?;
                    self.nfs = Some(format!("{}:{port}", text("nfs", "host")?));
                }
            }
        }
        Ok(())
    }

    /// Starts the server again on the data it left, killed or ended, and waits until it answers.
    pub(crate) async fn start_again(&mut self, options: &Options, doors: &[Door]) -> Result<()> {
        // What the dead server left there would be taken for the word of the new one.
        let stale = self.data.join("doors.json");
        if stale.exists() {
            std::fs::remove_file(stale)?;
        }
        self.serve(options, doors, options.durability)?;
        self.doors_open(doors).await
    }
}
