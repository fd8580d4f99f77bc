//! Layer 6: the limits that every network door applies to its clients, so that none holds up the others: a minimum pace
//! ([`Pace`]), a limited number of connections ([`Seats`]), a fair share of places or bytes ([`Shares`]), and one budget for bodies
//! ([`Budget`]). [`bridge`] runs calls on threads that may block or keep a core busy. [`listen()`] accepts connections for all doors.
//!
//! The crate knows no protocol: a door refuses in the words of its own protocol. The numbers are the same at every door;
//! `docs/operate/running.md` explains them to operators.

pub mod bridge;
mod budget;
mod linger;
mod listen;
mod pace;
mod seats;
mod shares;
mod stream;

pub use budget::{Budget, Part, Piece};
pub use linger::{LINGER_LEN_MAX, LINGER_TIMEOUT, Linger};
pub use listen::{Ends, Serves, listen};
pub use pace::{Pace, Patience, TooSlow};
pub use seats::{Busy, NoSeat, Seat, Seats, Turn, Working};
pub use shares::{Held, Shares, client};
pub use stream::{PacedStream, Unsent};
