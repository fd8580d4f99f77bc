//! Layer 7, a door: administration over HTTP, on a listener of its own.
//!
//! | path | answers | needs |
//! |---|---|---|
//! | `/health/live` | 200 while the process runs | nothing |
//! | `/health/ready` | 200 when requests are served as promised, else 503 with the reason | nothing |
//! | `/metrics` | OpenMetrics text, the names of [`metrics`] | the token, unless the peer is on loopback |
//! | `/minio/v2/metrics/cluster`, `.../node`, `/metrics/storage-v2` | the same figures under the names that dashboards for S3 stores ask for | as `/metrics` |
//! | `/minio/health/live`, `/minio/health/ready`, `/minio/health/cluster`, `/metrics/storage-v2/health` | as `/health/live` and `/health/ready` | nothing |
//! | `/v1/status` | what the server knows of itself, JSON | the token |
//!
//! This door knows no other: numbers come in through [`Source`], the status through a closure. It changes nothing.

mod api;
pub mod metrics;
mod peer;
mod render;
mod server;
mod space;

pub use api::{AdminDoor, Readiness, Token};
pub use metrics::{Metric, Samples, Source};
pub use server::serve;
pub use space::SpaceSource;
