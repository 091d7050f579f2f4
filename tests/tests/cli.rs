//! The `flowcast` command as scripts meet it: exit codes, one clear line for each bad input, one JSON object, and a result that the
//! future cannot change.

#[path = "cli/data.rs"]
mod data;
#[path = "cli/flash.rs"]
mod flash;
#[path = "cli/known.rs"]
mod known;
#[path = "cli/line.rs"]
mod line;
#[path = "cli/sign.rs"]
mod sign;
#[path = "cli/train.rs"]
mod train;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use flowcast_core::presets::PRESETS;
use flowcast_tests::{Random, random_model};
use serde_json::Value;

/// The command, built by the same cargo and profile as this test.
fn flowcast() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let build = Command::new(cargo)
            .args(["build", "--quiet", "--package", "flowcast", "--bin", "flowcast", "--message-format=json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo starts");
        assert!(build.status.success(), "the command builds");
        String::from_utf8_lossy(&build.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["executable"].as_str().map(PathBuf::from))
            .next_back()
            .expect("cargo names the program")
    });
    Command::new(program)
}

/// A folder with a model of two channels and data that fit it.
struct Bench {
    folder: tempfile::TempDir,
}

const HEADER: &str = "time,c0,c1\n";

/// Row by row: a daily wave with noise, every 10 minutes, from midnight.
fn rows(count: usize) -> Vec<String> {
    let mut random = Random::new(7);
    (0..count)
        .map(|row| {
            let (day, minute) = (1 + row / 144, row % 144 * 10);
            let wave = 20.0 + 5.0 * (row as f32 / 144.0 * std::f32::consts::TAU).sin();
            format!(
                "2024-05-{day:02} {:02}:{:02},{:.2},{:.2}\n",
                minute / 60,
                minute % 60,
                wave + random.symmetric(),
                wave - 2.0 * random.symmetric()
            )
        })
        .collect()
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        bench.write("model.flow", &random_model(&PRESETS[0], 2, 144, 36, 1));
        bench.write("data.csv", (HEADER.to_owned() + &rows(1_440).concat()).as_bytes());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        flowcast().args(words).current_dir(self.folder.path()).output().unwrap()
    }

    /// The one line of a run that must fail with exit code 1 and print no result.
    fn refusal(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("error: "), "{error}");
        error.trim_end().to_owned()
    }

    fn backtest_json(&self, data: &str) -> Value {
        let output = self.run(&["backtest", "model.flow", data, "--origins", "5", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "silent without a terminal: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let bench = Bench::new();
    for words in [
        &[][..],
        &["sing"],
        &["backtest"],
        &["backtest", "model.flow"],
        &["backtest", "model.flow", "data.csv", "--test-fraction", "2"],
        &["backtest", "model.flow", "data.csv", "--horizons", "soon"],
        &["backtest", "model.flow", "data.csv", "--interval", "1 month"],
    ] {
        assert_eq!(bench.run(words).status.code(), Some(2), "{words:?}");
    }
    assert_eq!(bench.run(&["--help"]).status.code(), Some(0));
    assert_eq!(bench.run(&["backtest", "--help"]).status.code(), Some(0));
}

#[test]
fn backtest_prints_a_table_or_one_json_object() {
    let bench = Bench::new();
    let output =
        bench.run(&["backtest", "model.flow", "data.csv", "--origins", "5", "--report", "r.html", "--figure", "f.svg"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["flowcast", "seasonal_naive", "mstl_ets", "1 h", "6 h", "MASE"] {
        assert!(table.contains(word), "{word} in {table}");
    }
    assert!(std::fs::read_to_string(bench.path("r.html")).unwrap().ends_with("</html>\n"));
    assert!(std::fs::read_to_string(bench.path("f.svg")).unwrap().contains("</svg>"));

    let json = bench.backtest_json("data.csv");
    assert_eq!(json["horizons"][0]["steps"], 6);
    for field in ["mse", "mae", "mase", "wql", "coverage80"] {
        assert!(json["overall"][field].is_number(), "{field}");
        assert!(json["horizons"][1][field].is_number(), "{field}");
    }
    assert!(json["baselines"]["ets"]["overall"]["mase"].is_number());
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let bench = Bench::new();
    assert_eq!(bench.backtest_json("data.csv"), bench.backtest_json("data.csv"));
}

/// Two files that agree up to a row give the same forecasts up to it, whatever follows; the last of them ends with it.
#[test]
fn the_future_changes_no_past_forecast() {
    let bench = Bench::new();
    let rows = rows(1_440);
    let (known, later) = rows.split_at(1_188);
    let mut changed = HEADER.to_owned() + &known.concat();
    for (row, line) in later.iter().enumerate() {
        let time = line.split(',').next().unwrap();
        writeln!(changed, "{time},{},-900", if row % 2 == 0 { "900" } else { "" }).unwrap();
    }
    bench.write("changed.csv", changed.as_bytes());
    // One origin, at row 1,152, whose 36 steps end with row 1,187.
    let first = |data: &str| {
        let output = bench.run(&["backtest", "model.flow", data, "--origins", "1", "--horizons", "36", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        // They speak of all rows.
        report.as_object_mut().unwrap().remove("notes").unwrap();
        report
    };
    let (before, after) = (first("data.csv"), first("changed.csv"));
    assert_eq!((&before["test_start"], &before["origins"]), (&Value::from(1_152), &Value::from(1)));
    assert_eq!(before, after);
}

#[test]
fn bad_data_gives_one_line_with_its_place() {
    let bench = Bench::new();
    let good = rows(1_440);
    let with = |line: &str| HEADER.to_owned() + &good[..1_000].concat() + line + &good[1_001..].concat();
    let twice = HEADER.to_owned() + &good.iter().map(|row| row.repeat(2)).collect::<String>();
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("an empty file", String::new(), &["bad.csv", "empty file"]),
        ("a header only", HEADER.to_owned(), &["bad.csv", "header without rows"]),
        ("a missing column", "time,c0\n".to_owned() + "2024-05-01 00:00,1\n", &["no column `c1`", "time, c0"]),
        ("text in a number", with("2024-05-07 22:40,warm,1\n"), &["bad.csv:1002", "column `c0`", "`warm`", "a number"]),
        ("overflow", with("2024-05-07 22:40,1e39,1\n"), &["bad.csv:1002", "`1e39`", "finite"]),
        ("unordered", with("2024-05-01 22:45,1,1\n"), &["bad.csv:1002", "column `time`", "after 2024-05-07 22:30:00"]),
        ("every row twice", twice, &["bad.csv:3", "2024-05-01 00:00:00 a second time", "line 2"]),
        ("a ragged row", with("2024-05-07 22:40,1\n"), &["bad.csv:1002", "found 2 cells, expected 3"]),
        ("too short", HEADER.to_owned() + &good[..100].concat(), &["found 20 held-out rows", "36"]),
    ];
    for (what, text, parts) in cases {
        bench.write("bad.csv", text.as_bytes());
        let error = bench.refusal(&["backtest", "model.flow", "bad.csv"]);
        for part in parts {
            assert!(error.contains(part), "{what}: {part:?} in {error}");
        }
    }
    bench.write("fake.csv.gz", HEADER.as_bytes());
    assert!(bench.refusal(&["backtest", "model.flow", "fake.csv.gz"]).contains("not gzip"));
    assert!(bench.refusal(&["backtest", "model.flow", "absent.csv"]).contains("absent.csv"));
    let hourly = HEADER.to_owned() + "2024-05-01 00:00,1,1\n2024-05-01 01:00,1,2\n";
    bench.write("hourly.csv", hourly.as_bytes());
    let error = bench.refusal(&["backtest", "model.flow", "hourly.csv"]);
    assert!(error.contains("every 1 h") && error.contains("every 10 min"), "{error}");
}

#[test]
fn a_bad_model_is_refused_by_name() {
    let bench = Bench::new();
    let good = std::fs::read(bench.path("model.flow")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut version = good.clone();
    version[4] = 99;
    for (what, bytes, part) in [
        ("truncated", &good[..good.len() - 10], "truncated"),
        ("empty", &[][..], "truncated"),
        ("bit-flipped", &flipped, "corrupt"),
        ("wrong version", &version, "99"),
        ("not a model", b"time,c0,c1\n", "not a Flowcast model"),
    ] {
        bench.write("bad.flow", bytes);
        let error = bench.refusal(&["backtest", "bad.flow", "data.csv"]);
        assert!(error.contains("bad.flow: ") && error.to_lowercase().contains(&part.to_lowercase()), "{what}: {error}");
    }
}

#[test]
fn a_report_that_cannot_be_written_keeps_the_old_one() {
    let bench = Bench::new();
    let error =
        bench.refusal(&["backtest", "model.flow", "data.csv", "--origins", "2", "--report", "no/such/folder/r.html"]);
    assert!(error.contains("no/such/folder/r.html cannot be written"), "{error}");

    // The tables come after the files: what fails must leave the report of the last good run alone.
    bench.write("r.html", b"the last good one");
    bench.refusal(&["backtest", "model.flow", "absent.csv", "--report", "r.html"]);
    assert_eq!(std::fs::read(bench.path("r.html")).unwrap(), b"the last good one");
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_crash() {
    let bench = Bench::new();
    let status = Command::new("sh")
        .arg("-c")
        .arg("\"$0\" backtest model.flow data.csv --origins 2 2>error.txt | true")
        .arg(flowcast().get_program())
        .current_dir(bench.folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    let error = std::fs::read_to_string(Path::new(&bench.path("error.txt"))).unwrap();
    assert!(!error.contains("panicked"), "{error}");
}
