//! Whole files: written so that half a file never replaces a good one, and read so that a model lies aligned.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flowcast_core::format::MAGIC;

/// Writes beside the target, flushes to the disk and renames: the old file stays until the new one is complete.
///
/// # Errors
/// With the path and the system's reason; a file that was there before is untouched, the half-written one is gone.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    // Through a link, to the file that it names.
    let target = path.canonicalize();
    try_write(target.as_deref().unwrap_or(path), bytes).with_context(|| format!("{} was not written", path.display()))
}

/// An output file on the command line that no ending of the other kind of model may name: `train` writes one kind, `export`
/// the other.
///
/// # Errors
/// It ends in `.` and `other`, `instead` says what to do; or it names a folder.
pub fn not_ending_in(other: &str, instead: &str, text: &str) -> Result<PathBuf, String> {
    let path = of_a_file(text)?;
    match path.extension() {
        Some(ending) if ending.eq_ignore_ascii_case(other) => Err(format!("found a .{other} file, {instead}")),
        _ => Ok(path),
    }
}

/// An output file on the command line that ends as what it holds does, or in nothing.
///
/// # Errors
/// It ends in something else, or names a folder.
pub fn ending_in(expected: &str, text: &str) -> Result<PathBuf, String> {
    let path = of_a_file(text)?;
    match path.extension() {
        Some(found) if !found.eq_ignore_ascii_case(expected) => {
            Err(format!("found a .{} file, expected .{expected}", found.display()))
        }
        _ => Ok(path),
    }
}

/// A path that can be a file's.
fn of_a_file(text: &str) -> Result<PathBuf, String> {
    if text.ends_with(std::path::is_separator) {
        Err("found a folder, expected a file".to_owned())
    } else {
        Ok(text.into())
    }
}

/// Refuses an output that is one of the inputs.
///
/// # Errors
/// Names the file.
pub fn refuse_overwriting(inputs: &[PathBuf], output: &Path) -> Result<()> {
    let Ok(written) = output.canonicalize() else { return Ok(()) };
    match inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == written)) {
        Some(input) => bail!("{} would be overwritten: it is read too, write to another file", input.display()),
        None => Ok(()),
    }
}

/// Refuses to write a model over a file that is there and none: a mistyped path would cost a key or the data.
///
/// # Errors
/// Names the file.
pub fn refuse_losing(output: &Path) -> Result<()> {
    if !std::fs::metadata(output).is_ok_and(|there| there.is_file() && there.len() > 0) {
        return Ok(());
    }
    let mut start = [0; MAGIC.len()];
    let read = File::open(output).and_then(|mut file| file.read_exact(&mut start));
    if read.is_err() || start != MAGIC {
        bail!("{} is there and no .flow file: it would be lost, write to another file", output.display());
    }
    Ok(())
}

fn try_write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    // A device or a pipe is no file that a rename may take the place of.
    if std::fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        return Err(std::io::Error::other("found something that is no plain file"));
    }
    let mut beside = tempfile::NamedTempFile::new_in(folder).map_err(|error| {
        // The temporary name would only puzzle.
        std::io::Error::from(error.kind())
    })?;
    beside.write_all(bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A temporary file is private; the result is a file like any other, or keeps the mode it had.
        let mode = match std::fs::metadata(path) {
            Ok(existing) => existing.permissions().mode(),
            Err(_) => 0o644,
        };
        beside.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    // The rename itself lasts once the folder is on the disk; not every system can flush one.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Bytes that start on a 16-byte boundary, as a model does in flash, so that its weights are used where they lie.
pub struct AlignedBytes {
    blocks: Vec<u128>,
    length: usize,
}

impl AlignedBytes {
    /// Reads a whole file.
    ///
    /// # Errors
    /// With the path and the system's reason.
    pub fn read(path: &Path) -> Result<AlignedBytes> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(AlignedBytes::from(bytes.as_slice()))
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> AlignedBytes {
        let mut blocks = vec![0_u128; bytes.len().div_ceil(size_of::<u128>())];
        bytemuck::cast_slice_mut(&mut blocks)[..bytes.len()].copy_from_slice(bytes);
        AlignedBytes { blocks, length: bytes.len() }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.length]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.flow");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new and longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new and longer");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn outputs_end_as_they_should() {
        assert_eq!(ending_in("csv", "a/scores.CSV"), Ok("a/scores.CSV".into()));
        assert_eq!(ending_in("csv", "scores"), Ok("scores".into()));
        assert_eq!(ending_in("csv", "m.flow"), Err("found a .flow file, expected .csv".to_owned()));
        for refused in [ending_in("csv", "scores/"), not_ending_in("safetensors", "", "model/")] {
            assert_eq!(refused, Err("found a folder, expected a file".to_owned()));
        }
    }

    #[test]
    fn a_refusal_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("model.flow");
        let error = format!("{:#}", write_atomic(&path, b"x").unwrap_err());
        assert!(error.contains("missing/model.flow was not written: "), "{error}");
        let error = format!("{:#}", write_atomic(folder.path(), b"x").unwrap_err());
        assert!(error.contains("directory"), "{error}");
    }

    #[test]
    fn aligned_bytes_keep_length_and_alignment() {
        for length in [0, 1, 15, 16, 17, 100] {
            let bytes: Vec<u8> = (0..length).collect();
            let aligned = AlignedBytes::from(bytes.as_slice());
            assert_eq!(&*aligned, bytes.as_slice());
            assert_eq!(aligned.as_ptr() as usize % 16, 0);
        }
        let error = format!("{:#}", AlignedBytes::read(Path::new("no/such.flow")).err().unwrap());
        assert!(error.starts_with("no/such.flow: "), "{error}");
    }
}
