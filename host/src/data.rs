//! Measurements from CSV files as regular series: `[column][row]`, one row every `interval_ms`, NaN where a value is missing.
//!
//! Reads `.csv`, `.csv.gz` and `.csv.xz`, several files of one layout one after the other. See [`ReadOptions`] for what is found by
//! itself and what can be told, and [`DataError`] for everything that is refused.

mod error;
mod even;
pub mod fault;
mod fill;
mod grid;
mod names;
pub mod review;
mod source;
pub mod still;
mod table;
mod time;
pub mod unit_change;

use std::path::PathBuf;
use std::time::Duration;

use flowcast_core::format::Header;
use jiff::Timestamp;

pub use error::{DataError, Place};
pub use fill::filled;
use grid::{Grid, GridError};
pub use names::{resolve, twice};
use table::Table;

use crate::duration::show_ms;
use crate::plural::counted;

/// How to read a table.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The column of times; `None` finds it when just one column reads as such. A column of dates is joined with the one column
    /// of times of day, if there is one.
    pub time: Option<String>,
    /// The columns to read, in this order; empty = every column of numbers.
    pub columns: Vec<String>,
    /// Reads the rows as evenly spaced by this, whatever times they carry; ignored when `time` names a column.
    pub interval: Option<Duration>,
}

/// Channels on a common regular time grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Names of the channels, as in the header.
    pub columns: Vec<String>,
    /// The sampling interval in milliseconds, at least 1.
    pub interval_ms: u64,
    /// The first row's time; a time written without an offset counts as UTC. `None` when rows count from the start of a recording.
    pub start: Option<Timestamp>,
    /// `[column][row]`, NaN = missing, all of one length.
    pub values: Vec<Vec<f32>>,
}

impl Series {
    /// Reads files of one layout, one after the other, onto a regular grid.
    ///
    /// The sampling interval is the most common difference between rows, or a round one near it where the clock jitters; rows that
    /// are missing become NaN. A few repeated times, the hour that a local clock repeats in autumn and jitter are mended, and
    /// [`Series::read_noting`] says so. `inf` and numbers beyond
    /// f32 are refused: an instrument's overflow is no measurement, and only the user knows whether it is a missing one.
    ///
    /// # Errors
    /// [`DataError`], with file, line, column, what was found and what was expected.
    pub fn read(paths: &[PathBuf], options: &ReadOptions) -> Result<Series, DataError> {
        Ok(Series::read_noting(paths, options)?.0)
    }

    /// As [`Series::read`], with what was done to the rows to make them regular, a line each.
    ///
    /// # Errors
    /// As [`Series::read`].
    pub fn read_noting(paths: &[PathBuf], options: &ReadOptions) -> Result<(Series, Vec<String>), DataError> {
        let mut table = table::read(paths, options)?;
        let columns = std::mem::take(&mut table.names);
        let cells = std::mem::take(&mut table.cells);
        let Some((time_column, times)) = table.time.take() else {
            let interval_ms = options.interval.map_or(0, |interval| interval.as_millis() as u64);
            if interval_ms == 0 {
                return Err(DataError::NoInterval {
                    file: paths[0].clone(),
                    found: format!("an interval of {:?}", options.interval.unwrap_or_default()),
                    expected: "at least 1 ms",
                });
            }
            return Ok((Series { columns, interval_ms, start: None, values: cells }, Vec::new()));
        };
        let grid = Grid::new(&times).map_err(|error| explain(error, &table, &times, &time_column))?;
        let start =
            if time::is_since_start(grid.start_ms) { None } else { Timestamp::from_millisecond(grid.start_ms).ok() };
        let values = cells.iter().map(|column| grid.lay(column)).collect();
        let series = Series { columns, interval_ms: grid.interval_ms, start, values };
        Ok((series, notes(&grid, &table, &times, &time_column)))
    }

    /// Rows on the grid, missing ones included.
    pub fn rows(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    /// Copies one row, `[column]`, into `sample`.
    ///
    /// # Panics
    /// If `row` is out of range or `sample` is not one value a column.
    pub fn row(&self, row: usize, sample: &mut [f32]) {
        assert_eq!(sample.len(), self.values.len(), "one value a column");
        for (value, column) in sample.iter_mut().zip(&self.values) {
            *value = column[row];
        }
    }

    /// What comes from row `next` on, as a column known in advance is told: `(channel, steps_ahead)`, where 1 is that row;
    /// NaN beyond the last one.
    pub fn to_come(&self, next: usize) -> impl Fn(usize, usize) -> f32 + '_ {
        move |channel, steps_ahead| {
            let value = self.values.get(channel).and_then(|values| values.get(next + steps_ahead - 1));
            value.copied().unwrap_or(f32::NAN)
        }
    }

    /// The time of a row, where the file told it.
    pub fn time(&self, row: usize) -> Option<Timestamp> {
        let offset = i64::try_from(row as u64 * self.interval_ms).ok()?;
        Timestamp::from_millisecond(self.start?.as_millisecond().checked_add(offset)?).ok()
    }

    /// These channels in this order.
    ///
    /// # Errors
    /// The name that is not there.
    pub fn select(&self, names: &[String]) -> Result<Series, String> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let index = self.columns.iter().position(|column| column == name).ok_or(name)?;
            values.push(self.values[index].clone());
        }
        Ok(Series { columns: names.to_vec(), values, ..*self })
    }

    /// The rows before `end`.
    pub fn before(&self, end: usize) -> Series {
        let values = self.values.iter().map(|values| values[..end.min(values.len())].to_vec()).collect();
        Series { columns: self.columns.clone(), values, ..*self }
    }

    /// The first row of the held-out end, when this fraction of the rows is held out: the one split that training and back-test share.
    pub fn test_start(&self, test_fraction: f64) -> usize {
        Series::test_start_of(self.rows(), test_fraction)
    }

    /// The same of a series of so many rows.
    pub fn test_start_of(rows: usize, test_fraction: f64) -> usize {
        rows - ((rows as f64 * test_fraction.clamp(0.0, 1.0)).round() as usize).min(rows)
    }

    /// The data without the faults of each column by a model's channels ([`fault::without_faults`]), for scoring.
    pub fn without_faults(mut self, header: &Header, model: &[u8]) -> Series {
        for (index, values) in self.values.iter_mut().enumerate() {
            if let Some(channel) = header.channel(model, index) {
                fault::without_faults(values, &channel);
            }
        }
        self
    }
}

/// What was done to lay the rows on the grid, a line each.
fn notes(grid: &Grid, table: &Table, times: &[i64], column: &str) -> Vec<String> {
    /// Jitter below this part of the interval is nothing to speak of.
    const NOTABLE_JITTER: f64 = 0.01;
    let rows = |count: usize| counted(count, "row");
    let interval = show_ms(grid.interval_ms);
    let mut notes = Vec::new();
    if table.days {
        notes.push(format!("column `{column}` counts days: the first row is of {}", time::show(times[0])));
    }
    if let Some(&row) = grid.repeats.first() {
        let (place, count) = (table.place(row, column), rows(grid.repeats.len()));
        notes.push(format!(
            "{place}: found {} a second time; {count} of repeated times left out, the first of each kept",
            time::show(times[row])
        ));
    }
    for &(row, count) in &grid.set_back {
        let (place, count) = (table.place(row, column), rows(count));
        notes.push(format!(
            "{place}: the clock was set back to {} from summer time; the repeated hour ({count}) left out (times in UTC would keep it)",
            time::show(times[row])
        ));
    }
    let (count, most_ms) = grid.jitter;
    if most_ms as f64 > NOTABLE_JITTER * grid.interval_ms as f64 {
        let (count, most) = (rows(count), show_ms(most_ms));
        notes.push(format!(
            "{count} beside the grid of one every {interval}, by up to {most} (a jittering clock?): taken as on it"
        ));
    }
    let missing = grid.missing();
    if missing > 0 {
        let (place, length) = grid.longest_gap();
        let share = 100.0 * missing as f64 / grid.rows() as f64;
        let from = time::show(grid.start_ms + place as i64 * grid.interval_ms as i64);
        let longest = show_ms(length as u64 * grid.interval_ms);
        notes.push(format!(
            "{} missing of {} ({share:.1} %); the longest gap is {longest} from {from} on",
            rows(missing),
            grid.rows()
        ));
    }
    notes
}

/// A grid's error with the place in the file.
fn explain(error: GridError, table: &Table, times: &[i64], column: &str) -> DataError {
    let show = |row: usize| time::show(times[row]);
    match error {
        GridError::Duplicate { row, earlier, local_clock } => DataError::DuplicateTime {
            place: table.place(row, column),
            found: show(row),
            earlier: table.show_line(earlier, row),
            hint: GridError::hint(local_clock),
        },
        GridError::Unordered { row, local_clock } => DataError::UnorderedTime {
            place: table.place(row, column),
            found: show(row),
            previous: show(row - 1),
            hint: GridError::hint(local_clock),
        },
        GridError::OffGrid { row, expected_ms, interval_ms } => DataError::OffGrid {
            place: table.place(row, column),
            found: show(row),
            expected: time::show(expected_ms),
            interval_ms,
        },
        GridError::Gap { row, rows } => DataError::Gap {
            place: table.place(row, column),
            found: show(row),
            previous: show(row - 1),
            gap_rows: rows,
        },
        GridError::OneRow => DataError::NoInterval {
            file: table.place(0, column).file,
            found: "a single row".to_owned(),
            expected: "at least two, to tell the sampling interval",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::path::Path;

    fn bundled(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(name)
    }

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read_text(text: &str) -> Result<Series, DataError> {
        let (_folder, path) = file("data.csv", text.as_bytes());
        Series::read(&[path], &ReadOptions::default())
    }

    /// The error without the temporary folder's name.
    fn error_of(text: &str) -> String {
        error_with(text, &ReadOptions::default())
    }

    fn error_with(text: &str, options: &ReadOptions) -> String {
        let (folder, path) = file("data.csv", text.as_bytes());
        let error = Series::read(&[path], options).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn bundled_files() {
        let mast = Series::read(&[bundled("mast_10min.csv.gz")], &ReadOptions::default()).unwrap();
        assert_eq!(mast.columns, ["T2m", "RH2m", "P2m", "BattMin"]);
        assert_eq!((mast.rows(), mast.interval_ms), (77_878, 600_000));
        assert_eq!(mast.start.unwrap().to_string(), "2016-05-31T15:20:00Z");
        assert_eq!(mast.values[0][0], 17.31);
        assert_eq!(mast.time(77_877).unwrap().to_string(), "2017-11-23T10:50:00Z");

        let options = ReadOptions { columns: vec!["tempF".into()], ..ReadOptions::default() };
        let station = Series::read(&[bundled("il-tempF.csv.gz")], &options).unwrap();
        assert_eq!(station.interval_ms, 3_600_000);
        assert_eq!(station.start.unwrap().to_string(), "2015-11-22T06:00:00Z");
    }

    #[test]
    fn gaps_missing_cells_and_text_columns() {
        let series = read_text(
            "time,a,note,b\n2024-01-01 00:00,1,ok,?\n2024-01-01 00:10,NaN,,2\n2024-01-01 00:40, \"3\" ,bad,-\n\
             2024-01-01 00:50,null,,5\n",
        )
        .unwrap();
        assert_eq!(series.columns, ["a", "b"]);
        let shown: Vec<String> = series.values.iter().map(|column| format!("{column:?}")).collect();
        assert_eq!(shown[0], "[1.0, NaN, NaN, NaN, 3.0, NaN]");
        assert_eq!(shown[1], "[NaN, 2.0, NaN, NaN, NaN, 5.0]");
    }

    #[test]
    fn latin_1_semicolons_and_two_columns_of_time() {
        let (_folder, path) =
            file("data.csv", b"\xef\xbb\xbfDate;Time;T (\xb0C)\n31/12/2023;23:50:00;1.5\n01/01/2024;00:00:00;2.5\n");
        let series = Series::read(&[path], &ReadOptions::default()).unwrap();
        assert_eq!(series.columns, ["T (Â°C)".replace('Â', "")]);
        assert_eq!(series.interval_ms, 600_000);
        assert_eq!(series.start.unwrap().to_string(), "2023-12-31T23:50:00Z");
    }

    #[test]
    fn rows_without_times_need_an_interval() {
        let options = ReadOptions { interval: Some(Duration::from_secs(60)), ..ReadOptions::default() };
        let (_folder, path) = file("data.csv", b"a,b\n1,2\n3,4\n");
        let series = Series::read(std::slice::from_ref(&path), &options).unwrap();
        assert_eq!((series.interval_ms, series.rows(), series.start), (60_000, 2, None));
        let error = Series::read(&[path], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("--time COLUMN") && error.contains("--interval"), "{error}");
    }

    #[test]
    fn several_files_and_compressions() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("1.csv.xz");
        let second = folder.path().join("2.csv.gz");
        let mut xz = liblzma::write::XzEncoder::new(std::fs::File::create(&first).unwrap(), 1);
        xz.write_all(b"ts,y\n0,1\n10,2\n").unwrap();
        xz.finish().unwrap();
        let mut gz =
            flate2::write::GzEncoder::new(std::fs::File::create(&second).unwrap(), flate2::Compression::fast());
        gz.write_all(b"ts,y\n20,3\n10,4\n").unwrap();
        gz.finish().unwrap();
        let error = Series::read(&[first.clone(), second.clone()], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("2.csv.gz:3: column `ts`: found 10 s a second time (first on line 3 of "), "{error}");
        assert!(error.ends_with("1.csv.xz), expected a later time"), "{error}");
        std::fs::write(&second, "ts,z\n20,3\n").unwrap();
        let error = Series::read(&[first.clone(), second.clone()], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("found data that is not gzip"), "{error}");
        let plain = folder.path().join("3.csv");
        std::fs::rename(&second, &plain).unwrap();
        let error = Series::read(&[first.clone(), plain], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("found the columns ts, z, expected the same"), "{error}");
        let series = Series::read(&[first], &ReadOptions::default()).unwrap();
        assert_eq!((series.interval_ms, series.start), (10_000, None));
    }

    #[test]
    fn cut_compressed_file() {
        let whole = std::fs::read(bundled("il-tempF.csv.gz")).unwrap();
        let (_folder, path) = file("cut.csv.gz", &whole[..whole.len() / 2]);
        let error = Series::read(&[path], &ReadOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn every_refusal_names_place_found_and_expected() {
        let day = |rows: &str| format!("time,a\n2024-01-01 00:00,1\n2024-01-01 00:10,2\n2024-01-01 00:20,3\n{rows}");
        assert_eq!(error_of(""), "data.csv: found an empty file, expected a header line and rows of numbers");
        assert_eq!(error_of("\n\n"), "data.csv: found an empty file, expected a header line and rows of numbers");
        assert_eq!(error_of("time,a\n"), "data.csv: found a header without rows, expected rows of numbers below it");
        assert_eq!(error_of(&day("2024-01-01 00:30\n")), "data.csv:5: found 1 cells, expected 2 as in the header");
        assert_eq!(
            error_of(&day("2024-01-01 00:30,abc\n")),
            "data.csv:5: column `a`: found `abc`, expected a number (a missing value may be empty, NaN, NA, N/A, null, none, ? or -)"
        );
        for huge in ["inf", "1e39", "-Infinity"] {
            assert_eq!(
                error_of(&day(&format!("2024-01-01 00:30,{huge}\n"))),
                format!(
                    "data.csv:5: column `a`: found `{huge}`, expected a finite number within ±3.4e38 (leave the cell empty if it is missing)"
                )
            );
        }
        assert_eq!(
            error_of(&day("2024-01-01 00:20,4\n")),
            "data.csv:5: column `time`: found 2024-01-01 00:20:00 a second time (first on line 4), expected a later time"
        );
        assert_eq!(
            error_of(&day("2023-12-31 00:20,4\n")),
            "data.csv:5: column `time`: found 2023-12-31 00:20:00 after 2024-01-01 00:20:00, expected a later time"
        );
        assert_eq!(
            error_of(&day("2024-01-01 00:34,4\n")),
            "data.csv:5: column `time`: found 2024-01-01 00:34:00, expected 2024-01-01 00:30:00 (rows come every 10 min)"
        );
        assert_eq!(
            error_of(&day("yesterday,4\n")),
            "data.csv: found no column of times among time, a; name it with --time COLUMN, or give --interval DURATION \
             (such as 10min) to read the rows as evenly spaced"
        );
        let mut long = String::from("time,a\n");
        for row in 0..144 {
            long += &format!("2024-01-01 {:02}:{:02},1\n", row / 6, row % 6 * 10);
        }
        assert_eq!(
            error_of(&(long.clone() + "yesterday,4\n")),
            "data.csv:146: column `time`: found `yesterday`, expected a time in the form of the rows above"
        );
        assert!(error_of(&(long + "2924-01-01 00:20,4\n")).contains("missing rows, expected no gap as long"));
        assert_eq!(
            error_of("time,date,a\n2024-01-01,2024-01-01,3\n"),
            "data.csv: found several columns of times (time, date), expected one; choose it with --time COLUMN"
        );
        assert!(
            error_of("time,a\n01/02/2024 00:00,1\n01/02/2024 01:00,1\n")
                .contains("found dates such as `01/02/2024 00:00`")
        );
        let named = |name: &str| ReadOptions { columns: vec![name.into()], ..ReadOptions::default() };
        assert_eq!(error_with(&day(""), &named("b")), "data.csv: found no column `b`, expected one of: time, a");
        assert_eq!(
            error_with("time,a\n2024-01-01,x\n2024-01-02,2\n", &named("a")),
            "data.csv:2: column `a`: found `x`, expected a number (a missing value may be empty, NaN, NA, N/A, null, none, ? or -)"
        );
        assert!(error_of("time,a\n2024-01-01,x\n2024-01-02,y\n").contains("no column of numbers"));
        let missing = Series::read(&[PathBuf::from("no/such.csv")], &ReadOptions::default()).unwrap_err();
        assert!(missing.to_string().starts_with("no/such.csv: "), "{missing}");
    }

    /// A year of hours from midnight of 2023-01-01, each a line of local time and a value.
    fn hours(count: usize) -> Vec<String> {
        let start = Timestamp::from_second(1_672_531_200).unwrap();
        let at = |row: usize| start + jiff::SignedDuration::from_hours(row as i64);
        (0..count).map(|row| format!("{},{row}\n", at(row).strftime("%Y-%m-%d %H:%M"))).collect()
    }

    fn notes_of(lines: &[String]) -> (Series, Vec<String>) {
        let (folder, path) = file("data.csv", ("time,a\n".to_owned() + &lines.concat()).as_bytes());
        let (series, notes) = Series::read_noting(&[path], &ReadOptions::default()).unwrap();
        let folder = format!("{}/", folder.path().display());
        let notes = notes.iter().map(|note| note.replace(&folder, "")).collect();
        (series, notes)
    }

    #[test]
    fn what_was_mended_is_noted() {
        let mut lines = hours(300);
        assert_eq!(notes_of(&lines).1, [""; 0]);
        lines.insert(200, lines[199].clone());
        let (series, notes) = notes_of(&lines);
        assert_eq!(series.rows(), 300);
        assert_eq!(
            notes,
            [
                "data.csv:202: column `time`: found 2023-01-09 07:00:00 a second time; 1 row of repeated times left out, the first of each kept"
            ]
        );
        lines.drain(10..13);
        assert_eq!(
            notes_of(&lines).1[1],
            "3 rows missing of 300 (1.0 %); the longest gap is 3 h from 2023-01-01 10:00:00 on"
        );
        // Half-hourly, in local time, over the end of summer time.
        let autumn: Vec<String> = (0..200)
            .chain(198..400)
            .map(|half: usize| {
                format!("2023-10-{:02} {:02}:{:02},{half}\n", 25 + half / 48, half / 2 % 24, half % 2 * 30)
            })
            .take(320)
            .collect();
        let (series, notes) = notes_of(&autumn);
        assert_eq!((series.rows(), series.values[0][198]), (318, 198.0));
        assert_eq!(
            notes,
            [
                "data.csv:202: column `time`: the clock was set back to 2023-10-29 03:00:00 from summer time; the repeated hour (2 rows) left out (times in UTC would keep it)"
            ]
        );
    }

    #[test]
    fn decimal_commas_quotes_and_line_ends() {
        let (_folder, path) = file(
            "data.csv",
            b"\xef\xbb\xbf\"time\";\"power, kW\";b\r\n2024-01-01 00:00;1,5;-2,25\r\n2024-01-01 00:10;3;1e3\r\n",
        );
        let series = Series::read(&[path], &ReadOptions::default()).unwrap();
        assert_eq!(series.columns, ["power, kW", "b"]);
        assert_eq!(series.values, [[1.5, 3.0], [-2.25, 1e3]]);
        // A comma in a name does not separate.
        let series = read_text("time;power, kW;b\n2024-01-01 00:00;1,5;2\n2024-01-01 00:10;3,5;1\n").unwrap();
        assert_eq!(series.columns, ["power, kW", "b"]);
        let error = error_of("time;a\n2024-01-01 00:00;1,5\n2024-01-01 00:10;1.234,5\n2024-01-01 00:20;1,5\n");
        assert!(error.starts_with("data.csv:3: column `a`: found `1.234,5`, expected a number"), "{error}");
        let utf16: Vec<u8> = "\u{feff}time,a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (_folder, path) = file("data.csv", &utf16);
        let error = Series::read(&[path], &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.ends_with("found UTF-16 text, expected UTF-8: save it as `CSV UTF-8`"), "{error}");
    }

    #[test]
    fn the_held_out_end() {
        let series = Series { columns: vec!["a".into()], interval_ms: 1, start: None, values: vec![vec![0.0; 10]] };
        assert_eq!(series.test_start(0.2), 8);
        assert_eq!(series.test_start(0.0), 10);
        assert_eq!(series.test_start(1.0), 0);
        assert_eq!(series.select(&["b".to_owned()]), Err("b".to_owned()));
    }
}
