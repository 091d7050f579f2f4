//! What users' files hold: sentinels, another unit from some day on, dead sensors, odd headers. Each trains or is refused by one clear
//! line, each is said, and no number that is printed or written is NaN.

use std::fmt::Write as _;

use flowcast_tests::Random;
use serde_json::Value;

use super::Bench;

/// Ten-minute rows in ten days, in two-hour seasons: enough to train on in a moment.
const ROWS: usize = 720;
/// The first row that is held out, and the first that chooses.
const TEST: usize = 576;
const VALIDATION: usize = 490;

/// A bench whose `data.csv` has a column `t`, 20 ± 6 with noise, as `change` has it, and a column `h`.
fn bench(change: impl Fn(usize, f32) -> Option<f32>) -> Bench {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    bench.write("data.csv", table("time,t,h", change).as_bytes());
    bench
}

fn time(row: usize) -> String {
    format!("2024-05-{:02} {:02}:{:02}", 1 + row / 144, row % 144 / 6, row % 6 * 10)
}

fn table(header: &str, change: impl Fn(usize, f32) -> Option<f32>) -> String {
    let mut random = Random::new(5);
    let mut text = format!("{header}\n");
    for row in 0..ROWS {
        let wave = 5.0 * (row as f32 / 12.0 * std::f32::consts::TAU).sin();
        let t = change(row, 20.0 + wave + random.symmetric());
        let t = t.map_or(String::new(), |t| format!("{t:.2}"));
        writeln!(text, "{},{t},{:.2}", time(row), 60.0 - 2.0 * wave + random.symmetric()).unwrap();
    }
    text
}

fn train<'a>(columns: &[&'a str]) -> Vec<&'a str> {
    let mut words =
        vec!["train", "data.csv", "--period", "12", "--horizon", "6", "--preset", "tiny", "--device", "cpu"];
    words.extend(["--epochs", "0", "--out", "m.safetensors"]);
    words.extend(columns);
    words
}

impl Bench {
    fn notes(result: &Value) -> String {
        let notes = result["notes"].as_array().expect("every result has notes");
        notes.iter().map(|note| note.as_str().unwrap().to_owned() + "\n").collect()
    }

    /// Trains, exports, back-tests and detects; no output may hold a NaN. Training's result and the back-test's.
    fn whole_way(&self, columns: &[&str]) -> [Value; 2] {
        let trained = self.json(&train(columns));
        self.json(&["export", "m.safetensors", "--out", "m.flow"]);
        let words = ["backtest", "m.flow", "data.csv", "--origins", "9", "--report", "r.html", "--figure", "f.svg"];
        let tested = self.json(&words);
        self.json(&["detect", "m.flow", "data.csv", "--out", "scores.csv"]);
        for name in ["r.html", "f.svg", "scores.csv"] {
            let text = std::fs::read_to_string(self.path(name)).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf,"), "{name}");
        }
        assert!(trained["validation"]["mae"].is_number(), "{}", trained["notes"]);
        [trained, tested]
    }
}

#[test]
fn sentinels_are_taken_as_missing_and_said() {
    let mae = |bench: &Bench| {
        let [trained, tested] = bench.whole_way(&["--target", "t"]);
        (Bench::notes(&trained), tested["overall"]["mae"].as_f64().unwrap())
    };
    let (notes, clean) = mae(&bench(|_, t| Some(t)));
    assert!(!notes.contains("taken as missing"), "{notes}");
    for (sentinel, every) in [(-999.0, 40), (-9999.0, 97), (9999.0, 211), (65535.0, 60), (1e9, 400), (85.0, 120)] {
        let bench = bench(|row, t| Some(if row % every == every / 2 { sentinel } else { t }));
        let (notes, mae) = mae(&bench);
        let count = (0..TEST).filter(|row| row % every == every / 2).count();
        let told = format!("column `t`: {count} of 576 readings taken as missing");
        assert!(notes.contains(&told) && notes.contains(if sentinel == 1e9 { "1e9" } else { "(" }), "{notes}");
        assert!(mae < 1.2 * clean, "{sentinel}: {mae} beside {clean}");
    }
}

#[test]
fn another_unit_from_some_day_on_is_refused() {
    let fahrenheit = |t: f32| 32.0 + 1.8 * t;
    let changed = bench(|row, t| Some(if row < 300 { fahrenheit(t) } else { t }));
    let error = changed.refusal(&train(&["--target", "t"]));
    let expected = "from 2024-05-03 02:00:00 on, column `t` reads as if in Celsius where it was in Fahrenheit before: convert one part";
    assert!(error.contains(expected) && error.contains("data.csv"), "{error}");
    let pascals = bench(|row, t| Some(if row < 200 { 100.0 * (1000.0 + t) } else { 1000.0 + t }));
    let error = pascals.refusal(&train(&["--target", "t"]));
    assert!(error.contains("column `t` reads a 100th of what it read before"), "{error}");
    // A jump that is no unit's, and a change that only the back-test sees.
    bench(|row, t| Some(if row < 300 { t + 40.0 } else { t })).json(&train(&["--target", "t"]));
    let later = bench(|row, t| Some(if row < 640 { fahrenheit(t) } else { t }));
    let [trained, tested] = later.whole_way(&["--target", "t"]);
    assert_eq!(Bench::notes(&trained), "");
    let notes = Bench::notes(&tested);
    assert!(notes.contains("reads as if in Celsius") && notes.contains("another unit"), "{notes}");
}

#[test]
fn dead_channels_are_refused_or_said() {
    let error = bench(|_, _| Some(20.5)).refusal(&train(&["--target", "t"]));
    assert!(error.contains("column `t`: found the same value in every row (20.5)"), "{error}");
    let error = bench(|_, _| None).refusal(&train(&["--target", "t"]));
    assert!(error.contains("column `t`: found no value at all"), "{error}");
    // Constant but for a code.
    let error = bench(|row, _| Some(if row % 50 == 0 { -9999.0 } else { 20.5 })).refusal(&train(&["--target", "t"]));
    assert!(error.contains("the same value in every row (20.5)"), "{error}");
    let error = bench(|row, t| Some(if row < 300 { t } else { 20.5 })).refusal(&train(&["--target", "t"]));
    assert!(error.contains("`t` stands still from ") && error.contains("dead sensor"), "{error}");
    let error = bench(|row, t| (row < 400).then_some(t)).refusal(&train(&["--target", "t"]));
    assert!(error.contains("column `t` has no reading from ") && error.contains(", which choose the model"), "{error}");

    type Change = fn(usize, f32) -> Option<f32>;
    let said: [(&str, Change, &str); 4] = [
        (
            "dead for a while",
            |row, t| Some(if (200..300).contains(&row) { 20.5 } else { t }),
            "stands still at 20.5 from",
        ),
        (
            "dies while choosing",
            |row, t| Some(if row < VALIDATION + 40 { t } else { 20.5 }),
            "stands still at 20.5 from",
        ),
        (
            "alive lately",
            |row, t| (row >= 400).then_some(t),
            "69 % of its readings are missing, the first one is of 2024-05-03",
        ),
        ("gaps", |row, t| (row % 7 != 3).then_some(t), ""),
    ];
    for (what, change, note) in said {
        let [trained, tested] = bench(change).whole_way(&["--target", "t"]);
        assert!(Bench::notes(&trained).contains(note), "{what}: {}", trained["notes"]);
        assert!(tested["overall"]["mae"].is_number() || what.starts_with("dies"), "{what}: {}", tested["notes"]);
    }
    // The other target goes on.
    let bench_of_two = bench(|row, t| Some(if row < 300 { t } else { 20.5 }));
    let [trained, _] = bench_of_two.whole_way(&["--target", "t,h"]);
    assert!(
        Bench::notes(&trained).contains("`t` stands still at 20.5 from 2024-05-03 02:00:00"),
        "{}",
        trained["notes"]
    );
    // Dead where it is scored: nothing to score, or one channel less.
    let silent = bench(|row, t| (row < TEST).then_some(t));
    silent.json(&train(&["--target", "t"]));
    silent.json(&["export", "m.safetensors", "--out", "m.flow"]);
    let error = silent.refusal(&["backtest", "m.flow", "data.csv", "--origins", "9"]);
    assert!(error.contains("no reading in rows 577 to 720, which are held out"), "{error}");
    let error = silent.refusal(&["gate", "m.flow", "data.csv"]);
    assert!(error.contains("no reading in rows 577 to 720, which are replayed"), "{error}");
    // MASE wants a season before what is held out; without, it is left out and said why.
    let words = ["backtest", "m.flow", "data.csv", "--origins", "9", "--test-fraction", "0.99"];
    let tested = silent.json(&words);
    let told = "no MASE: found 7 rows before those held out, expected more than a season (12 rows)";
    assert!(Bench::notes(&tested).contains(told), "{}", tested["notes"]);
    assert!(tested["overall"]["mase"].is_null() && tested["overall"]["wql"].is_number());
    let [_, tested] = silent.whole_way(&["--target", "h,t"]);
    assert!(Bench::notes(&tested).contains("column `t`: no forecast of it was scored"), "{}", tested["notes"]);
    assert!(tested["overall"]["mae"].is_number() && tested["channels"]["t"]["overall"]["mae"].is_null());
}

#[test]
fn a_dead_covariate_does_no_harm() {
    let mae = |change: fn(usize, f32) -> Option<f32>| {
        let [trained, tested] = bench(change).whole_way(&["--target", "h", "--covariate", "t"]);
        (Bench::notes(&trained), tested["overall"]["mae"].as_f64().unwrap())
    };
    let alone = bench(|_, t| Some(t)).whole_way(&["--target", "h"])[1]["overall"]["mae"].as_f64().unwrap();
    let (notes, constant) = mae(|_, _| Some(3.5));
    assert!(notes.contains("column `t` never changes: it tells the model nothing, leave it out"), "{notes}");
    let (notes, empty) = mae(|_, _| None);
    assert!(notes.contains("column `t` has no reading: it tells the model nothing"), "{notes}");
    let (_, wakes) = mae(|row, t| Some(if row < TEST { 3.5 } else { t }));
    for dead in [constant, empty, wakes] {
        assert!((dead / alone - 1.0).abs() < 0.02, "{dead} beside {alone}");
    }
}

#[test]
fn headers_as_users_write_them() {
    let bench = bench(|_, t| Some(t));
    let european = |text: &str| {
        let (header, rows) = text.split_once('\n').unwrap();
        let rows = rows.replace(',', ";").replace('.', ",").replace('\n', "\r\n");
        format!("\u{feff}{}\r\n{rows}", header.replace(',', ";"))
    };
    let plain = table("time,t,h", |_, t| Some(t));
    let latin: Vec<u8> =
        table("time,T (?C),h", |_, t| Some(t)).bytes().map(|b| if b == b'?' { 0xb0 } else { b }).collect();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("a comma", table("time,\"temp, outside\",h", |_, t| Some(t)).into(), &["--target", "temp, outside"]),
        (
            "a comma and another",
            table("time,\"temp, outside\",h", |_, t| Some(t)).into(),
            &["--target", "h,temp, outside"],
        ),
        (
            "one word each",
            table("time,\"temp, outside\",h", |_, t| Some(t)).into(),
            &["--target", "h", "--target", "temp, outside"],
        ),
        ("quotes", table("time,\"the \"\"t\"\"\",h", |_, t| Some(t)).into(), &["--target", "the \"t\""]),
        ("spaces", table("time,  t out ,h", |_, t| Some(t)).into(), &["--target", "t out"]),
        ("latin-1", latin, &["--target", "T (°C)"]),
        ("bars", plain.replace(',', "|").into(), &["--target", "t"]),
        ("European", european(&plain).into(), &["--target", "t"]),
        ("empty lines", (plain.clone() + "\n\n,,\n  \n").into(), &["--target", "t"]),
        ("a separator at each end", (plain.replace('\n', ",\n")).replacen(",\n", "\n", 1).into(), &["--target", "t"]),
        ("twice, not wanted", table("time,t,t", |_, t| Some(t)).replacen("t,t", "x,t", 1).into(), &["--target", "t"]),
    ];
    for (what, bytes, columns) in cases {
        bench.write("data.csv", &bytes);
        let [trained, _] = bench.whole_way(columns);
        assert_eq!(Bench::notes(&trained), "", "{what}");
    }
    let refused: [(&str, String, &str, &str); 7] = [
        ("twice", table("time,t,t", |_, t| Some(t)), "t", "found column `t` more than once"),
        ("no header", plain.split_once('\n').unwrap().1.to_owned(), "t", "in the first line, expected a header line"),
        (
            "a row of units",
            plain.replacen('\n', "\nUTC,degC,%\n", 1),
            "t",
            "data.csv:2: found a row of text below the header (UTC, degC, %)",
        ),
        (
            "a comma in a number",
            "time,t,h\n2024-05-01 00:00,\"1,5\",2\n2024-05-01 00:10,2,3\n".to_owned(),
            "t",
            "data.csv:2: column `t`: found `1,5`, expected a number with a decimal point",
        ),
        ("no such column", plain.clone(), "t,x", "found no column `x`, expected one of: time, t, h"),
        ("a preamble", format!("# logger 7\n{plain}"), "t", "expected 1 as in the header"),
        (
            "a cell too many",
            plain.replacen("\n2024-05-02 00:00,", "\n2024-05-02 00:00,1,", 1),
            "t",
            "data.csv:146: found 4 cells",
        ),
    ];
    for (what, text, target, part) in refused {
        bench.write("data.csv", text.as_bytes());
        let error = bench.refusal(&train(&["--target", target]));
        assert!(error.contains(part), "{what}: {error}");
    }
}

#[test]
fn notes_are_lines_on_standard_error_without_json() {
    let bench = bench(|row, t| Some(if row % 50 == 0 { -9999.0 } else { t }));
    let output = bench.run(&train(&["--target", "t"]));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{notes}");
    assert!(notes.starts_with("note: column `t`: 12 of 576 readings taken as missing"), "{notes}");
    assert_eq!(notes.lines().count(), 1, "{notes}");
}

#[test]
fn a_short_series_and_one_without_signal_are_said() {
    let bench = bench(|row, _| Some(((row * row * 31 + row * 7_919) % 101) as f32));
    let [trained, _] = bench.whole_way(&["--target", "t"]);
    assert!(trained["naive"]["seasonal_naive"]["mae"].is_number(), "{}", trained["notes"]);
    // A random walk: nothing is better than the last value.
    let mut random = Random::new(3);
    let walk: Vec<f32> = (0..ROWS)
        .scan(0.0, |x, _| {
            *x += random.symmetric();
            Some(*x)
        })
        .collect();
    bench.write("data.csv", table("time,t,h", |row, _| Some(walk[row])).as_bytes());
    let mut words = train(&["--target", "t"]);
    let short = words.iter().position(|word| *word == "12").unwrap();
    words[short] = "72";
    let notes = Bench::notes(&bench.json(&words));
    assert!(notes.contains("a short series: the rows that train hold 6.8 seasons of 72 samples"), "{notes}");
    let gain = notes.contains("no gain on the rows that choose: repeating the last value has a MAE of");
    let trained = bench.json(&words);
    let mae = |field: &Value| field["mae"].as_f64().unwrap();
    let best = mae(&trained["naive"]["last_value"]).min(mae(&trained["naive"]["seasonal_naive"]));
    assert_eq!(gain, mae(&trained["validation"]) >= best, "{}", trained["notes"]);
}

#[test]
fn rows_that_trained_the_model_are_said() {
    let bench = bench(|_, t| Some(t));
    let [_, tested] = bench.whole_way(&["--target", "t"]);
    assert_eq!(Bench::notes(&tested), "");
    let words = ["backtest", "m.flow", "data.csv", "--origins", "9", "--test-fraction", "0.5"];
    let notes = Bench::notes(&bench.json(&words));
    assert_eq!(
        notes,
        "216 of the 360 rows that are scored, those before 2024-05-05 00:00:00, trained the model: its errors on them flatter it\n"
    );
    let notes = Bench::notes(&bench.json(&["detect", "m.flow", "data.csv"]));
    assert!(notes.contains("the rows before 2024-05-05 00:00:00 trained the model"), "{notes}");
}
