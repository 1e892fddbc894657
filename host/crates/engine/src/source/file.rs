//! Files and standard input.

use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Body, Cause};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

pub(super) async fn read(path: &Path, body: &mut Body<'_>) -> Result<(), Cause> {
    let file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    if metadata.is_dir() {
        return Err(Cause::Folder);
    }
    // Zero for a pipe or a device, whose size shows only in reading.
    body.expect(metadata.len())?;
    read_all(file, body).await
}

pub(super) async fn read_stdin(body: &mut Body<'_>) -> Result<(), Cause> {
    read_all(tokio::io::stdin(), body).await
}

async fn read_all(mut reader: impl AsyncRead + Unpin, body: &mut Body<'_>) -> Result<(), Cause> {
    let mut chunk = Vec::with_capacity(CHUNK);
    while reader.read_buf(&mut chunk).await? > 0 {
        body.push(&chunk)?;
        chunk.clear();
    }
    Ok(())
}
