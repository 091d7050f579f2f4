//! Whole files: written so that half a file never replaces a good one, and read so that a model lies aligned.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
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

/// What a command writes, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A model for boards.
    Flow,
    /// A trained model: behind its header's length, a JSON object.
    Safetensors,
    /// A table as a JSON object.
    Json,
    /// Scores of `flowcast detect`.
    Scores,
}

/// The columns of [`Kind::Scores`].
pub const SCORES: [&str; 7] = ["time", "channel", "value", "median", "lower", "upper", "score"];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Flow => ".flow file",
            Self::Safetensors => ".safetensors file",
            Self::Json => "JSON object",
            Self::Scores => "file of scores",
        }
    }

    fn begins(self, start: &[u8]) -> bool {
        match self {
            Self::Flow => start.starts_with(&MAGIC),
            Self::Safetensors => start.get(8) == Some(&b'{'),
            Self::Json => start.starts_with(b"{"),
            Self::Scores => start.starts_with(SCORES.join(",").as_bytes()),
        }
    }
}

/// Refuses an output that is there and of another kind: a mistyped path would cost a key or the data.
///
/// # Errors
/// Names the file.
pub fn refuse_losing(output: &Path, kind: Kind) -> Result<()> {
    if !std::fs::metadata(output).is_ok_and(|there| there.is_file() && there.len() > 0) {
        return Ok(());
    }
    let mut start = Vec::new();
    let read = File::open(output).and_then(|file| file.take(64).read_to_end(&mut start));
    if read.is_err() || !kind.begins(&start) {
        bail!("{} is there and no {}: it would be lost, write to another file", output.display(), kind.name());
    }
    Ok(())
}

/// Refuses an output that would cost an input or a file of another kind, or that cannot be written: before the work.
///
/// # Errors
/// Names the file.
pub fn refuse_output(inputs: &[PathBuf], output: &Path, kind: Kind) -> Result<()> {
    refuse_overwriting(inputs, output)?;
    refuse_losing(output, kind)?;
    refuse_unwritable(output)
}

/// Refuses an output whose folder is none, or takes no file: before the work, not after it.
///
/// # Errors
/// Names the file and the folder.
pub fn refuse_unwritable(output: &Path) -> Result<()> {
    if output.is_dir() {
        bail!("{} is a folder, expected a file to write", output.display());
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("{} is no folder: {} cannot be written", folder.display(), output.display());
    }
    tempfile::NamedTempFile::new_in(folder)
        .map(drop)
        .map_err(|error| std::io::Error::from(error.kind()))
        .with_context(|| format!("{} cannot be written", output.display()))
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

/// Whether a path is a pipe or a device: what comes from one is gone once read, and may have no end.
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Reads a whole file.
///
/// # Errors
/// It is a pipe or a device, or cannot be read: with the path and the reason.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    ensure!(!is_pipe(path), "{}: found a pipe or a device, expected a file", path.display());
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Bytes that start on a 16-byte boundary, as a model does in flash, so that its weights are used where they lie.
pub struct AlignedBytes {
    blocks: Vec<u128>,
    length: usize,
}

impl AlignedBytes {
    /// [`read`]s a whole file.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(path: &Path) -> Result<AlignedBytes> {
        Ok(AlignedBytes::from(read(path)?.as_slice()))
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
    #[cfg(unix)]
    fn what_has_no_end_is_not_read() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "/dev/zero: found a pipe or a device, expected a file");
    }

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
    fn nothing_of_another_kind_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("there");
        let kinds = [Kind::Flow, Kind::Safetensors, Kind::Json, Kind::Scores];
        let starts = [
            &MAGIC[..],
            b"\x40\x01\0\0\0\0\0\0{\"w\"",
            b"{\"rows\": []}",
            b"time,channel,value,median,lower,upper,score\n",
        ];
        for kind in kinds {
            refuse_losing(&path, kind).expect("nothing is there");
        }
        for start in starts.into_iter().chain([&b"time,value\n"[..], b"F", b"key"]) {
            std::fs::write(&path, start).unwrap();
            for (kind, own) in kinds.into_iter().zip(starts) {
                let refused = refuse_losing(&path, kind).map_err(|error| error.to_string());
                assert_eq!(refused.is_ok(), own == start, "{kind:?} {refused:?}");
                assert!(refused.is_ok() || refused.unwrap_err().contains(&format!("there and no {}", kind.name())));
            }
        }
        std::fs::write(&path, "").unwrap();
        refuse_losing(&path, Kind::Flow).expect("nothing is lost with an empty file");
        refuse_unwritable(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = refuse_unwritable(&folder.path().join("no").join("x")).unwrap_err().to_string();
        assert!(error.contains("no is no folder: ") && error.contains("x cannot be written"), "{error}");
        assert!(refuse_unwritable(folder.path()).unwrap_err().to_string().contains("is a folder"));
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
