//! S3 PUT and GET: sizes by clients by kind of data.

use anyhow::Result;

use crate::content::{Kind, Source};
use crate::s3::Client;
use crate::subject::{Door, Subject};
use crate::suite::{Bench, objects};

/// The bucket of this suite.
const BUCKET: &str = "bench";

impl objects::ObjectClient for Client {
    const DOOR: Door = Door::S3;

    fn open(subject: &Subject) -> Result<Self> {
        subject.s3_client()
    }

    async fn prepare(&mut self) -> Result<()> {
        self.make_bucket(BUCKET).await
    }

    fn prefix(&self) -> String {
        format!("/{BUCKET}/")
    }

    async fn put(&mut self, path: &str, source: &mut Source, bytes: u64) -> Result<()> {
        Self::put(self, path, source, bytes).await
    }

    async fn get(&mut self, path: &str, bytes: u64, keep: Option<&mut Vec<u8>>) -> Result<()> {
        Self::get(self, path, bytes, keep).await
    }
}

/// Runs the suite.
///
/// # Errors
/// As [`objects::run`].
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let (small, large) = ([4 << 10], [1 << 20, 16 << 20]);
    let mut lines = Vec::new();
    // Small bodies cost the same whatever is in them.
    lines.extend(objects::lines(&small, &[1, 8, 32], &[Kind::Random]));
    if !bench.options.quick {
        lines.extend(objects::lines(&[128 << 10], &[1, 8, 32], &[Kind::Random, Kind::Text]));
    }
    lines.extend(objects::lines(&large, &[1, 8, 32], &[Kind::Random, Kind::Text]));
    if !bench.options.quick {
        lines.extend(objects::lines(&[256 << 20], &[1, 8, 32], &[Kind::Random, Kind::Text]));
    }
    lines.push(objects::same_again());
    objects::run::<Client>(bench, "s3", &lines).await?;
    Ok(())
}
