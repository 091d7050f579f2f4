//! Columns that are known in advance, from the CSV file to the back-test.

use std::fmt::Write as _;

use flowcast_tests::Random;

use super::Bench;

/// Ten-minute rows in ten days.
const ROWS: usize = 1_440;

/// `load` jumps where `plan` says; `noise` says nothing of it; `dead` nothing at all.
fn bench() -> Bench {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    let mut random = Random::new(3);
    let mut text = "time,load,plan,noise,dead\n".to_owned();
    let (mut on, mut left) = (false, 0);
    for row in 0..ROWS {
        if left == 0 {
            (on, left) = (!on, 3 + random.below(12));
        }
        left -= 1;
        let time = format!("2024-05-{:02} {:02}:{:02}", 1 + row / 144, row % 144 / 6, row % 6 * 10);
        let wave = (row as f32 / 12.0 * std::f32::consts::TAU).sin();
        let load = 20.0 + wave + if on { 5.0 } else { 0.0 } + 0.3 * random.symmetric();
        writeln!(text, "{time},{load:.2},{},{:.2},7", u8::from(on), random.symmetric()).unwrap();
    }
    bench.write("data.csv", text.as_bytes());
    bench
}

fn train<'a>(columns: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["train", "data.csv", "--target", "load", "--period", "12", "--horizon", "6"];
    words.extend(["--preset", "tiny", "--device", "cpu", "--epochs", "0", "--out", "m.safetensors"]);
    words.extend(columns);
    words
}

#[test]
fn a_known_plan_pays_and_what_does_not_is_left_out() {
    let bench = bench();
    let mae = |columns: &[&str]| {
        let trained = bench.json(&train(columns));
        bench.json(&["export", "m.safetensors", "--out", "m.flow"]);
        let tested = bench.json(&["backtest", "m.flow", "data.csv", "--origins", "40", "--report", "r.html"]);
        bench.json(&["detect", "m.flow", "data.csv", "--out", "scores.csv"]);
        for name in ["r.html", "scores.csv"] {
            assert!(!std::fs::read_to_string(bench.path(name)).unwrap().contains("NaN"), "{name}");
        }
        (trained, tested["overall"]["mae"].as_f64().unwrap())
    };
    let (_, blind) = mae(&[]);
    let (_, seen) = mae(&["--covariate", "plan"]);
    let (trained, told) = mae(&["--known", "noise,plan", "--known", "dead"]);
    assert!(told < 0.4 * blind.min(seen), "{told} told, {seen} seen, {blind} blind");
    assert_eq!(trained["known"], serde_json::json!(["plan"]));
    let notes = trained["notes"].to_string();
    assert!(notes.contains("column `noise` is left out: knowing it in advance takes less than 2 %"), "{notes}");
    assert!(notes.contains("column `dead` never changes"), "{notes}");
    let inspected = bench.json(&["inspect", "m.flow"]);
    assert_eq!((&inspected["known"], &inspected["targets"]), (&1.into(), &1.into()));
    assert_eq!(inspected["channels"][1]["name"], "plan");
    let text = String::from_utf8(bench.run(&["inspect", "m.flow"]).stdout).unwrap();
    assert!(text.contains("channel 1 plan, known in advance:"), "{text}");

    // A plan that ends while the data go on.
    let whole = std::fs::read_to_string(bench.path("data.csv")).unwrap();
    let without = |(row, line): (usize, &str)| {
        let mut cells: Vec<&str> = line.split(',').collect();
        if row > ROWS - 144 {
            cells[2] = "";
        }
        cells.join(",") + "\n"
    };
    bench.write("ended.csv", whole.lines().enumerate().map(without).collect::<String>().as_bytes());
    let noted = |data: &str| bench.json(&["detect", "m.flow", data])["notes"].to_string();
    assert!(!noted("data.csv").contains("know in advance"));
    let notes = noted("ended.csv");
    assert!(
        notes.contains("column `plan`, which the model was trained to know in advance, is missing in 10 %"),
        "{notes}"
    );
}

#[test]
fn columns_that_cannot_be_known_are_refused_by_name() {
    let bench = bench();
    for (columns, expected) in [
        (&["--known", "load"][..], "--known: column \"load\" is a target already"),
        (&["--covariate", "plan", "--known", "noise,plan"], "--known: column \"plan\" is a covariate already"),
        (&["--known", "noise", "--known", "plan,noise"], "--known: column `noise` is named twice"),
        (&["--covariate", "plan,plan"], "--covariate: column `plan` is named twice"),
        (&["--target", "load"], "--target: column `load` is named twice"),
        (&["--known", "weather"], "weather"),
        (&["--known", "a,b,c,d,e,f,g,h,i"], "--known: found 9 columns, expected at most 8"),
    ] {
        let error = bench.refusal(&train(columns));
        assert!(error.contains(expected), "{error}");
    }
}
