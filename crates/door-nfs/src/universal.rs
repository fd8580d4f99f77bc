//! Universal addresses (RFC 5665, section 5.2.3): an address with a port as rpcbind's callers write them, `192.0.2.1.8.1` and
//! `2001:db8::1.8.1` for port 2049; and the names of transports that go with them (`tcp`, `udp6`).

use std::net::IpAddr;

/// The number of a protocol of the internet: TCP.
pub(crate) const TCP: u32 = 6;
/// UDP.
pub(crate) const UDP: u32 = 17;

/// The name of a transport (`netid`) over addresses of this kind.
pub(crate) fn netid(protocol: u32, address: IpAddr) -> &'static str {
    match (protocol == UDP, address.is_ipv6()) {
        (false, false) => "tcp",
        (false, true) => "tcp6",
        (true, false) => "udp",
        (true, true) => "udp6",
    }
}

/// An address with a port.
pub(crate) fn universal(address: IpAddr, port: u16) -> String {
    format!("{address}.{}.{}", port >> 8, port & 0xff)
}

/// The port of a universal address; `None` for what is none, the empty one too, which says that there is no such address. What stands before
/// the port is not looked at: the caller knows which host it asked.
pub(crate) fn port_of(universal: &[u8]) -> Option<u16> {
    let mut parts = std::str::from_utf8(universal).ok()?.rsplitn(3, '.');
    let mut byte = || parts.next().filter(|part| part.bytes().all(|digit| digit.is_ascii_digit()))?.parse::<u8>().ok();
    let (low, high) = (byte()?, byte()?);
    parts.next().filter(|host| !host.is_empty())?;
    Some(u16::from(high) << 8 | u16::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_written_as_rpcbind_writes_them() {
        let of = |text: &str, port| universal(text.parse().unwrap(), port);
        assert_eq!(of("192.0.2.1", 2049), "192.0.2.1.8.1");
        assert_eq!(of("2001:db8::1", 111), "2001:db8::1.0.111");
        assert_eq!(of("::", 65_535), "::.255.255");
        for text in ["", ".", "..", "8.1", "::1", "::1.8", "::1.256.1", "::1.+8.1", "::1..1", "::1.8.1 ", "::1.8.-1"] {
            assert_eq!(port_of(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_port_reads_back(address: u128, old: u32, port: u16) {
            prop_assert_eq!(port_of(universal(IpAddr::V6(address.into()), port).as_bytes()), Some(port));
            prop_assert_eq!(port_of(universal(IpAddr::V4(old.into()), port).as_bytes()), Some(port));
        }

        #[test]
        fn no_bytes_whatever_make_reading_panic(bytes: Vec<u8>, text in "[0-9.:a-f]{0,20}") {
            let _ = port_of(&bytes);
            let _ = port_of(text.as_bytes());
        }
    }
}
