//! CSV files to columns of numbers and a column of times, with the line of every row kept for errors.
//!
//! The header's first file decides: which columns hold time and which hold numbers is told from the first [`SAMPLE_ROWS`] rows,
//! after which any cell that does not fit is an error.

use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Trim};

use super::ReadOptions;
use super::error::{DataError, Place};
use super::source;
use super::time::{Layout, Reading, is_date_alone, time_of_day};

/// Rows looked at before the columns' kinds are settled.
const SAMPLE_ROWS: usize = 100;

/// Names under which a column of plain numbers is taken for time.
const TIME_NAMES: [&str; 12] =
    ["time", "timestamp", "timestamps", "ts", "date", "datetime", "date_time", "dt", "ds", "epoch", "unix", "unixtime"];

const NUMBER: &str = "a number (a missing value may be empty, NaN, NA, N/A, null, none, ? or -)";
const POINT: &str = "a number with a decimal point (a comma separates cells in this file)";
const FINITE: &str = "a finite number within ±3.4e38 (leave the cell empty if it is missing)";
const TIME: &str = "a time in the form of the rows above";
const FIRST_TIME: &str = "a time such as 2024-12-31 23:50:00, 2024-12-31T23:50:00Z, 31/12/2024 23:50 or Unix seconds";

/// Files as they stand: rows in file order, not yet on a grid.
pub struct Table {
    /// Names of the columns of numbers.
    pub names: Vec<String>,
    /// `[column][row]`, NaN = missing.
    pub cells: Vec<Vec<f32>>,
    /// The name of the time column and each row's milliseconds; `None` when rows count as evenly spaced.
    pub time: Option<(String, Vec<i64>)>,
    /// Whether times are written as numbers of days.
    pub days: bool,
    /// Line of each row in its file.
    lines: Vec<u32>,
    /// Each file and its first row.
    files: Vec<(PathBuf, usize)>,
}

impl Table {
    /// Where a row stands.
    pub fn place(&self, row: usize, column: &str) -> Place {
        let file = self.files.iter().rfind(|(_, first)| *first <= row);
        Place {
            file: file.map(|(path, _)| path.clone()).unwrap_or_default(),
            line: self.line(row),
            column: column.to_owned(),
        }
    }

    /// The line of a row in its file.
    fn line(&self, row: usize) -> u64 {
        u64::from(self.lines[row])
    }

    /// `line 12`, and of which file if not that of another row.
    pub fn show_line(&self, row: usize, seen_from: usize) -> String {
        let place = self.place(row, "");
        if place.file == self.place(seen_from, "").file {
            format!("line {}", place.line)
        } else {
            format!("line {} of {}", place.line, place.file.display())
        }
    }
}

/// Which cells hold the time.
enum TimeCells {
    One(usize),
    DateAndClock(usize, usize),
    None,
}

impl TimeCells {
    fn text(&self, record: &ByteRecord) -> String {
        match *self {
            TimeCells::One(index) => cell(record, index),
            TimeCells::DateAndClock(date, clock) => {
                format!("{} {}", cell(record, date), cell(record, clock))
            }
            TimeCells::None => String::new(),
        }
    }

    fn contains(&self, index: usize) -> bool {
        match *self {
            TimeCells::One(time) => time == index,
            TimeCells::DateAndClock(date, clock) => date == index || clock == index,
            TimeCells::None => false,
        }
    }
}

/// A column of numbers while it is read.
struct Column {
    index: usize,
    name: String,
    /// Named by the user: text is an error from the first row on.
    named: bool,
    seen_number: bool,
    cells: Vec<f32>,
}

/// Reads files of one layout, one after the other.
pub fn read(paths: &[PathBuf], options: &ReadOptions) -> Result<Table, DataError> {
    let first_path = paths.first().ok_or(DataError::NoFile)?;
    let mut first = CsvFile::open(first_path)?;
    let sample = first.sample()?;
    let names = first.names.clone();
    let layout = Layouts::new(first_path, &names, &sample, options)?;
    let (time_cells, mut columns) = (layout.time, layout.columns);
    let time_name = match time_cells {
        TimeCells::One(index) | TimeCells::DateAndClock(index, _) => names[index].clone(),
        TimeCells::None => String::new(),
    };

    let mut table =
        Table { names: Vec::new(), cells: Vec::new(), time: None, days: false, lines: Vec::new(), files: Vec::new() };
    let mut reading: Option<Reading> = None;
    let files = Some(first).into_iter().map(Ok).chain(paths[1..].iter().map(|path| CsvFile::open(path)));
    let mut sample = Some(sample);
    for file in files {
        let mut file = file?;
        if file.names != names {
            return Err(DataError::OtherLayout {
                file: file.path,
                first: first_path.clone(),
                found: file.names.join(", "),
                expected: names.join(", "),
            });
        }
        let first_row = table.lines.len();
        table.files.push((file.path.clone(), first_row));
        let mut pending = sample.take().unwrap_or_default().into_iter();
        let mut record = ByteRecord::new();
        loop {
            match pending.next() {
                Some(sampled) => record = sampled,
                None if !file.next(&mut record)? => break,
                None => {}
            }
            let line = record.position().map_or(0, csv::Position::line);
            table.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
            let at = |column: &str| Place { file: file.path.clone(), line, column: column.to_owned() };
            if !matches!(time_cells, TimeCells::None) {
                let text = time_cells.text(&record);
                let reading = reading.get_or_insert_with(|| Reading::new(&text, &time_name));
                if !reading.push(&text) {
                    let expected = if table.lines.len() == 1 { FIRST_TIME } else { TIME };
                    return Err(DataError::Cell { place: at(&time_name), found: text, expected });
                }
            }
            let mut not_numeric = Vec::new();
            for (order, column) in columns.iter_mut().enumerate() {
                match number(&record, column.index, file.decimal_comma) {
                    Ok(value) => {
                        column.seen_number |= !value.is_nan();
                        column.cells.push(value);
                    }
                    // A column that nobody named and that held no number so far is a column of text.
                    Err(_) if !column.named && !column.seen_number => not_numeric.push(order),
                    Err(expected) => {
                        return Err(DataError::Cell {
                            place: at(&column.name),
                            found: cell(&record, column.index),
                            expected,
                        });
                    }
                }
            }
            for order in not_numeric.into_iter().rev() {
                columns.remove(order);
            }
        }
        if table.lines.len() == first_row {
            return Err(DataError::HeaderOnly { file: file.path });
        }
    }

    columns.retain(|column| column.named || column.seen_number);
    if columns.is_empty() {
        return Err(DataError::NoNumbers { file: first_path.clone(), available: names.join(", ") });
    }
    (table.names, table.cells) = columns.into_iter().map(|column| (column.name, column.cells)).unzip();
    if let Some(reading) = reading {
        let (layout, times) = reading
            .finish()
            .ok_or_else(|| DataError::AmbiguousDate { place: table.place(0, &time_name), found: layout.first_time })?;
        (table.time, table.days) = (Some((time_name, times)), layout.is_days());
    }
    Ok(table)
}

/// The names in a file's header.
pub fn header(path: &Path) -> Result<Vec<String>, DataError> {
    Ok(CsvFile::open(path)?.names)
}

/// What the header and the first rows say about the columns.
struct Layouts {
    time: TimeCells,
    first_time: String,
    columns: Vec<Column>,
}

impl Layouts {
    fn new(path: &Path, names: &[String], sample: &[ByteRecord], options: &ReadOptions) -> Result<Layouts, DataError> {
        let find = |wanted: &String| {
            let mut matches = names.iter().enumerate().filter(|(_, name)| *name == wanted);
            match (matches.next(), matches.next()) {
                (Some((index, _)), None) => Ok(index),
                (None, _) => Err(DataError::MissingColumn {
                    file: path.to_owned(),
                    column: wanted.clone(),
                    available: names.join(", "),
                }),
                _ => Err(DataError::RepeatedColumn { file: path.to_owned(), column: wanted.clone() }),
            }
        };
        let time = match (&options.time, options.interval) {
            (Some(name), _) => {
                let index = find(name)?;
                pair_with_clock(sample, names.len(), index)
            }
            (None, Some(_)) => TimeCells::None,
            (None, None) => find_time(path, names, sample)?,
        };
        let first_time = sample.first().map(|row| time.text(row)).unwrap_or_default();
        let columns = if options.columns.is_empty() {
            (0..names.len())
                // With evenly spaced rows a column of times is text like any other, unless it counts.
                .filter(|&index| !time.contains(index))
                .map(|index| Column {
                    index,
                    name: names[index].clone(),
                    named: false,
                    seen_number: false,
                    cells: Vec::new(),
                })
                .collect()
        } else {
            let mut columns: Vec<Column> = Vec::new();
            for name in &options.columns {
                let index = find(name)?;
                if columns.iter().any(|column| column.index == index) {
                    return Err(DataError::RepeatedColumn { file: path.to_owned(), column: name.clone() });
                }
                columns.push(Column { index, name: name.clone(), named: true, seen_number: false, cells: Vec::new() });
            }
            columns
        };
        Ok(Layouts { time, first_time, columns })
    }
}

/// Whether every row of the sample passes; a sample without rows passes nothing.
fn all(sample: &[ByteRecord], index: usize, test: impl Fn(&str) -> bool) -> bool {
    !sample.is_empty() && sample.iter().all(|row| test(&cell(row, index)))
}

/// A column of dates together with the one column of times of day, if there is just one.
fn pair_with_clock(sample: &[ByteRecord], width: usize, date: usize) -> TimeCells {
    if !all(sample, date, is_date_alone) {
        return TimeCells::One(date);
    }
    let mut clocks =
        (0..width).filter(|&index| index != date && all(sample, index, |text| time_of_day(text).is_some()));
    match (clocks.next(), clocks.next()) {
        (Some(clock), None) => TimeCells::DateAndClock(date, clock),
        _ => TimeCells::One(date),
    }
}

fn find_time(path: &Path, names: &[String], sample: &[ByteRecord]) -> Result<TimeCells, DataError> {
    let columns_where =
        |test: &dyn Fn(usize) -> bool| (0..names.len()).filter(|&index| test(index)).collect::<Vec<_>>();
    let mut candidates = columns_where(&|index| all(sample, index, |text| !Layout::candidates(text, false).is_empty()));
    if candidates.is_empty() {
        candidates = columns_where(&|index| {
            let name = names[index].to_lowercase();
            // `time (UTC)`, `timestamp [s]`: the unit is no part of the name.
            let name = name.split(['(', '[']).next().unwrap_or_default().trim();
            TIME_NAMES.contains(&name) && all(sample, index, |text| !Layout::candidates(text, true).is_empty())
        });
    }
    let listed = |indices: &[usize]| indices.iter().map(|&index| names[index].as_str()).collect::<Vec<_>>().join(", ");
    match candidates[..] {
        [only] => Ok(pair_with_clock(sample, names.len(), only)),
        [] => Err(DataError::NoTime { file: path.to_owned(), available: names.join(", ") }),
        ref several => Err(DataError::SeveralTimes { file: path.to_owned(), candidates: listed(several) }),
    }
}

/// The text of a cell, without the spaces and stray quotes around it.
fn cell(record: &ByteRecord, index: usize) -> String {
    source::text(trimmed(record.get(index).unwrap_or_default())).trim().to_owned()
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii();
    // ` "1.5"`: a quote after a space is not CSV's, but written all the same.
    bytes.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).map_or(bytes, <[u8]>::trim_ascii)
}

/// A cell's number, NaN where it is missing; else what was expected.
fn number(record: &ByteRecord, index: usize, decimal_comma: bool) -> Result<f32, &'static str> {
    let bytes = trimmed(record.get(index).unwrap_or_default());
    if is_missing(bytes) {
        return Ok(f32::NAN);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NUMBER)?;
    let parsed = match text.split_once(',') {
        // `1.234,5` might be anything; `1234,5` is not.
        Some((whole, part)) if decimal_comma && !text.contains('.') => format!("{whole}.{part}").parse::<f32>(),
        _ => text.parse::<f32>(),
    };
    match parsed {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(FINITE),
        Err(_) if !decimal_comma && text.replace(',', "").parse::<f32>().is_ok() => Err(POINT),
        Err(_) => Err(NUMBER),
    }
}

fn is_missing(cell: &[u8]) -> bool {
    matches!(cell, b"" | b"?" | b"-")
        || [&b"nan"[..], b"na", b"n/a", b"null", b"none"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}

/// An open file behind its header.
struct CsvFile {
    path: PathBuf,
    names: Vec<String>,
    /// Where commas do not separate cells they may stand in numbers.
    decimal_comma: bool,
    reader: Reader<Box<dyn std::io::Read>>,
}

impl CsvFile {
    fn open(path: &Path) -> Result<CsvFile, DataError> {
        let separator = separator(path)?;
        let mut reader =
            ReaderBuilder::new().trim(Trim::All).flexible(true).delimiter(separator).from_reader(source::open(path)?);
        let header = reader.byte_headers().map_err(|error| csv_error(path, error))?;
        let names: Vec<String> = header
            .iter()
            .map(|name| source::text(trimmed(name)).trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        if names.iter().all(String::is_empty) {
            return Err(DataError::Empty { file: path.to_owned() });
        }
        let reads = |name: &String| is_missing(name.as_bytes()) || !Layout::candidates(name, true).is_empty();
        if names.iter().all(reads) {
            return Err(DataError::NoHeader { file: path.to_owned(), found: names.join(", ") });
        }
        Ok(CsvFile { path: path.to_owned(), names, decimal_comma: separator != b',', reader })
    }

    /// Reads on to the next row with anything in it, as many cells as the header has.
    fn next(&mut self, record: &mut ByteRecord) -> Result<bool, DataError> {
        loop {
            if !self.reader.read_byte_record(record).map_err(|error| csv_error(&self.path, error))? {
                return Ok(false);
            }
            // Spreadsheets end a table with rows of separators, and some loggers every row with one.
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            let expected = self.names.len();
            if record.len() < expected || record.iter().skip(expected).any(|cell| !cell.trim_ascii().is_empty()) {
                return Err(DataError::Ragged {
                    file: self.path.clone(),
                    line: record.position().map_or(0, csv::Position::line),
                    found: record.len() as u64,
                    expected: expected as u64,
                });
            }
            return Ok(true);
        }
    }

    fn sample(&mut self) -> Result<Vec<ByteRecord>, DataError> {
        let mut rows = Vec::new();
        let mut record = ByteRecord::new();
        while rows.len() < SAMPLE_ROWS && self.next(&mut record)? {
            rows.push(record.clone());
        }
        let Some(first) = rows.first() else { return Err(DataError::HeaderOnly { file: self.path.clone() }) };
        // A row of units, as some loggers write it.
        let reads =
            |row: &ByteRecord| (0..row.len()).any(|index| !Layout::candidates(&cell(row, index), true).is_empty());
        if !reads(first) && rows.get(1).is_some_and(reads) {
            return Err(DataError::TextRow {
                file: self.path.clone(),
                line: first.position().map_or(0, csv::Position::line),
                found: (0..first.len()).map(|index| cell(first, index)).collect::<Vec<_>>().join(", "),
            });
        }
        Ok(rows)
    }
}

/// The separator that the header and the lines below it hold equally often, the most frequent such one; else the first that the
/// header holds. (Decimal commas and a comma in a name are seldom equally many in every line.)
fn separator(path: &Path) -> Result<u8, DataError> {
    use std::io::Read as _;
    let mut start = Vec::new();
    source::open(path)?
        .take(1 << 16)
        .read_to_end(&mut start)
        .map_err(|reason| DataError::Unreadable { file: path.to_owned(), reason })?;
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err(DataError::Utf16 { file: path.to_owned() });
    }
    let lines = start.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let lines: Vec<&[u8]> = lines.take(3).collect();
    let counts = |separator: u8| lines.iter().map(move |line| unquoted(line, separator));
    let holds = |separator: &u8| counts(*separator).next().is_some_and(|count| count > 0);
    let even = |separator: &u8| {
        let mut counts = counts(*separator);
        let header = counts.next();
        counts.all(|count| Some(count) == header)
    };
    let candidates: Vec<u8> = [b',', b';', b'\t', b'|'].into_iter().filter(holds).collect();
    // Of equals `max_by_key` takes the last: the comma, from the end.
    let most = candidates.iter().copied().rev().filter(even).max_by_key(|separator| counts(*separator).next());
    Ok(most.or(candidates.first().copied()).unwrap_or(b','))
}

/// How often a byte stands outside quotes.
fn unquoted(line: &[u8], wanted: u8) -> usize {
    let mut quoted = false;
    line.iter()
        .filter(|&&byte| {
            quoted ^= byte == b'"';
            byte == wanted && !quoted
        })
        .count()
}

fn csv_error(path: &Path, error: csv::Error) -> DataError {
    let file = path.to_owned();
    match error.into_kind() {
        csv::ErrorKind::Io(reason) => DataError::Unreadable { file, reason },
        other => DataError::Unreadable { file, reason: std::io::Error::other(format!("{other:?}")) },
    }
}
