//! A safetensors file that tells when it was altered: that format has no checksum, and a changed weight is a number too.
//!
//! The metadata's JSON begins with a field `checksum`, eight digits: the CRC-32 (ISO-HDLC, as of a model file) of the whole
//! file with zeros in their place.

use anyhow::{Context, Result, ensure};

/// What stands in the field until [`seal`] knows better.
pub const OPEN: &str = "00000000";
/// Before the digits: JSON in a string of JSON.
const FIELD: &[u8] = br#"\"checksum\":\""#;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Where the digits are.
fn place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    // The header alone, and of that the first: what follows may hold anything.
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    let header = bytes.get(..usize::try_from(length).ok()?.checked_add(8)?)?;
    let start = header.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    (start + OPEN.len() <= header.len()).then_some(start..start + OPEN.len())
}

fn computed(bytes: &[u8], place: &std::ops::Range<usize>) -> String {
    let mut digest = CRC.digest();
    digest.update(&bytes[..place.start]);
    digest.update(OPEN.as_bytes());
    digest.update(&bytes[place.end..]);
    format!("{:08x}", digest.finalize())
}

/// Writes the checksum of a file that was serialised with [`OPEN`] in its place, or was changed since.
///
/// # Errors
/// The metadata have no place for it.
pub fn seal(bytes: &mut [u8]) -> Result<()> {
    let place = place(bytes).context("found no checksum in the metadata")?;
    let checksum = computed(bytes, &place);
    bytes[place].copy_from_slice(checksum.as_bytes());
    Ok(())
}

/// Whether the file is as it was sealed.
///
/// # Errors
/// It was altered, or never sealed.
pub fn check(bytes: &[u8]) -> Result<()> {
    let place =
        place(bytes).context("found no checksum: a file of a development version, or altered; train it again")?;
    let (found, expected) = (computed(bytes, &place), String::from_utf8_lossy(&bytes[place]));
    ensure!(found == expected, "the file is corrupt: its CRC-32 is {found}, its metadata say {expected}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use safetensors::serialize;
    use safetensors::tensor::{Dtype, TensorView};

    fn sealed() -> Vec<u8> {
        let values = [1.0_f32, -2.0].map(f32::to_le_bytes).concat();
        let views = [("x", TensorView::new(Dtype::F32, vec![2], &values).unwrap())];
        let metadata = format!(r#"{{"checksum":"{OPEN}","names":["a","\"checksum\":\"b"]}}"#);
        let mut bytes = serialize(views, Some(HashMap::from([("flowcast".to_owned(), metadata)]))).unwrap();
        seal(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_bit_counts() {
        let bytes = sealed();
        check(&bytes).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped).is_err(), "bit {bit}");
        }
        let mut changed = bytes;
        *changed.last_mut().unwrap() ^= 1;
        let error = check(&changed).unwrap_err().to_string();
        assert!(error.starts_with("the file is corrupt: its CRC-32 is "), "{error}");
        seal(&mut changed).unwrap();
        check(&changed).unwrap();
    }

    #[test]
    fn what_was_never_sealed_is_said() {
        for bytes in [&b""[..], b"FLOW", &[9; 100]] {
            assert!(check(bytes).unwrap_err().to_string().starts_with("found no checksum"));
        }
    }
}
