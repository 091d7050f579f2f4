//! Samples as rows of a CSV file, each written whole as soon as it is known for good.
//!
//! ```text
//! index, received, then for each channel: NAME, NAME_median, NAME_lower, NAME_upper, NAME_residual, NAME_ahead
//! ```
//!
//! `received` is empty for what a gateway filled in, a value for what is missing, the rest where nothing was expected.
//! `ahead` is the number of steps between the forecast and the sample.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::event::{Channel, Row};
use super::fan::{Band, Expected};

/// A file of samples.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
    /// The columns are there.
    begun: bool,
}

impl Record {
    /// A file to go on with, or a new one.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.with_context(|| format!("{} cannot be written to", path.display()))?;
        ensure!(file.metadata()?.is_file(), "{} is no plain file, which a record is", path.display());
        Ok(Self { path: path.to_owned(), file, begun: false })
    }

    /// Writes the columns, or checks those that are there; returns the rows that there are already. What a power cut left
    /// of a last row is taken away.
    ///
    /// # Errors
    /// The file has other columns, or is no such file.
    pub fn begin(&mut self, channels: &[Channel]) -> Result<usize> {
        let names: Vec<String> = channels.iter().map(|channel| channel.name.clone()).collect();
        let expected = columns(&names)?;
        self.begun = true;
        let mut text = String::new();
        let path = self.path.display();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_string(&mut text).with_context(|| format!("{path} is no text"))?;
        if text.is_empty() {
            self.file.write_all(expected.as_bytes()).with_context(|| path.to_string())?;
            return Ok(0);
        }
        // What a power cut left of the columns, or of the last row; one that only lacks its end is whole.
        if !text.contains('\n') && expected.starts_with(&text) {
            self.file.set_len(0)?;
            self.file.write_all(expected.as_bytes()).with_context(|| path.to_string())?;
            return Ok(0);
        }
        let found = text.split_inclusive('\n').next().unwrap_or_default();
        ensure!(
            found.trim_end() == expected.trim_end(),
            "{path} is there with the columns {}, expected {}: record to another file",
            shortened(found.trim_end()),
            expected.trim_end()
        );
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let rows = text[..whole].lines().count().saturating_sub(1);
        let last = &text[whole..];
        if last.is_empty() {
            return Ok(rows);
        }
        if fields(last) == fields(found) {
            self.file.write_all(b"\n").with_context(|| path.to_string())?;
            return Ok(rows + 1);
        }
        self.file.set_len(whole as u64).with_context(|| path.to_string())?;
        Ok(rows)
    }

    /// Whether the columns are there.
    pub const fn begun(&self) -> bool {
        self.begun
    }

    /// Adds a sample.
    ///
    /// # Errors
    /// The file's.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let mut fields = vec![row.index.to_string(), row.came.map(|came| came.to_string()).unwrap_or_default()];
        let number = |value: f32| if value.is_finite() { value.to_string() } else { String::new() };
        for (channel, value) in row.values.iter().enumerate() {
            fields.push(number(*value));
            match row.expected.get(channel).copied().flatten() {
                Some(Expected { ahead, band: Band { lower, median, upper } }) => {
                    fields.extend([median, lower, upper].map(number));
                    fields.push(row.residual(channel).map(number).unwrap_or_default());
                    fields.push(ahead.to_string());
                }
                None => fields.extend(std::iter::repeat_n(String::new(), 5)),
            }
        }
        let line = line(&fields)?;
        self.file.write_all(line.as_bytes()).with_context(|| self.path.display().to_string())
    }
}

/// How many fields a line of CSV has; none where it is none.
fn fields(line: &str) -> Option<usize> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    reader.records().next()?.ok().map(|record| record.len())
}

/// The beginning of a line.
fn shortened(line: &str) -> String {
    let begin: String = line.chars().take(100).collect();
    if begin.len() < line.len() { begin + "…" } else { begin }
}

fn columns(names: &[String]) -> Result<String> {
    let of =
        |name: &String| ["", "_median", "_lower", "_upper", "_residual", "_ahead"].map(|what| format!("{name}{what}"));
    let columns = ["index", "received"].map(str::to_owned).into_iter().chain(names.iter().flat_map(of));
    line(&columns.collect::<Vec<_>>())
}

fn line(fields: &[String]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    Ok(String::from_utf8(writer.into_inner().map_err(|error| error.into_error())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| Channel { name: (*name).to_owned(), unit: String::new() }).collect()
    }

    #[test]
    fn rows_are_whole_and_a_file_goes_on_where_it_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let row = |index, value: f32| Row {
            index,
            came: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            values: vec![value],
            expected: vec![Some(Expected { ahead: 1, band: Band { lower: 1.0, median: 2.0, upper: 3.5 } })],
        };
        let mut record = Record::open(&path).unwrap();
        assert_eq!(record.begin(&channels(&["a,b"])).unwrap(), 0);
        record.add(&row(7, 2.5)).unwrap();
        record.add(&row(8, f32::NAN)).unwrap();
        record.add(&Row { came: None, expected: vec![None], ..row(9, 1.0) }).unwrap();
        let whole = "index,received,\"a,b\",\"a,b_median\",\"a,b_lower\",\"a,b_upper\",\"a,b_residual\",\"a,b_ahead\"\n\
                     7,2026-01-02T03:04:05Z,2.5,2,1,3.5,0.5,1\n\
                     8,2026-01-02T03:04:05Z,,2,1,3.5,,1\n\
                     9,,1,,,,,\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        // A power cut in the middle of a row.
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let mut record = Record::open(&path).unwrap();
        assert_eq!(record.begin(&channels(&["a,b"])).unwrap(), 2);
        record.add(&Row { came: None, expected: vec![None], ..row(9, 1.0) }).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        // An editor that leaves out the last end of a line; columns that were cut, and whole ones without an end.
        std::fs::write(&path, whole.trim_end()).unwrap();
        assert_eq!(Record::open(&path).unwrap().begin(&channels(&["a,b"])).unwrap(), 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        let header = whole.lines().next().unwrap();
        for cut in [10, header.len()] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Record::open(&path).unwrap().begin(&channels(&["a,b"])).unwrap(), 0);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{header}\n"));
        }
        std::fs::write(&path, whole).unwrap();
        // Other columns are other data.
        let error = Record::open(&path).unwrap().begin(&channels(&["c"])).unwrap_err().to_string();
        assert!(error.contains("is there with the columns index,received,\"a,b\""), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }
}
