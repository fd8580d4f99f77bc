//! Where a door listens: an address and port, or nowhere.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// The address of a door, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Listen {
    /// The door stays shut.
    Off,
    /// The door listens there; port 0 takes any free port.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        numeric.parse().map(Self::At).map_err(|_| {
            format!("`{text}` is not an address; write IP:PORT, such as 127.0.0.1:9000 or [::1]:9000, or `off`")
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_its_port_and_off_closes_the_door() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("localhost:80".parse(), Ok(Listen::At(([127, 0, 0, 1], 80).into())));
        for text in ["[::1]:9000", "0.0.0.0:0", "127.0.0.1:9000"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "9000", "127.0.0.1", "127.0.0.1:99999", "example:9000"] {
            assert!(text.parse::<Listen>().unwrap_err().contains("such as 127.0.0.1:9000"));
        }
    }
}
