//! How many shards of a stripe hold data and how many parity.

use std::fmt;

use super::error::ConfigError;

/// Most disks of one erasure set: 16 with data and 4 with parity.
pub(crate) const DISKS_MAX: u8 = 20;
/// Most disks with data in one set.
const DATA_MAX: u8 = 16;
/// Most disks one set may be able to lose.
const PARITY_MAX: u8 = 4;

/// Shards per stripe; one disk for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Disks that hold data.
    pub(crate) data: u8,
    /// Disks that may be lost.
    pub(crate) parity: u8,
}

impl Layout {
    /// The layout for so many disks: the asked parity, or the customary one (1+0, 1+1, 2+1, 2+2, 3+2, 4+2, up to 16+4).
    ///
    /// # Errors
    /// No disks, too many, or a parity that leaves no layout.
    pub(crate) fn for_disks(disks: u8, parity: Option<u8>) -> Result<Self, ConfigError> {
        if disks == 0 || disks > DISKS_MAX {
            return Err(ConfigError(format!("a set has 1 to {DISKS_MAX} disks, not {disks}")));
        }
        let parity = parity.unwrap_or(match disks {
            1 => 0,
            2..=3 => 1,
            4..=8 => 2,
            9..=13 => 3,
            _ => PARITY_MAX,
        });
        if parity >= disks {
            return Err(ConfigError(format!(
                "parity {parity} with {disks} {}: at least one disk must hold data, so parity is at most {}",
                if disks == 1 { "disk" } else { "disks" },
                disks - 1
            )));
        }
        if parity > PARITY_MAX {
            return Err(ConfigError(format!("parity {parity} is more than the {PARITY_MAX} that a set can have")));
        }
        let data = disks - parity;
        if data > DATA_MAX {
            return Err(ConfigError(format!(
                "{disks} disks with parity {parity} leave {data} for data, more than the {DATA_MAX} that a set can \
                 have; use parity {} or fewer disks",
                disks - DATA_MAX
            )));
        }
        Ok(Self { data, parity })
    }
}

impl std::str::FromStr for Layout {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parts = text.split_once('+').and_then(|(data, parity)| Some((data.parse().ok()?, parity.parse().ok()?)));
        let Some((data, parity)) = parts else {
            return Err(ConfigError(format!("`{text}` is no layout; one is written as in 4+2")));
        };
        let data: u8 = data;
        match data {
            0 => Err(ConfigError("a layout has at least one disk with data".to_owned())),
            _ => Self::for_disks(data.saturating_add(parity), Some(parity)),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_disks_gives_the_customary_layout() {
        for (disks, layout) in [
            (1, "1+0"),
            (2, "1+1"),
            (3, "2+1"),
            (4, "2+2"),
            (5, "3+2"),
            (6, "4+2"),
            (8, "6+2"),
            (12, "9+3"),
            (20, "16+4"),
        ] {
            assert_eq!(Layout::for_disks(disks, None).unwrap().to_string(), layout);
        }
    }

    #[test]
    fn every_number_of_disks_up_to_the_limit_has_a_layout() {
        for disks in 1..=DISKS_MAX {
            let layout = Layout::for_disks(disks, None).unwrap();
            assert_eq!(layout.data + layout.parity, disks);
        }
    }

    #[test]
    fn a_layout_is_read_as_it_is_shown() {
        for text in ["1+0", "1+1", "4+2", "16+4"] {
            assert_eq!(text.parse::<Layout>().unwrap().to_string(), text);
        }
        for text in ["", "4", "4+", "0+2", "4-2", "17+4", "2+5", "300+1", "4+2+1"] {
            assert!(text.parse::<Layout>().is_err(), "{text}");
        }
    }

    #[test]
    fn layouts_that_cannot_be_are_refused_with_what_can() {
        for (disks, parity, expected) in [
            (0, None, "1 to 20 disks"),
            (21, None, "1 to 20 disks"),
            (1, Some(1), "parity is at most 0"),
            (6, Some(6), "parity is at most 5"),
            (12, Some(5), "more than the 4"),
            (20, Some(2), "use parity 4"),
        ] {
            let ConfigError(what) = Layout::for_disks(disks, parity).unwrap_err();
            assert!(what.contains(expected), "{what}");
        }
    }
}
