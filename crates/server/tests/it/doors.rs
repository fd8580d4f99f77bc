//! All doors behind one interface, each used by its own protocol.

use std::os::unix::fs::MetadataExt;

use crate::drive::Drive;
use crate::nfs::{self, Nfs};
use crate::s3::S3;
use crate::server::{Server, can_mount};
use crate::webdav::WebDav;

/// What a door shows of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    /// Seconds since 1970: the finest that every protocol can tell.
    pub(crate) mtime_secs: u64,
    /// Without quotes; only where the protocol has one.
    pub(crate) etag: Option<String>,
}

/// A way into the store. Paths are `/bucket/dir/file`. Where a protocol has no such operation, the answer is `false`.
pub(crate) trait Door {
    fn name(&self) -> &'static str;
    fn put(&self, path: &str, data: &[u8]);
    /// `None` where there is no such file.
    fn get(&self, path: &str) -> Option<Vec<u8>>;
    fn look(&self, path: &str) -> Option<Seen>;
    fn remove(&self, path: &str);
    fn rename(&self, from: &str, to: &str) -> bool;
    fn truncate(&self, path: &str, len: u64) -> bool;
    fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> bool;
    /// Makes a directory; `false` where the protocol has none.
    fn mkdir(&self, path: &str) -> bool;
}

/// Every door of a server that is open.
pub(crate) fn all(server: &Server<'_>) -> Vec<Box<dyn Door>> {
    let mut doors: Vec<Box<dyn Door>> =
        vec![Box::new(S3::of(server)), Box::new(WebDav::of(server)), Box::new(Nfs::of(server))];
    if !server.doors["mount"].is_null() {
        doors.push(Box::new(Drive(server.door("mount", "path").into())));
    } else {
        assert!(!can_mount(), "the drive is missing where it could be mounted");
    }
    doors
}

fn http_date_secs(text: &str) -> u64 {
    // "Sun, 06 Nov 1994 08:49:37 GMT", RFC 9110.
    let parts: Vec<&str> = text.split(' ').collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|month| *month == parts[2]).expect("a month") as u64 + 1;
    let (day, year): (u64, u64) = (parts[1].parse().unwrap(), parts[3].parse().unwrap());
    let time: Vec<u64> = parts[4].split(':').map(|part| part.parse().unwrap()).collect();
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, yoe) = (y / 400, y % 400);
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * m + 2) / 5 + day - 1;
    (era * 146_097 + doe - 719_468) * 86_400 + time[0] * 3600 + time[1] * 60 + time[2]
}

fn seen(answer: &crate::http::Answer) -> Option<Seen> {
    match answer.status {
        404 => None,
        200 => Some(Seen {
            size: answer.header("content-length").expect("a length").parse().unwrap(),
            mtime_secs: http_date_secs(answer.header("last-modified").expect("a time")),
            etag: answer.header("etag").map(|etag| etag.trim_matches('"').to_owned()),
        }),
        status => panic!("HEAD answered {status}"),
    }
}

fn expect(answer: &crate::http::Answer, wanted: &[u16], what: &str) {
    assert!(wanted.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
}

impl Door for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }
    fn put(&self, path: &str, data: &[u8]) {
        expect(&self.send("PUT", path, "", &[], data), &[200], path);
    }
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let answer = self.send("GET", path, "", &[], b"");
        expect(&answer, &[200, 404], path);
        (answer.status == 200).then_some(answer.body)
    }
    fn look(&self, path: &str) -> Option<Seen> {
        seen(&self.send("HEAD", path, "", &[], b""))
    }
    fn remove(&self, path: &str) {
        expect(&self.send("DELETE", path, "", &[], b""), &[204], path);
    }
    fn rename(&self, from: &str, to: &str) -> bool {
        let source = crate::http::encode_path(from);
        expect(&self.send("PUT", to, "", &[("x-amz-copy-source", &source)], b""), &[200], to);
        self.remove(from);
        true
    }
    fn truncate(&self, _path: &str, _len: u64) -> bool {
        false
    }
    fn write_at(&self, _path: &str, _offset: u64, _data: &[u8]) -> bool {
        false
    }
    fn mkdir(&self, path: &str) -> bool {
        expect(&self.send("PUT", &format!("{path}/"), "", &[], b""), &[200], path);
        true
    }
}

impl Door for WebDav {
    fn name(&self) -> &'static str {
        "webdav"
    }
    fn put(&self, path: &str, data: &[u8]) {
        expect(&self.send("PUT", path, &[], data), &[201, 204], path);
    }
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let answer = self.send("GET", path, &[], b"");
        expect(&answer, &[200, 404], path);
        (answer.status == 200).then_some(answer.body)
    }
    fn look(&self, path: &str) -> Option<Seen> {
        seen(&self.send("HEAD", path, &[], b""))
    }
    fn remove(&self, path: &str) {
        expect(&self.send("DELETE", path, &[], b""), &[204], path);
    }
    fn rename(&self, from: &str, to: &str) -> bool {
        let destination = self.destination(to);
        expect(&self.send("MOVE", from, &[("destination", &destination)], b""), &[201, 204], from);
        true
    }
    fn truncate(&self, _path: &str, _len: u64) -> bool {
        false
    }
    fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> bool {
        let range = format!("bytes {offset}-{}/*", offset + data.len() as u64 - 1);
        expect(&self.send("PUT", path, &[("content-range", &range)], data), &[200, 201, 204], path);
        true
    }
    fn mkdir(&self, path: &str) -> bool {
        expect(&self.send("MKCOL", path, &[], b""), &[201], path);
        true
    }
}

impl Door for Nfs {
    fn name(&self) -> &'static str {
        "nfs"
    }
    fn put(&self, path: &str, data: &[u8]) {
        Nfs::put(self, path, data).unwrap_or_else(|status| panic!("nfs writes {path}: status {status}"));
    }
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        match self.read(path) {
            Ok(data) => Some(data),
            Err(nfs::NOENT) => None,
            Err(status) => panic!("nfs reads {path}: status {status}"),
        }
    }
    fn look(&self, path: &str) -> Option<Seen> {
        match self.lookup(path).and_then(|file| self.getattr(&file)) {
            Ok(attr) => Some(Seen { size: attr.size, mtime_secs: attr.mtime_secs, etag: None }),
            Err(nfs::NOENT) => None,
            Err(status) => panic!("nfs looks at {path}: status {status}"),
        }
    }
    fn remove(&self, path: &str) {
        Nfs::remove(self, path).unwrap_or_else(|status| panic!("nfs removes {path}: status {status}"));
    }
    fn rename(&self, from: &str, to: &str) -> bool {
        Nfs::rename(self, from, to).unwrap_or_else(|status| panic!("nfs renames {from}: status {status}"));
        true
    }
    fn truncate(&self, path: &str, len: u64) -> bool {
        Nfs::truncate(self, path, len).unwrap_or_else(|status| panic!("nfs truncates {path}: status {status}"));
        true
    }
    fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> bool {
        let file = self.lookup(path).unwrap_or_else(|status| panic!("nfs finds {path}: status {status}"));
        Nfs::write_at(self, &file, offset, data).unwrap_or_else(|status| panic!("nfs writes {path}: status {status}"));
        true
    }
    fn mkdir(&self, path: &str) -> bool {
        Nfs::mkdir(self, path).unwrap_or_else(|status| panic!("nfs makes {path}: status {status}"));
        true
    }
}

impl Door for Drive {
    fn name(&self) -> &'static str {
        "drive"
    }
    fn put(&self, path: &str, data: &[u8]) {
        Drive::put(self, path, data).unwrap_or_else(|error| panic!("the drive writes {path}: {error}"));
    }
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        match std::fs::read(self.at(path)) {
            Ok(data) => Some(data),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("the drive reads {path}: {error}"),
        }
    }
    fn look(&self, path: &str) -> Option<Seen> {
        match std::fs::metadata(self.at(path)) {
            Ok(found) => {
                Some(Seen { size: found.len(), mtime_secs: u64::try_from(found.mtime()).unwrap(), etag: None })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("the drive looks at {path}: {error}"),
        }
    }
    fn remove(&self, path: &str) {
        std::fs::remove_file(self.at(path)).unwrap_or_else(|error| panic!("the drive removes {path}: {error}"));
    }
    fn rename(&self, from: &str, to: &str) -> bool {
        std::fs::rename(self.at(from), self.at(to)).unwrap_or_else(|error| panic!("the drive renames {from}: {error}"));
        true
    }
    fn truncate(&self, path: &str, len: u64) -> bool {
        let file = std::fs::File::options().write(true).open(self.at(path)).unwrap();
        file.set_len(len).and_then(|()| file.sync_all()).unwrap();
        true
    }
    fn write_at(&self, path: &str, offset: u64, data: &[u8]) -> bool {
        Drive::write_at(&self.at(path), offset, data)
            .unwrap_or_else(|error| panic!("the drive writes {path}: {error}"));
        true
    }
    fn mkdir(&self, path: &str) -> bool {
        std::fs::create_dir(self.at(path)).unwrap_or_else(|error| panic!("the drive makes {path}: {error}"));
        true
    }
}

#[test]
fn times_of_http_are_understood() {
    assert_eq!(http_date_secs("Sun, 06 Nov 1994 08:49:37 GMT"), 784_111_777);
}
