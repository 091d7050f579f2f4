//! What this program is: work that another one left half done is not gone on with.

use std::fs;

use anyhow::{Context as _, Result};

/// The version of this program and a name for its code: a development build that works otherwise must not take another's
/// cells or checkpoints.
///
/// # Errors
/// The program's own file cannot be read.
pub fn name() -> Result<String> {
    let path = std::env::current_exe().context("this program's own file")?;
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let code = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
    Ok(format!("{} {code:08x}", env!("CARGO_PKG_VERSION")))
}
