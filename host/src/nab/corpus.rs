//! The Numenta Anomaly Benchmark's files: every series under `data/` and the windows of `labels/combined_windows.json`,
//! from a checkout or a `.tar.gz` of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::civil::DateTime;

const WINDOWS: &str = "labels/combined_windows.json";

/// One labelled series.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// Folder and file, as the labels name it: `realTweets/Twitter_volume_AAPL.csv`.
    pub name: String,
    /// The most common difference between rows, in milliseconds.
    pub interval_ms: u64,
    /// The values in the order of the rows, whatever times they carry: NAB's detectors see rows.
    pub values: Vec<f64>,
    /// Labelled windows in order, as rows.
    pub windows: Vec<RangeInclusive<usize>>,
}

/// Reads the corpus.
///
/// # Errors
/// The folder or archive cannot be read, holds no labels, or a file is not as NAB writes it.
pub fn read(path: &Path) -> Result<Vec<Labelled>> {
    let files =
        if path.is_dir() { folder(path)? } else { archive(path).with_context(|| path.display().to_string())? };
    let labels = files
        .get(WINDOWS)
        .with_context(|| format!("{}: found no {WINDOWS}, expected NAB's folder or its .tar.gz", path.display()))?;
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_slice(labels).context(WINDOWS)?;
    labels
        .into_iter()
        .map(|(name, windows)| {
            let bytes = files.get(&format!("data/{name}")).with_context(|| format!("found no data/{name}"))?;
            labelled(&name, bytes, &windows).with_context(|| format!("data/{name}"))
        })
        .collect()
}

/// The part of a path that begins at `data/` or `labels/`, if it is one of the corpus's files.
fn inner(path: &str) -> Option<&str> {
    let is_series = |inner: &str| inner.ends_with(".csv") && inner.matches('/').count() == 2;
    let from = |folder: &str| {
        let start = if path.starts_with(folder) { Some(0) } else { path.find(&format!("/{folder}")).map(|at| at + 1) };
        start.map(|start| &path[start..])
    };
    from("data/").filter(|inner| is_series(inner)).or(from("labels/").filter(|inner| *inner == WINDOWS))
}

fn archive(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::io::BufReader::new(file)));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry.context("expected a .tar.gz of NAB")?;
        let name = entry.path()?.to_string_lossy().replace('\\', "/");
        if let Some(inner) = inner(&name) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes)?;
            files.insert(inner.to_owned(), bytes);
        }
    }
    Ok(files)
}

fn folder(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut read = |name: String| -> Result<()> {
        let file = path.join(&name);
        files.insert(name, std::fs::read(&file).with_context(|| file.display().to_string())?);
        Ok(())
    };
    if path.join(WINDOWS).is_file() {
        read(WINDOWS.to_owned())?;
    }
    let data = path.join("data");
    for group in std::fs::read_dir(&data).with_context(|| data.display().to_string())? {
        let group = group?;
        if group.file_type()?.is_dir() {
            for file in std::fs::read_dir(group.path())? {
                let name = file?.file_name();
                let name = format!("data/{}/{}", group.file_name().display(), name.display());
                if inner(&name).is_some() {
                    read(name)?;
                }
            }
        }
    }
    Ok(files)
}

fn labelled(name: &str, bytes: &[u8], windows: &[[String; 2]]) -> Result<Labelled> {
    let mut times: Vec<DateTime> = Vec::new();
    let mut values: Vec<f64> = Vec::new();
    for record in csv::Reader::from_reader(bytes).records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |index: usize| record.get(index).unwrap_or("").trim();
        times.push(cell(0).parse().with_context(|| format!("line {line}: found {:?}, expected a time", cell(0)))?);
        values.push(cell(1).parse().with_context(|| format!("line {line}: found {:?}, expected a number", cell(1)))?);
    }
    ensure!(values.len() >= 2, "found {} rows, expected at least 2", values.len());
    let row = |time: &String| -> Result<usize> {
        let time: DateTime = time.parse().with_context(|| format!("{WINDOWS}: found {time:?}, expected a time"))?;
        times.iter().position(|row| *row == time).with_context(|| format!("found no row at {time}, expected one"))
    };
    let mut rows = Vec::new();
    for [start, end] in windows {
        let (start, end) = (row(start)?, row(end)?);
        if end < start || rows.last().is_some_and(|last: &RangeInclusive<usize>| *last.end() >= start) {
            bail!("{WINDOWS}: found a window of rows {start} to {end}, expected windows in order, apart");
        }
        rows.push(start..=end);
    }
    Ok(Labelled { name: name.to_owned(), interval_ms: interval(&times)?, values, windows: rows })
}

/// The most common positive difference, the smallest of those as common.
fn interval(times: &[DateTime]) -> Result<u64> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for pair in times.windows(2) {
        let difference = pair[1].duration_since(pair[0]).as_millis() as i64;
        *counts.entry(difference).or_default() += usize::from(difference > 0);
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let found = counts.into_iter().find(|(_, count)| *count == most && most > 0);
    found.map(|(difference, _)| difference as u64).context("found rows that are all of one time")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A corpus of two series with steps, one of them labelled, as files.
    pub(crate) fn files() -> Vec<(&'static str, String)> {
        let series = |step_at: usize| {
            let mut text = "timestamp,value\n".to_owned();
            for row in 0..1200 {
                let noise = ((row * 7919) % 1009) as f64 / 1009.0;
                let level = if row >= step_at { 30.0 } else { 10.0 };
                let wave = (row as f64 / 12.0 * std::f64::consts::TAU).sin();
                let (day, hour, minute) = (1 + row / 288, row / 12 % 24, 5 * (row % 12));
                text += &format!("2014-04-{day:02} {hour:02}:{minute:02}:00,{}\n", level + wave + noise);
            }
            text
        };
        let window = r#"["2014-04-03 11:40:00.000000", "2014-04-03 21:35:00.000000"]"#;
        vec![
            ("data/README.md", "not a series".to_owned()),
            ("data/made/step.csv", series(720)),
            ("data/made/still.csv", series(2000)),
            ("labels/combined_windows_tiny.json", "{}".to_owned()),
            ("labels/combined_windows.json", format!(r#"{{"made/step.csv": [{window}], "made/still.csv": []}}"#)),
        ]
    }

    #[test]
    fn a_folder_and_an_archive_hold_the_same() {
        let place = tempfile::tempdir().unwrap();
        let packed = std::fs::File::create(place.path().join("nab.tar.gz")).unwrap();
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(packed, flate2::Compression::fast()));
        for (name, text) in files() {
            let file = place.path().join("NAB").join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            builder.append_path_with_name(&file, format!("nab/{name}")).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        for path in ["NAB", "nab.tar.gz"] {
            let corpus = read(&place.path().join(path)).unwrap();
            let [step, still] = &corpus[..] else { panic!("{path}: {} series", corpus.len()) };
            assert_eq!((still.name.as_str(), still.windows.len(), still.values.len()), ("made/still.csv", 0, 1200));
            assert_eq!((step.interval_ms, step.windows.as_slice()), (300_000, &[716..=835][..]));
        }
    }

    #[test]
    fn refusals_name_the_file() {
        let place = tempfile::tempdir().unwrap();
        let error = format!("{:#}", read(&place.path().join("none.tar.gz")).unwrap_err());
        assert!(error.contains("none.tar.gz"), "{error}");
        let bad = labelled("a/b.csv", b"timestamp,value\n2014-04-01 00:00:00,x\n", &[]).unwrap_err();
        assert!(format!("{bad:#}").starts_with("line 2: found \"x\", expected a number"), "{bad:#}");
    }
}
