//! Rows as they follow each other, whatever times they carry: what the literature's benchmarks are read as.

use std::path::PathBuf;

use super::grid::most_common;
use super::{DataError, ReadOptions, Series, table};

impl Series {
    /// Reads every row as the sample after the one above, at the most common interval between rows: a repeated time is a row like any
    /// other, and a gap is none. Otherwise as [`Series::read`].
    ///
    /// # Errors
    /// As [`Series::read`], but for times that fit no grid.
    pub fn read_even(paths: &[PathBuf], options: &ReadOptions) -> Result<Series, DataError> {
        let mut table = table::read(paths, options)?;
        let Some((_, times)) = table.time.take() else { return Series::read(paths, options) };
        let forwards = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|difference| *difference > 0);
        let interval_ms = most_common(forwards).ok_or_else(|| DataError::NoInterval {
            file: paths[0].clone(),
            found: "no two rows whose times run forwards".to_owned(),
            expected: "some, to tell the sampling interval",
        })?;
        // A start would be wrong for the rows behind the first gap.
        Ok(Series { columns: table.names, interval_ms: interval_ms as u64, start: None, values: table.cells })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        let text =
            b"time,T (\xb0C)\n2024-01-01 00:00,1\n2024-01-01 00:10,-9999\n2024-01-01 00:10,3\n2024-01-01 00:20,4\n\
            2024-01-01 02:00,5\n2024-01-01 01:50,6\n";
        std::fs::write(&path, text).unwrap();
        let series = Series::read_even(&[path], &ReadOptions::default()).unwrap();
        assert_eq!((series.columns[0].as_str(), series.interval_ms, series.start), ("T (°C)", 600_000, None));
        assert_eq!(series.values, [[1.0, -9999.0, 3.0, 4.0, 5.0, 6.0]]);
    }

    #[test]
    fn times_that_stand_still_have_no_interval() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        std::fs::write(&path, "time,a\n2024-01-01 00:00,1\n2024-01-01 00:00,2\n").unwrap();
        let error = Series::read_even(&[path], &ReadOptions::default()).unwrap_err().to_string();
        assert!(
            error.ends_with("found no two rows whose times run forwards, expected some, to tell the sampling interval"),
            "{error}"
        );
    }
}
