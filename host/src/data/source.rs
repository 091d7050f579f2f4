//! A file as a stream of bytes: plain, gzip or xz, recognised by the first bytes and held against the name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flowcast_core::format::MAGIC;

use super::error::DataError;
use crate::file::is_pipe;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Opens a file and, where its first bytes say so, decompresses it.
///
/// # Errors
/// [`DataError::Unreadable`], [`DataError::NotATable`] of a model or a key, and [`DataError::NotCompressed`] when the name ends in `.gz` or `.xz` and the bytes disagree.
pub fn open(file: &Path) -> Result<Box<dyn Read>, DataError> {
    let unreadable = |reason| DataError::Unreadable { file: file.to_owned(), reason };
    // A table is read more than once, and what comes through a pipe is gone; opening one may wait for ever.
    if is_pipe(file) {
        return Err(unreadable(std::io::Error::other("found a pipe or a device, expected a file: save it first")));
    }
    let mut bytes = BufReader::with_capacity(1 << 16, File::open(file).map_err(unreadable)?);
    let start = bytes.fill_buf().map_err(unreadable)?;
    if start.is_empty() {
        return Err(DataError::Empty { file: file.to_owned() });
    }
    if start.starts_with(GZIP_MAGIC) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(bytes)));
    }
    if start.starts_with(XZ_MAGIC) {
        return Ok(Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(bytes)));
    }
    if let Some(found) = other_kind(start) {
        return Err(DataError::NotATable { file: file.to_owned(), found });
    }
    let expected = match file.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        _ => return Ok(Box::new(bytes)),
    };
    Err(DataError::NotCompressed { file: file.to_owned(), expected })
}

/// What a file is that was given in a table's place.
fn other_kind(start: &[u8]) -> Option<&'static str> {
    match start {
        _ if start.starts_with(&MAGIC) => Some("a Flowcast model"),
        _ if start.starts_with(b"-----BEGIN ") => Some("a key"),
        // The length of its header, below 16 MiB, and the header.
        [_, _, _, 0, 0, 0, 0, 0, b'{', ..] => Some("a trained model or another .safetensors file"),
        _ => None,
    }
}

/// Text of a cell: UTF-8 where it is, else latin-1, which every byte string is.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_and_a_key_are_no_tables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (start, found) in [
            (&[&MAGIC[..], &[1; 20]].concat()[..], "is a Flowcast model"),
            (b"-----BEGIN PUBLIC KEY-----\n", "is a key"),
            (b"\x40\x01\0\0\0\0\0\0{\"w\"", "is a trained model"),
        ] {
            std::fs::write(file.path(), start).unwrap();
            let error = open(file.path()).err().unwrap().to_string();
            assert!(error.contains(found), "{error}");
        }
        std::fs::write(file.path(), "time,value\n").unwrap();
        assert!(open(file.path()).is_ok());
        #[cfg(unix)]
        {
            let error = open(Path::new("/dev/null")).err().unwrap();
            let error = format!("{:#}", anyhow::Error::from(error));
            assert!(error.contains("found a pipe or a device, expected a file"), "{error}");
        }
    }
}
