//! Columns as users name them on the command line, where commas separate names and may stand in them.

use std::path::{Path, PathBuf};

use super::{DataError, table};

/// The columns meant by words such as `temp,hum`: a word that is a column's name is that column; else commas separate names, the longest
/// name that is there first (`temp, outside,hum` is two columns where one is called `temp, outside`). Names that are nowhere
/// are passed on, for the reader to refuse. `option` is the one that they stand behind.
///
/// # Errors
/// The first file cannot be read, or a column is named twice.
pub fn resolve(option: &'static str, paths: &[PathBuf], wanted: &[String]) -> Result<Vec<String>, DataError> {
    let columns = if wanted.iter().any(|word| word.contains(',')) {
        let path: &Path = paths.first().ok_or(DataError::NoFile)?;
        let names = table::header(path)?;
        wanted.iter().flat_map(|word| split(&names, word)).collect()
    } else {
        wanted.to_vec()
    };
    match twice(&columns) {
        Some(column) => Err(DataError::NamedTwice { option, column: column.to_owned() }),
        None => Ok(columns),
    }
}

/// The first name that was there before.
pub fn twice(names: &[String]) -> Option<&str> {
    names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)).map(|(_, name)| name.as_str())
}

fn split(names: &[String], word: &str) -> Vec<String> {
    let pieces: Vec<&str> = word.split(',').collect();
    let mut columns = Vec::new();
    let mut next = 0;
    while next < pieces.len() {
        let joined = |end: usize| pieces[next..end].join(",").trim().to_owned();
        let end = (next + 1..=pieces.len()).rev().find(|&end| names.contains(&joined(end))).unwrap_or(next + 1);
        columns.push(joined(end));
        next = end;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_come_first() {
        let names = ["temp, outside", "temp", "hum", "a,b,c"].map(str::to_owned);
        assert_eq!(split(&names, "temp,hum"), ["temp", "hum"]);
        assert_eq!(split(&names, "temp, outside"), ["temp, outside"]);
        assert_eq!(split(&names, "hum, temp, outside,a,b,c,temp"), ["hum", "temp, outside", "a,b,c", "temp"]);
        assert_eq!(split(&names, "a,b"), ["a", "b"]);
    }

    #[test]
    fn a_name_that_comes_again_is_found() {
        let names = ["a", "b", "c", "b", "a"].map(str::to_owned);
        assert_eq!(twice(&names), Some("b"));
        assert_eq!(twice(&names[..3]), None);
        let error = resolve("--target", &[], &names).unwrap_err().to_string();
        assert_eq!(error, "--target: column `b` is named twice, expected each once");
    }
}
