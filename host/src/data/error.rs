//! What can be wrong with a table: each error is one line that names the place, what was found and what was expected.

use std::path::PathBuf;

use crate::duration::show_ms;

/// A cell's place in its file, as an editor shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was given.
    pub file: PathBuf,
    /// The line, from 1 (the header's, as a rule).
    pub line: u64,
    /// The column's name.
    pub column: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}: column `{}`", self.file.display(), self.line, self.column)
    }
}

/// Why a table could not be read, or cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No file was given.
    #[error("found no data file, expected at least one .csv, .csv.gz or .csv.xz")]
    NoFile,
    /// The file cannot be opened or read to its end.
    #[error("{}: {reason}", file.display())]
    Unreadable {
        /// The file as it was given.
        file: PathBuf,
        /// The system's or the decompressor's reason.
        reason: std::io::Error,
    },
    /// The name promises a compression that the bytes do not have.
    #[error("{}: found data that is not {expected}, expected what the name says", file.display())]
    NotCompressed {
        /// The file as it was given.
        file: PathBuf,
        /// `gzip` or `xz`.
        expected: &'static str,
    },
    /// Another kind of file that this command line knows.
    #[error("{}: is {found}, expected a .csv, .csv.gz or .csv.xz file", file.display())]
    NotATable {
        /// The file as it was given.
        file: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Not a byte, or only empty lines.
    #[error("{}: found an empty file, expected a header line and rows of numbers", file.display())]
    Empty {
        /// The file as it was given.
        file: PathBuf,
    },
    /// The first line is a row already.
    #[error("{}: found {found} in the first line, expected a header line with the columns' names", file.display())]
    NoHeader {
        /// The file as it was given.
        file: PathBuf,
        /// The first line's cells.
        found: String,
    },
    /// Text between the header and the rows.
    #[error("{}:{line}: found a row of text below the header ({found}), expected times and numbers: take it out", file.display())]
    TextRow {
        /// The file as it was given.
        file: PathBuf,
        /// The row's line.
        line: u64,
        /// Its cells.
        found: String,
    },
    /// Text of two bytes a character, as some spreadsheets write it.
    #[error("{}: found UTF-16 text, expected UTF-8: save it as `CSV UTF-8`", file.display())]
    Utf16 {
        /// The file as it was given.
        file: PathBuf,
    },
    /// A header and nothing below it.
    #[error("{}: found a header without rows, expected rows of numbers below it", file.display())]
    HeaderOnly {
        /// The file as it was given.
        file: PathBuf,
    },
    /// A row with more or fewer cells than the header.
    #[error("{}:{line}: found {found} cells, expected {expected} as in the header", file.display())]
    Ragged {
        /// The file as it was given.
        file: PathBuf,
        /// The row's line.
        line: u64,
        /// Cells in the row.
        found: u64,
        /// Cells in the header.
        expected: u64,
    },
    /// A later file whose header is another.
    #[error(
        "{}: found the columns {found}, expected the same as in {}: {expected}", file.display(), first.display()
    )]
    OtherLayout {
        /// The file as it was given.
        file: PathBuf,
        /// The first file.
        first: PathBuf,
        /// The columns here.
        found: String,
        /// The columns there.
        expected: String,
    },
    /// A column that the user named is not there.
    #[error("{}: found no column `{column}`, expected one of: {available}", file.display())]
    MissingColumn {
        /// The file as it was given.
        file: PathBuf,
        /// The name looked for.
        column: String,
        /// The names that there are.
        available: String,
    },
    /// A name that stands twice on the command line.
    #[error("{option}: column `{column}` is named twice, expected each once")]
    NamedTwice {
        /// What it stands behind.
        option: &'static str,
        /// The name.
        column: String,
    },
    /// A name that stands twice in the header.
    #[error("{}: found column `{column}` more than once, expected unique names", file.display())]
    RepeatedColumn {
        /// The file as it was given.
        file: PathBuf,
        /// The name.
        column: String,
    },
    /// No column holds numbers.
    #[error("{}: found no column of numbers beside the time, expected at least one; there are: {available}", file.display())]
    NoNumbers {
        /// The file as it was given.
        file: PathBuf,
        /// The names that there are.
        available: String,
    },
    /// No column looks like time.
    #[error(
        "{}: found no column of times among {available}; name it with --time COLUMN, or give --interval DURATION \
         (such as 10min) to read the rows as evenly spaced", file.display()
    )]
    NoTime {
        /// The file as it was given.
        file: PathBuf,
        /// The names that there are.
        available: String,
    },
    /// More than one column looks like time.
    #[error("{}: found several columns of times ({candidates}), expected one; choose it with --time COLUMN", file.display())]
    SeveralTimes {
        /// The file as it was given.
        file: PathBuf,
        /// The columns that look like time.
        candidates: String,
    },
    /// Every date reads as day/month and as month/day.
    #[error(
        "{place}: found dates such as `{found}` that read as day/month and as month/day, expected an unambiguous form such as 2024-12-31"
    )]
    AmbiguousDate {
        /// The first row.
        place: Place,
        /// The first date.
        found: String,
    },
    /// A cell that does not hold what its column holds.
    #[error("{place}: found `{}`, expected {expected}", shown(found))]
    Cell {
        /// Where.
        place: Place,
        /// The cell's text.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Two rows of the same time.
    #[error("{place}: found {found} a second time (first on {earlier}), expected a later time{hint}")]
    DuplicateTime {
        /// The second of the two rows.
        place: Place,
        /// The time.
        found: String,
        /// Where it stood first: a line, or a line of another file.
        earlier: String,
        /// What may be behind it.
        hint: &'static str,
    },
    /// Time runs backwards.
    #[error("{place}: found {found} after {previous}, expected a later time{hint}")]
    UnorderedTime {
        /// The row.
        place: Place,
        /// Its time.
        found: String,
        /// The time of the row before.
        previous: String,
        /// What may be behind it.
        hint: &'static str,
    },
    /// A row between two places of the regular grid.
    #[error("{place}: found {found}, expected {expected} (rows come every {})", show_ms(*interval_ms))]
    OffGrid {
        /// The row.
        place: Place,
        /// Its time.
        found: String,
        /// The grid's nearest time.
        expected: String,
        /// The most common difference between rows.
        interval_ms: u64,
    },
    /// A jump so long that the regular grid would be almost all missing.
    #[error(
        "{place}: found {found} after {previous}, {gap_rows} missing rows, expected no gap as long (is the time wrong?)"
    )]
    Gap {
        /// The row after the gap.
        place: Place,
        /// Its time.
        found: String,
        /// The time of the row before.
        previous: String,
        /// Rows that the gap would hold.
        gap_rows: u64,
    },
    /// One row, or intervals below a millisecond.
    #[error("{}: found {found}, expected {expected}", file.display())]
    NoInterval {
        /// The file as it was given.
        file: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A channel without a single number.
    #[error("column `{column}`: found no value at all (every cell is missing), expected numbers")]
    AllMissing {
        /// The column.
        column: String,
    },
    /// A channel that never changes.
    #[error("column `{column}`: found the same value in every row ({value}), expected a channel that varies")]
    Constant {
        /// The column.
        column: String,
        /// Its only value.
        value: f32,
    },
}

/// The beginning of a cell, for one line of a terminal.
fn shown(text: &str) -> String {
    /// Characters of it.
    const MOST: usize = 60;
    let escaped = text.chars().take(MOST).map(|character| match character {
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    });
    let rest = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    escaped.collect::<String>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_told_in_one_line() {
        assert_eq!(shown("12,5 °C"), "12,5 °C");
        assert_eq!(shown("19\0\n\u{1b}[2J"), r"19\u{0}\n\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(61)), "x".repeat(60) + "…");
    }
}
