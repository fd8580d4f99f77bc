//! File handles: what a client holds instead of a path.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 3 | zero |
//! | 4 | 4 | export id, big-endian: hash of the exported path |
//! | 8 | 16 | store id |
//! | 24 | 8 | inode number, big-endian |
//! | 32 | 16 | MAC: keyed BLAKE3 of bytes 0 to 31, truncated |
//!
//! A handle holds nothing that changes with a restart, so clients keep theirs. The MAC makes handles unguessable: one
//! is only had from this door, which gives it to those who may look the file up under that export. Inode numbers are
//! never used twice, so no generation number is needed; a handle whose inode is gone is stale.

use strata_seam::Ino;

use crate::export::ExportId;

const VERSION: u8 = 1;
const MAC_AT: usize = 32;
/// Bytes of a handle; the protocol allows 64.
pub(crate) const HANDLE_LEN: usize = 48;
const _: () = assert!(HANDLE_LEN <= nfsserve::nfs::NFS3_FHSIZE as usize && HANDLE_LEN.is_multiple_of(4));

/// What a handle says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Handle {
    pub(crate) export: ExportId,
    pub(crate) ino: Ino,
}

/// Why a handle is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HandleError {
    /// Not made by a door with this secret.
    Bad,
    /// Made for another store.
    OtherStore,
}

/// Makes and checks handles of one store.
pub(crate) struct HandleCodec {
    key: [u8; 32],
    store: [u8; 16],
}

impl HandleCodec {
    pub(crate) fn new(secret: &[u8; 32], store: [u8; 16]) -> Self {
        Self { key: blake3::derive_key("strata nfs file handle mac v1", secret), store }
    }

    pub(crate) fn encode(&self, handle: Handle) -> [u8; HANDLE_LEN] {
        let mut bytes = [0; HANDLE_LEN];
        bytes[0] = VERSION;
        bytes[4..8].copy_from_slice(&handle.export.0.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.store);
        bytes[24..MAC_AT].copy_from_slice(&handle.ino.0.to_be_bytes());
        let mac = self.mac(&bytes[..MAC_AT]);
        bytes[MAC_AT..].copy_from_slice(&mac);
        bytes
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Handle, HandleError> {
        let bytes: &[u8; HANDLE_LEN] = bytes.try_into().map_err(|_| HandleError::Bad)?;
        let (content, mac) = bytes.split_at(MAC_AT);
        // All bytes are compared whatever the first difference, so that time tells nothing about the right MAC.
        let difference = self.mac(content).iter().zip(mac).fold(0, |seen, (ours, theirs)| seen | (ours ^ theirs));
        if difference != 0 || content[..4] != [VERSION, 0, 0, 0] {
            return Err(HandleError::Bad);
        }
        if content[8..24] != self.store {
            return Err(HandleError::OtherStore);
        }
        let [_, _, _, _, e0, e1, e2, e3, ..] = *bytes;
        let mut ino = [0; 8];
        ino.copy_from_slice(&bytes[24..MAC_AT]);
        Ok(Handle { export: ExportId(u32::from_be_bytes([e0, e1, e2, e3])), ino: Ino(u64::from_be_bytes(ino)) })
    }

    fn mac(&self, content: &[u8]) -> [u8; HANDLE_LEN - MAC_AT] {
        let mut mac = [0; HANDLE_LEN - MAC_AT];
        mac.copy_from_slice(&blake3::keyed_hash(&self.key, content).as_bytes()[..HANDLE_LEN - MAC_AT]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];
    const STORE: [u8; 16] = [3; 16];

    fn handle() -> Handle {
        Handle { export: ExportId(0x0102_0304), ino: Ino(0x1122_3344_5566_7788) }
    }

    #[test]
    fn the_layout_stays_as_documented() {
        let bytes = HandleCodec::new(&SECRET, STORE).encode(handle());
        assert_eq!(&bytes[..8], &[1, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(&bytes[8..24], &STORE);
        assert_eq!(&bytes[24..32], &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    }

    #[test]
    fn a_handle_survives_a_restart_with_the_same_secret() {
        let bytes = HandleCodec::new(&SECRET, STORE).encode(handle());
        assert_eq!(HandleCodec::new(&SECRET, STORE).decode(&bytes), Ok(handle()));
    }

    #[test]
    fn a_handle_of_another_secret_is_bad_and_of_another_store_is_stale() {
        let bytes = HandleCodec::new(&SECRET, STORE).encode(handle());
        assert_eq!(HandleCodec::new(&[8; 32], STORE).decode(&bytes), Err(HandleError::Bad));
        assert_eq!(HandleCodec::new(&SECRET, [4; 16]).decode(&bytes), Err(HandleError::OtherStore));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let codec = HandleCodec::new(&SECRET, STORE);
        let bytes = codec.encode(handle());
        for bit in 0..HANDLE_LEN * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(codec.decode(&changed), Err(HandleError::Bad), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn guesses_fail(bytes in proptest::collection::vec(any::<u8>(), 0..65)) {
            prop_assert_eq!(HandleCodec::new(&SECRET, STORE).decode(&bytes), Err(HandleError::Bad));
        }

        #[test]
        fn what_is_encoded_is_decoded(export in any::<u32>(), ino in any::<u64>()) {
            let codec = HandleCodec::new(&SECRET, STORE);
            let handle = Handle { export: ExportId(export), ino: Ino(ino) };
            prop_assert_eq!(codec.decode(&codec.encode(handle)), Ok(handle));
        }
    }
}
