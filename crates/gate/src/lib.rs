//! Layer 6: what every network door asks of whoever comes through it, so that nobody holds up the others: a pace
//! ([`Pace`]), a seat among few ([`Seats`]), a share of what there is ([`Shares`]), and answers within one budget
//! ([`Budget`]). [`bridge`] takes calls over to threads that may wait or work. [`listen`] takes connections in for all of them.
//!
//! It knows no protocol: a door says in its own words what was refused. The numbers are the same at every door and stand
//! in docs/operate/running.md.

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
