//! A file as a stream of bytes: plain, gzip or xz, recognised by the first bytes and held against the name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::error::DataError;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// Opens a file and, where its first bytes say so, decompresses it.
///
/// # Errors
/// [`DataError::Unreadable`], and [`DataError::NotCompressed`] when the name ends in `.gz` or `.xz` and the bytes disagree.
pub fn open(file: &Path) -> Result<Box<dyn Read>, DataError> {
    let unreadable = |reason| DataError::Unreadable { file: file.to_owned(), reason };
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
    let expected = match file.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip",
        Some("xz") => "xz",
        _ => return Ok(Box::new(bytes)),
    };
    Err(DataError::NotCompressed { file: file.to_owned(), expected })
}

/// Text of a cell: UTF-8 where it is, else latin-1, which every byte string is.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
