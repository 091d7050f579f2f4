//! `flowcast key` and `flowcast sign`: models that a board takes from one person alone.
//!
//! Keys are Ed25519's, in PEM files as `openssl genpkey -algorithm ed25519` writes them; [`flowcast_core::signature`] says where
//! a signature lies.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ed25519_compact::{KeyPair, PublicKey};
use flowcast_core::format::Header;
use flowcast_core::signature::{KEY_BYTES, SIGNATURE_BYTES, find_signature, trailer, verify};
use serde::Serialize;

use crate::file::{Kind, refuse_losing, refuse_overwriting, write_atomic};
use crate::forecaster;
use crate::output::Output;

/// Make the keys that sign models
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do with keys.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a key: FILE signs and stays with you, FILE.pub goes to whoever flashes boards
    New {
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Sign a model: the signature goes behind it, into the same file, in the place of one that is there
#[derive(clap::Args, Clone, Debug)]
pub struct SignArgs {
    /// The model, as `flowcast export` wrote it
    #[arg(value_name = "MODEL.flow")]
    pub model: PathBuf,
    /// The key that signs, as `flowcast key new` wrote it
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Write the signed model to another file
    #[arg(long, value_name = "SIGNED.flow")]
    pub out: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// The file that was written.
    file: PathBuf,
    /// Of a new key: the file of the public one.
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<PathBuf>,
    /// The public key, in hexadecimal digits.
    key: String,
    /// Of a signed model: whose signature the file lost, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<Replaced>,
}

/// A signature that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Replaced {
    /// By the same key, of the same model.
    Same,
    /// By another key, of another model, or altered.
    Foreign,
}

/// Runs `flowcast key`.
///
/// # Errors
/// There is such a file, or it cannot be written.
pub fn run(args: &Args, output: &Output) -> Result<()> {
    let Command::New { file } = &args.command;
    let public = public_file(file);
    for file in [file, &public] {
        // A link that leads nowhere is there too.
        if file.symlink_metadata().is_ok() {
            bail!("{} is there already, and a key is not to be lost", file.display());
        }
    }
    let pair = KeyPair::generate();
    write_private(file, pair.sk.to_pem().as_bytes()).with_context(|| file.display().to_string())?;
    write_atomic(&public, pair.pk.to_pem().as_bytes())?;
    let report =
        Report { file: file.clone(), public: Some(public.clone()), key: hexadecimal(&pair.pk), replaced: None };
    let human = || {
        format!(
            "{}: signs models; keep it\n{}: what boards are built with, `flowcast flash --key`\npublic key {}\n",
            file.display(),
            public.display(),
            report.key
        )
    };
    output.result(human, &report)
}

/// Runs `flowcast sign`.
///
/// # Errors
/// No model, no key, or the file cannot be written.
pub fn sign(args: &SignArgs, output: &Output) -> Result<()> {
    let bytes = forecaster::read(&args.model)?;
    let length = Header::parse(&bytes).with_context(|| args.model.display().to_string())?.length();
    let pem = read(&args.key)?;
    let pair = KeyPair::from_pem(&pem).with_context(|| {
        format!("{} is no private key, expected a PEM file as `flowcast key new` writes it", args.key.display())
    })?;
    let model = &bytes[..length];
    let signed = [model, &trailer(&pair.sk.sign(model, None))].concat();
    let file = args.out.clone().unwrap_or_else(|| args.model.clone());
    refuse_overwriting(std::slice::from_ref(&args.key), &file)?;
    refuse_losing(&file, Kind::Flow)?;
    write_atomic(&file, &signed)?;
    let replaced = find_signature(&bytes[length..]).map(|_| match verify(&bytes, &pair.pk) {
        Ok(()) => Replaced::Same,
        Err(_) => Replaced::Foreign,
    });
    if replaced == Some(Replaced::Foreign) {
        output.remark(format!(
            "{} had a signature that does not match model and key (another key's, or altered): it is replaced",
            args.model.display()
        ));
    }
    let report = Report { file, public: None, key: hexadecimal(&pair.pk), replaced };
    let human = || format!("{}: {} bytes, signed by {}\n", report.file.display(), signed.len(), report.key);
    output.result(human, &report)
}

/// The public key in a file.
///
/// # Errors
/// It cannot be read, or is none; or it is the private one, which whoever flashes boards must not have.
pub fn public(file: &Path) -> Result<[u8; KEY_BYTES]> {
    let pem = read(file)?;
    let found = file.display();
    if KeyPair::from_pem(&pem).is_ok() {
        bail!("{found} is the private key, which stays with its owner; expected the public one, {found}.pub");
    }
    let key =
        PublicKey::from_pem(&pem).with_context(|| format!("{found} is no key, expected a PEM file of Ed25519"))?;
    Ok(*key)
}

/// A model with the signature behind it, which is by this key.
///
/// # Errors
/// There is none, or it does not match.
pub fn signed<'m>(bytes: &'m [u8], length: usize, key: &[u8; KEY_BYTES]) -> Result<&'m [u8]> {
    verify(bytes, key).context("the board would refuse the model; `flowcast sign` signs it")?;
    Ok(&bytes[..length + SIGNATURE_BYTES])
}

/// A key as the firmware's `build.rs` reads it.
pub fn hexadecimal(key: &[u8; KEY_BYTES]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text of a key's file.
fn read(file: &Path) -> Result<String> {
    /// More than any key's file has; a pipe may have no end.
    const MOST: u64 = 1 << 16;
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    read.with_context(|| file.display().to_string())?;
    // What is no text is no PEM file either.
    String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{} is no key, expected a PEM file as `flowcast key new` writes it", file.display()))
}

fn public_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Writes a file that nobody else reads.
fn write_private(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}
