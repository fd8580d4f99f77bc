//! Other stores as subjects, with their defaults: none of them waits for a disk before it acknowledges a PUT.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Door, Recipe, Subject, WebDav, free_port, listens};
use crate::options::Options;
use crate::report::Role;
use crate::s3;

/// Credentials of the peers' S3 servers, which listen on the loopback for minutes.
const ACCESS_KEY: &str = "benchbenchbench";
const SECRET_KEY: &str = "benchbenchbenchbench";

/// The peer's program, in the folder of the options or in PATH.
pub(super) fn program(peer: Recipe, options: &Options) -> Option<PathBuf> {
    let name = match peer {
        Recipe::SeaweedFs => "weed",
        Recipe::JuiceFs => "juicefs",
        Recipe::Rclone => "rclone",
        Recipe::Reference | Recipe::OwnFileSystem | Recipe::MemoryFuse | Recipe::Strata(_) => return None,
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = vec![options.peers_dir.clone()];
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// Starts a peer with the doors it has of `doors`.
pub(super) async fn start(peer: Recipe, options: &Options, below: &Path, doors: &[Door]) -> Result<Subject> {
    let program = program(peer, options).context("the peer is not installed")?;
    let name = match peer {
        Recipe::SeaweedFs => "seaweedfs",
        Recipe::JuiceFs => "juicefs",
        _ => "rclone",
    };
    let mut subject = Subject::new(name, Role::Peer, below)?;
    std::fs::create_dir_all(&subject.data)?;
    match peer {
        Recipe::SeaweedFs => seaweedfs(&mut subject, &program, doors).await?,
        Recipe::JuiceFs => juicefs(&mut subject, &program, doors).await?,
        _ => rclone(&mut subject, &program, doors).await?,
    }
    Ok(subject)
}

fn endpoint(port: u16) -> s3::Endpoint {
    s3::Endpoint {
        address: format!("127.0.0.1:{port}"),
        region: "us-east-1".to_owned(),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
    }
}

fn dav(port: u16) -> WebDav {
    WebDav { address: format!("127.0.0.1:{port}"), path: "/".to_owned(), login: None }
}

impl Subject {
    async fn until_listening(&mut self, port: u16) -> Result<()> {
        self.until("open port", async |_| listens(&format!("127.0.0.1:{port}")).await).await
    }
}

async fn seaweedfs(subject: &mut Subject, program: &Path, doors: &[Door]) -> Result<()> {
    let config = subject.folder().join("s3.json");
    let identities = serde_json::json!({"identities": [{
        "name": "bench",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    std::fs::write(&config, serde_json::to_vec(&identities)?)?;
    let (master, volume, filer, s3, dav_port) = (free_port()?, free_port()?, free_port()?, free_port()?, free_port()?);
    let mut command = Command::new(program);
    command.current_dir(subject.folder());
    command.arg("server").arg(format!("-dir={}", subject.data.display()));
    command.args(["-ip=127.0.0.1", "-volume.max=100", "-master.volumeSizeLimitMB=1024", "-filer"]);
    command.args([format!("-master.port={master}"), format!("-volume.port={volume}"), format!("-filer.port={filer}")]);
    if doors.contains(&Door::S3) {
        command.arg("-s3").arg(format!("-s3.port={s3}")).arg(format!("-s3.config={}", config.display()));
    }
    if doors.contains(&Door::WebDav) {
        command.arg("-webdav").arg(format!("-webdav.port={dav_port}"));
    }
    subject.spawn(&mut command)?;
    subject.until_listening(filer).await?;
    if doors.contains(&Door::S3) {
        subject.until_listening(s3).await?;
        subject.s3 = Some(endpoint(s3));
    }
    if doors.contains(&Door::WebDav) {
        subject.until_listening(dav_port).await?;
        subject.webdav = Some(dav(dav_port));
    }
    if doors.contains(&Door::Mount) {
        let at = subject.folder().join("mnt");
        std::fs::create_dir_all(&at)?;
        let mut command = Command::new(program);
        command.current_dir(subject.folder()).arg("mount").arg(format!("-dir={}", at.display()));
        command.arg(format!("-filer=127.0.0.1:{filer}"));
        subject.spawn(&mut command)?;
        subject.until_mounted(&at).await?;
    }
    Ok(())
}

async fn juicefs(subject: &mut Subject, program: &Path, doors: &[Door]) -> Result<()> {
    let meta = format!("sqlite3://{}", subject.folder().join("meta.db").display());
    let cache = format!("--cache-dir={}", subject.folder().join("cache").display());
    let formatted = Command::new(program)
        .args(["format", "--storage=file", "--no-update"])
        .arg(format!("--bucket={}/", subject.data.display()))
        .args([&meta, "bench"])
        .output()?;
    ensure!(formatted.status.success(), "JuiceFS made no volume: {}", String::from_utf8_lossy(&formatted.stderr));
    let serve = |what: &str| {
        let mut command = Command::new(program);
        command.args([what, "--no-usage-report", &cache, &meta]);
        command
    };
    if doors.contains(&Door::S3) {
        let port = free_port()?;
        let mut command = serve("gateway");
        command.arg(format!("127.0.0.1:{port}")).arg("--multi-buckets");
        command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY);
        subject.spawn(&mut command)?;
        subject.until_listening(port).await?;
        subject.s3 = Some(endpoint(port));
    }
    if doors.contains(&Door::WebDav) {
        let port = free_port()?;
        subject.spawn(serve("webdav").arg(format!("127.0.0.1:{port}")))?;
        subject.until_listening(port).await?;
        subject.webdav = Some(dav(port));
    }
    if doors.contains(&Door::Mount) {
        let at = subject.folder().join("mnt");
        std::fs::create_dir_all(&at)?;
        subject.spawn(serve("mount").arg(&at))?;
        subject.until_mounted(&at).await?;
    }
    Ok(())
}

async fn rclone(subject: &mut Subject, program: &Path, doors: &[Door]) -> Result<()> {
    let data = subject.data.clone();
    let folder = subject.folder().to_owned();
    let run = |words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).arg(&data);
        command.arg("--config=/dev/null").arg(format!("--cache-dir={}", folder.join("cache").display()));
        command
    };
    if doors.contains(&Door::S3) {
        let port = free_port()?;
        let mut command = run(&["serve", "s3"]);
        command.arg(format!("--addr=127.0.0.1:{port}")).arg(format!("--auth-key={ACCESS_KEY},{SECRET_KEY}"));
        subject.spawn(&mut command)?;
        subject.until_listening(port).await?;
        subject.s3 = Some(endpoint(port));
    }
    if doors.contains(&Door::WebDav) {
        let port = free_port()?;
        subject.spawn(run(&["serve", "webdav"]).arg(format!("--addr=127.0.0.1:{port}")))?;
        subject.until_listening(port).await?;
        subject.webdav = Some(dav(port));
    }
    if doors.contains(&Door::Nfs) {
        let port = free_port()?;
        subject.spawn(run(&["serve", "nfs", "--vfs-cache-mode=full"]).arg(format!("--addr=127.0.0.1:{port}")))?;
        subject.until_listening(port).await?;
        subject.nfs = Some(format!("127.0.0.1:{port}"));
    }
    if doors.contains(&Door::Mount) {
        let at = subject.folder().join("mnt");
        std::fs::create_dir_all(&at)?;
        subject.spawn(run(&["mount", "--vfs-cache-mode=full"]).arg(&at))?;
        subject.until_mounted(&at).await?;
    }
    Ok(())
}
