//! The list of mounts that clients have reported. It decides nothing, is bounded, and may be lost.

use std::collections::VecDeque;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Which clients mounted what, as they reported it.
pub(crate) struct MountList {
    max: usize,
    entries: Mutex<VecDeque<(IpAddr, Vec<u8>)>>,
}

impl MountList {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, entries: Mutex::default() }
    }

    pub(crate) fn add(&self, client: IpAddr, path: &[u8]) {
        let mut entries = self.entries.lock();
        entries.retain(|(other, known)| *other != client || known != path);
        entries.push_back((client, path.to_vec()));
        while entries.len() > self.max {
            entries.pop_front();
        }
    }

    pub(crate) fn remove(&self, client: IpAddr, path: Option<&[u8]>) {
        self.entries.lock().retain(|(other, known)| *other != client || path.is_some_and(|path| path != known));
    }

    /// What this client mounted, the oldest first.
    pub(crate) fn of(&self, client: IpAddr) -> Vec<Vec<u8>> {
        let entries = self.entries.lock();
        entries.iter().filter(|(address, _)| *address == client).map(|(_, path)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_list_is_bounded_and_holds_each_mount_once() {
        let list = MountList::new(3);
        let client: IpAddr = "10.0.0.1".parse().unwrap();
        for path in [b"/a", b"/a", b"/b", b"/c", b"/d"] {
            list.add(client, path);
        }
        let paths = || list.entries.lock().iter().map(|(_, path)| path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(), [b"/b", b"/c", b"/d"]);
        list.remove("10.0.0.2".parse().unwrap(), None);
        list.remove(client, Some(b"/c"));
        assert_eq!(paths(), [b"/b", b"/d"]);
        list.remove(client, None);
        assert!(paths().is_empty());
    }
}
