//! What commands print; first of all the table of doors, and for each door a command to paste.

use std::io::Write;
use std::path::Path;

use comfy_table::{Cell, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::config::Config;
use crate::doors_file::Doors;

/// Printed in place of a secret that is not shown.
const SECRET: &str = "SECRET";

/// The table and the commands; with secrets only for an operator's terminal: anything else is a log, such as systemd's.
pub(crate) fn greeting(config: &Config, doors: &Doors, with_secrets: bool) -> String {
    let secret = |text: &str| if with_secrets { text.to_owned() } else { SECRET.to_owned() };
    let mut table = plain_table(&["door", "address", "user", "secret"]);
    let mut commands: Vec<(&str, String)> = Vec::new();
    if let Some(s3) = &doors.s3 {
        table.add_row([
            Cell::new("s3"),
            Cell::new(&s3.endpoint),
            Cell::new(&s3.access_key),
            Cell::new(secret(&s3.secret_key)),
        ]);
        commands.push((
            "s3: make a bucket and put a file into it",
            format!(
                "export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={} AWS_DEFAULT_REGION={}\n  \
                 aws --endpoint-url {endpoint} s3 mb s3://demo && aws --endpoint-url {endpoint} s3 cp README.md s3://demo/",
                s3.access_key,
                secret(&s3.secret_key),
                s3.region,
                endpoint = s3.endpoint
            ),
        ));
    }
    if let Some(dav) = &doors.webdav {
        table.add_row([
            Cell::new("webdav"),
            Cell::new(&dav.url),
            Cell::new(&dav.user),
            Cell::new(secret(&dav.password)),
        ]);
        commands.push((
            "webdav: list the buckets",
            format!("curl -u {}:{} -X PROPFIND -H 'Depth: 1' {}", dav.user, secret(&dav.password), dav.url),
        ));
    }
    if let Some(nfs) = &doors.nfs {
        let address = format!("{}:{} ({}:{} for MOUNT)", nfs.host, nfs.port, nfs.host, nfs.mount_port);
        table.add_row([Cell::new("nfs"), Cell::new(address), Cell::new("uid of the client"), Cell::new("-")]);
        commands.push((
            "nfs: list the buckets without mounting, or mount",
            format!(
                "nfs-ls 'nfs://{host}{export}?nfsport={port}&mountport={mount_port}'\n  \
                 sudo mount -t nfs -o vers=3,tcp,{nolock}port={port},mountport={mount_port} {host}:{export} /mnt",
                host = nfs.host,
                port = nfs.port,
                mount_port = nfs.mount_port,
                // Without the portmapper clients do not find the port of locks.
                nolock = if nfs.portmap { "" } else { "nolock," },
                export = nfs.export
            ),
        ));
    }
    if let Some(mount) = &doors.mount {
        let path = mount.path.display().to_string();
        table.add_row([Cell::new("mount"), Cell::new(&path), Cell::new("uid of the process"), Cell::new("-")]);
        commands.push((
            "mount: a bucket is a folder",
            format!(
                "mkdir -p {quoted}/demo && cp README.md {quoted}/demo/ && ls -l {quoted}/demo",
                quoted = quote(&path)
            ),
        ));
    }
    if let Some(admin) = &doors.admin {
        table.add_row([Cell::new("admin"), Cell::new(&admin.url), Cell::new("token"), Cell::new("in admin.token")]);
        commands.push((
            "admin: is it well, and what does it do",
            format!("curl {0}/health/ready; curl {0}/metrics", admin.url),
        ));
    }
    let layout = config.store.layout;
    let shape = match config.store.disks.len() == usize::from(layout.data + layout.parity) {
        true => format!("a {layout} set"),
        false => "several sets".to_owned(),
    };
    let mut text = format!(
        "strata serves {} as {shape}, {}\n\n{table}\n",
        config.store.data.display(),
        config.store.durability.word(),
    );
    for (title, command) in commands {
        text.push_str(&format!("\n{title}\n  {command}\n"));
    }
    let file = shown(&crate::doors_file::path(&config.store.data));
    text.push_str(&match with_secrets {
        true => format!("\nThe same for scripts: {file}. Ctrl-C stops the server.\n"),
        false => format!("\nThe same with the secrets: {file}. They are shown here only on a terminal.\n"),
    });
    text
}

/// Writes to standard output. That nobody reads it any more is no reason to fail, let alone to stop serving.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes what is shown as JSON, for programs.
///
/// # Errors
/// It cannot be put into JSON.
pub(crate) fn say_json(shown: &impl Serialize) -> anyhow::Result<()> {
    say(&format!("{}\n", serde_json::to_string_pretty(shown)?));
    Ok(())
}

/// A table that looks right on every terminal and in a file.
pub(crate) fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The path as one word of a shell.
fn quote(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_and_quotes_stays_one_word() {
        assert_eq!(quote("/srv/data-1"), "/srv/data-1");
        assert_eq!(quote("/my files/it's"), "'/my files/it'\\''s'");
    }
}
