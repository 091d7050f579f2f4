//! Signed models: a board that was built with a key runs no model but those that the key's owner signed.
//!
//! ```text
//! model file | "FSIG" | version u16 | 0 u16 | Ed25519 signature of the model file, 64 bytes
//! ```
//!
//! The signature (RFC 8032) lies behind the file's end, which is no part of it: whoever wants none reads the same file. It
//! is of the whole file, CRC-32 and all. It does not tell a new model from an old one: what was ever signed runs.

use core::fmt;

use ed25519_compact::{PublicKey, Signature};

use crate::format::{FormatError, Header};

/// Bytes behind a model.
pub const SIGNATURE_BYTES: usize = 8 + Signature::BYTES;
/// Bytes of a public key.
pub const KEY_BYTES: usize = PublicKey::BYTES;
/// What they start with.
const HEAD: [u8; 8] = *b"FSIG\x01\0\0\0";

/// Why a model is not taken for signed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no model whose end is known.
    Model(FormatError),
    /// No signature of this version lies behind it.
    Unsigned {
        /// What starts there, or zeros.
        found: [u8; 8],
    },
    /// The signature does not match: another key's, another model's, or altered, which nothing tells apart.
    Foreign,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Unsigned { found: [0, 0, 0, 0, 0, 0, 0, 0] } => f.write_str("model is not signed"),
            Self::Unsigned { found } => {
                write!(f, "model is not signed: {found:02x?} behind it, expected a signature, {HEAD:02x?}")
            }
            Self::Foreign => f.write_str(
                "signature does not match model and key: another key signed it, or model or signature was altered",
            ),
        }
    }
}

impl core::error::Error for SignatureError {}

impl From<FormatError> for SignatureError {
    fn from(error: FormatError) -> Self {
        Self::Model(error)
    }
}

/// What lies behind a model with this signature.
pub fn trailer(signature: &[u8; Signature::BYTES]) -> [u8; SIGNATURE_BYTES] {
    let mut bytes = [0; SIGNATURE_BYTES];
    bytes.iter_mut().zip(HEAD.iter().chain(signature)).for_each(|(place, byte)| *place = *byte);
    bytes
}

/// The signature that what lies behind a model starts with; whose it is, [`verify`] finds out. Bytes behind it count for nothing.
pub fn find_signature(behind: &[u8]) -> Option<&[u8; Signature::BYTES]> {
    behind.strip_prefix(&HEAD)?.first_chunk()
}

/// Checks the signature behind the model that `bytes` begin with.
///
/// # Errors
/// There is no model, no signature, or one that does not match the model and `key`.
pub fn verify(bytes: &[u8], key: &[u8; KEY_BYTES]) -> Result<(), SignatureError> {
    let length = Header::parse(bytes)?.length();
    let (model, behind) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let Some(signature) = find_signature(behind) else {
        return Err(SignatureError::Unsigned { found: *behind.first_chunk().unwrap_or(&[0; 8]) });
    };
    PublicKey::new(*key).verify(model, &Signature::new(*signature)).map_err(|_| SignatureError::Foreign)
}
