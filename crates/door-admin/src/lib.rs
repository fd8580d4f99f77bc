//! Layer 7, a door: administration over HTTP, on a listener of its own.
//!
//! | path | answers | needs |
//! |---|---|---|
//! | `/health/live` | 200 while the process runs | nothing |
//! | `/health/ready` | 200 when requests are served as promised, else 503 with the reason | nothing |
//! | `/metrics` | OpenMetrics text, the names of [`metrics`] | the token, unless the peer is on loopback |
//! | `/v1/status` | what the server knows of itself, JSON | the token |
//!
//! It knows no other door: numbers come in through [`Source`], the status through a closure. It changes nothing.

mod api;
pub mod metrics;
mod render;
mod space;

pub use api::{AdminDoor, Readiness, Token, serve};
pub use metrics::{Metric, Samples, Source};
pub use space::SpaceSource;
