//! `flowcast train`, `export` and `inspect`: bad input, results that repeat, and output that is never half-written.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use flowcast::checksum::seal;
use serde_json::Value;

use super::{Bench, HEADER, flowcast, rows};

/// Rows of the training data here: enough for a season of two hours, and quickly trained on.
const ROWS: usize = 260;

/// The command line of a quick training of column `c0`.
fn train<'a>(data: &'a str, out: &'a str, epochs: &'a str) -> Vec<&'a str> {
    let mut words = vec!["train", data, "--target", "c0", "--period", "12", "--horizon", "3", "--preset", "tiny"];
    words.extend(["--device", "cpu", "--epochs", epochs, "--ensemble", "1", "--out", out]);
    words
}

/// A folder with data to train on.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("data.csv", (HEADER.to_owned() + &rows(ROWS).concat()).as_bytes());
    bench
}

impl Bench {
    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The one object of a run that must succeed and be silent beside it.
    pub(super) fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "silent without a terminal: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("one JSON object and nothing else")
    }
}

#[test]
fn wrong_usage_of_training_exits_with_2() {
    let bench = bench();
    let good = train("data.csv", "m.safetensors", "0");
    for wrong in [
        &["--preset", "huge"][..],
        &["--test-fraction", "1"],
        &["--epochs", "-1"],
        &["--ensemble", "0"],
        &["--period", "0"],
        &["--period", "1"],
        &["--period", "12,1"],
        &["--horizon", "16385"],
        &["--out", "m.flow"],
        &["--horizon", "soon"],
        &["--device", "toaster"],
    ] {
        let position = good.iter().position(|word| *word == wrong[0]);
        let mut words = good.clone();
        match position {
            Some(position) => words[position + 1] = wrong[1],
            None => words.extend(wrong),
        }
        let output = bench.run(&words);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for words in [
        &["train"][..],
        &["train", "data.csv", "--out", "m.safetensors"],
        &["train", "data.csv", "--target", "c0"],
        &["export"],
        &["export", "m.safetensors"],
        &["export", "m.safetensors", "--out", "n.safetensors"],
        &["benchmark"],
        &["benchmark", ".", "--series", "data.csv:c0"],
        &["inspect"],
        &["inspect", "model.flow", "--board", "toaster"],
    ] {
        assert_eq!(bench.run(words).status.code(), Some(2), "{words:?}");
    }
    for (words, said) in [
        (&["export", "m.safetensors", "--out", "folder/"][..], "found a folder, expected a file"),
        (&["detect", "m.flow", "data.csv", "--out", "m.flow"], "found a .flow file, expected .csv"),
        (&["backtest", "m.flow", "data.csv", "--figure", "f.png"], "found a .png file, expected .svg"),
        (&["backtest", "m.flow", "data.csv", "--report", "r.csv"], "found a .csv file, expected .html"),
        (&["gate", "m.flow", "data.csv", "--max-error", "-1"], "found `-1`, expected a number above 0"),
    ] {
        let output = bench.run(words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains(said), "{words:?}: {error}");
    }
    let error = bench.refusal(&["backtest", "m.flow", "data.csv", "--figures", "data.csv"]);
    assert_eq!(error, "error: --figures data.csv: found a file, expected a folder");
    let presets = bench.run(&["train", "data.csv", "--target", "c0", "--preset", "huge", "--out", "m"]).stderr;
    assert!(String::from_utf8(presets).unwrap().contains("tiny, small, base"));
    let out = String::from_utf8(bench.run(&train("data.csv", "m.flow", "0")).stderr).unwrap();
    assert!(out.contains("found a .flow file, expected MODEL.safetensors, of which `flowcast export`"), "{out}");
    // One or the other, as its usage says.
    let usage = String::from_utf8(bench.run(&["benchmark"]).stderr).unwrap();
    assert!(usage.contains("<FOLDER|--series <FILE:COLUMN[,COLUMN]>>"), "{usage}");
}

#[test]
fn data_that_cannot_be_trained_on_gives_one_line_with_its_place() {
    let bench = bench();
    let good = rows(ROWS);
    let with = |line: &str| HEADER.to_owned() + &good[..200].concat() + line + &good[201..].concat();
    let every = |value: &str| {
        let line = |row: &String| format!("{},{value},1.5\n", row.split(',').next().unwrap());
        HEADER.to_owned() + &good.iter().map(line).collect::<String>()
    };
    let silent = |(index, row): (usize, &String)| {
        let mut cells = row.trim_end().split(',');
        let (time, c0, c1) = (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap());
        format!("{time},{},{c1}\n", if index < ROWS / 2 { c0 } else { "" })
    };
    let silent = HEADER.to_owned() + &good.iter().enumerate().map(silent).collect::<String>();
    let missing = "time,c1\n".to_owned() + "2024-05-01 00:00,1\n";
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("an empty file", String::new(), &["bad.csv", "empty file"]),
        ("a header only", HEADER.to_owned(), &["bad.csv", "header without rows"]),
        ("a missing column", missing, &["bad.csv", "no column `c0`", "time, c1"]),
        ("text in a number", with("2024-05-02 09:20,warm,1\n"), &["bad.csv:202", "column `c0`", "`warm`", "a number"]),
        ("unordered", with("2024-05-01 22:45,1,1\n"), &["bad.csv:202", "column `time`", "after 2024-05-02 09:10:00"]),
        ("silent where it counts", silent, &["column `c0` has no reading from", "choose the model"]),
        ("a constant channel", every("20.5"), &["column `c0`", "the same value in every row (20.5)", "varies"]),
        ("no values", every(""), &["column `c0`", "no value at all", "expected numbers"]),
        (
            "too short",
            HEADER.to_owned() + &good[..100].concat(),
            &[
                "found a series of 100 rows, expected at least 112 for a season of 12 samples and a horizon of 3: 63 to train on",
            ],
        ),
    ];
    let good_one = b"\x10\0\0\0\0\0\0\0{\"the last good one";
    bench.write("m.safetensors", good_one);
    for (what, text, parts) in cases {
        bench.write("bad.csv", text.as_bytes());
        let before = bench.names();
        let error = bench.refusal(&train("bad.csv", "m.safetensors", "0"));
        for part in parts {
            assert!(error.contains(part), "{what}: {part:?} in {error}");
        }
        assert_eq!(bench.names(), before, "{what}");
    }
    assert_eq!(bench.bytes("m.safetensors"), good_one);
    assert!(bench.refusal(&train("absent.csv", "m.safetensors", "0")).contains("absent.csv"));
}

/// A short series leaves the features next to no variance in some directions; its model must fit the file's range.
#[test]
fn a_short_series_still_gives_a_model_that_boards_accept() {
    let bench = Bench::new();
    bench.write("data.csv", (HEADER.to_owned() + &rows(600).concat()).as_bytes());
    let words = ["train", "data.csv", "--target", "c0", "--preset", "tiny", "--epochs", "0", "--out", "m.safetensors"];
    for (period, horizon) in [("24", "3"), ("48", "6"), ("72", "1")] {
        bench.json(&[&words[..], &["--period", period, "--horizon", horizon]].concat());
        bench.json(&["export", "m.safetensors", "--out", "m.flow"]);
    }
}

#[test]
fn the_literatures_protocol_from_training_to_back_test() {
    let bench = Bench::new();
    bench.write("data.csv", (HEADER.to_owned() + &rows(600).concat()).as_bytes());
    let words = [&train("data.csv", "m.safetensors", "0")[..], &["--protocol", "ett"]].concat();
    bench.json(&words);
    bench.json(&["export", "m.safetensors", "--out", "m.flow"]);
    let words = ["backtest", "m.flow", "data.csv", "--protocol", "ett", "--horizons", "2,3"];
    let report = bench.json(&words);
    // A fifth of the rows is held out; at the shorter horizon one more window ends within them.
    assert_eq!(
        (&report["protocol"], &report["test_start"], &report["origins"]),
        (&"ett".into(), &480.into(), &119.into())
    );
    let counts = [0, 1].map(|index| report["horizons"][index]["count"].as_u64().unwrap());
    assert_eq!(counts, [119 * 2, 118 * 3]);
    assert!(report["baselines"]["last_value"].is_object() && report["baselines"]["ets"].is_null());
    let error = bench.refusal(&[&words[..], &["--test-fraction", "0.3"]].concat());
    assert!(error.contains("found --test-fraction with --protocol ett"), "{error}");
}

/// Before the work, not after it: these come at once, whatever the data.
#[test]
fn an_output_that_cannot_be_is_refused_first() {
    let bench = bench();
    std::fs::create_dir(bench.path("folder")).unwrap();
    let before = bench.names();
    let error = bench.refusal(&train("data.csv", "no/such/m.safetensors", "0"));
    assert!(error.contains("no/such is no folder"), "{error}");
    let error = bench.refusal(&train("data.csv", "folder", "0"));
    assert!(error.contains("folder is a folder, expected a file"), "{error}");
    assert_eq!(bench.names(), before);
}

#[test]
fn files_that_are_no_trained_model_are_refused_by_name() {
    let bench = bench();
    bench.json(&train("data.csv", "m.safetensors", "0"));
    bench.json(&["export", "m.safetensors", "--out", "good.flow"]);
    let [trained, exported] = [bench.bytes("m.safetensors"), bench.bytes("good.flow")];
    let header = u64::from_le_bytes(trained[..8].try_into().unwrap()) as usize;
    // A valid file of the same format that is no model of ours.
    let metadata = br#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let other = [&(metadata.len() as u64).to_le_bytes()[..], metadata, &[0; 4]].concat();
    // The configuration says another number of steps than the tensors have.
    let config = String::from_utf8(trained[8..8 + header].to_vec()).unwrap();
    let changed = config.replace("\\\"knots\\\":[1,2,3]", "\\\"knots\\\":[1,3]  ");
    assert_ne!(config, changed);
    let mut changed = [&trained[..8], changed.as_bytes(), &trained[8 + header..]].concat();
    seal(&mut changed).unwrap();
    let mut infinite = trained.clone();
    let end = infinite.len() - 4;
    infinite[end..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    seal(&mut infinite).unwrap();
    let flipped = |at: usize| {
        let mut bytes = trained.clone();
        bytes[at] ^= 1;
        bytes
    };
    let name = trained.windows(6).position(|window| window == b"offset").unwrap();
    let unsealed = String::from_utf8(trained[8..8 + header].to_vec()).unwrap().replace("checksum", "checkers");
    let unsealed = [&trained[..8], unsealed.as_bytes(), &trained[8 + header..]].concat();
    let before = bench.names();
    for (what, bytes, parts) in [
        ("garbage", &b"time,c0,c1\n2024-05-01 00:00,1,2\n"[..], &["expected a safetensors file"][..]),
        ("empty", &[], &["expected a safetensors file"]),
        ("cut in its header", &trained[..header / 2], &["expected a safetensors file"]),
        ("cut in its weights", &trained[..trained.len() - 100], &["expected a safetensors file"]),
        ("someone else's", &other, &["expected a safetensors file that `flowcast train` wrote"]),
        ("a model file", &exported, &["exported already: expected the MODEL.safetensors that `flowcast train` wrote"]),
        ("a weight's bit", &flipped(trained.len() - 9), &["the file is corrupt: its CRC-32 is"]),
        ("the configuration's bit", &flipped(name), &["the file is corrupt: its CRC-32 is"]),
        ("no checksum", &unsealed, &["found no checksum: a file of a development version", "train it again"]),
        ("another shape", &changed, &["readout.weight", "expected F32", "2"]),
        ("an infinite weight", &infinite, &["weight", "inf", "finite"]),
    ] {
        bench.write("bad.safetensors", bytes);
        let error = bench.refusal(&["export", "bad.safetensors", "--out", "good.flow"]);
        assert!(error.contains("bad.safetensors"), "{what}: {error}");
        for part in parts {
            assert!(error.contains(part), "{what}: {part:?} in {error}");
        }
    }
    std::fs::remove_file(bench.path("bad.safetensors")).unwrap();
    assert!(bench.refusal(&["export", "absent.safetensors", "--out", "good.flow"]).contains("absent.safetensors"));
    let error = bench.refusal(&["export", "m.safetensors", "--out", "no/such/good.flow"]);
    assert!(error.contains("no/such/good.flow was not written"), "{error}");
    std::fs::create_dir(bench.path("folder")).unwrap();
    let error = bench.refusal(&["export", "m.safetensors", "--out", "folder"]);
    assert!(error.contains("folder was not written") && error.contains("directory"), "{error}");
    std::fs::remove_dir(bench.path("folder")).unwrap();
    assert_eq!(bench.names(), before);
    assert_eq!(bench.bytes("good.flow"), exported);
}

/// Every command that wants `MODEL.flow` says what makes one of `MODEL.safetensors`.
#[test]
fn a_model_that_is_not_exported_is_refused_with_the_command_that_does() {
    let bench = bench();
    bench.json(&train("data.csv", "m.safetensors", "0"));
    for words in [
        &["backtest", "m.safetensors", "data.csv"][..],
        &["detect", "m.safetensors", "data.csv"],
        &["inspect", "m.safetensors"],
    ] {
        let error = bench.refusal(words);
        let expected =
            "m.safetensors is a trained model, expected an exported one: `flowcast export m.safetensors --out m.flow`";
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_resumption_of_nothing_is_said() {
    let bench = bench();
    let result = bench.json(&[&train("data.csv", "m.safetensors", "1")[..], &["--resume"]].concat());
    let notes = result["notes"].to_string();
    assert!(notes.contains("--resume: m.safetensors.checkpoint is not there"), "{notes}");
    let result = bench.json(&train("data.csv", "m.safetensors", "1"));
    assert!(!result["notes"].to_string().contains("--resume"));
}

/// A run that may write files of at most 4 KiB: as on a full disk, a write comes back short and the next one fails.
#[cfg(unix)]
fn run_on_a_full_disk(bench: &Bench, words: &[&str]) -> Output {
    Command::new("sh")
        // The signal that a limit sends by default would end the program, which no full disk does.
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(flowcast().get_program())
        .args(words)
        .current_dir(bench.folder.path())
        .output()
        .unwrap()
}

#[test]
#[cfg(unix)]
fn a_full_disk_keeps_the_old_file() {
    let bench = bench();
    bench.json(&train("data.csv", "m.safetensors", "0"));
    bench.json(&["export", "m.safetensors", "--out", "good.flow"]);
    let (trained, exported) = (bench.bytes("m.safetensors"), bench.bytes("good.flow"));
    assert!(exported.len() > 4096 && trained.len() > 4096);
    let before = bench.names();
    for (words, path) in [
        (vec!["export", "m.safetensors", "--out", "good.flow"], "good.flow"),
        (vec!["export", "m.safetensors", "--out", "new.flow"], "new.flow"),
        (train("data.csv", "m.safetensors", "0"), "m.safetensors"),
    ] {
        let output = run_on_a_full_disk(&bench, &words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(&format!("{path} was not written: ")), "{error}");
        assert_eq!(bench.names(), before, "{words:?}");
    }
    assert_eq!(bench.bytes("good.flow"), exported);
    assert_eq!(bench.bytes("m.safetensors"), trained);
}

#[test]
fn each_command_prints_one_json_object() {
    let bench = bench();
    let trained = bench.json(&train("data.csv", "m.safetensors", "1"));
    assert!(trained["parameters"].as_u64().unwrap() > 1000);
    assert_eq!(trained["epochs"], 1);
    assert!(trained["seconds"].is_number());
    assert!(trained["validation"]["mse"].is_number() && trained["validation"]["mae"].is_number());

    let exported = bench.json(&["export", "m.safetensors", "--out", "m.flow"]);
    assert_eq!(exported["bytes"], bench.bytes("m.flow").len());
    assert_eq!(exported["numeric"], "f32");
    let layers = exported["layers"].as_array().unwrap();
    let weights: u64 = layers.iter().map(|layer| layer["bytes"].as_u64().unwrap()).sum();
    assert_eq!(weights, 4 * trained["parameters"].as_u64().unwrap());

    let inspected = bench.json(&["inspect", "m.flow", "--board", "mps2-an386"]);
    assert_eq!(inspected["bytes"], exported["bytes"]);
    assert_eq!(inspected["identity"], exported["identity"]);
    assert_eq!(inspected["board"]["fits"], true);
    for field in ["state_bytes", "macs_per_observe", "macs_per_forecast_step"] {
        assert!(inspected[field].as_u64().unwrap() > 0, "{field}");
    }
    for field in ["flash_bytes", "ram_bytes", "program_bytes", "instructions_per_observe", "instructions_per_forecast"]
    {
        assert!(inspected["board"][field].as_u64().unwrap() > 0, "{field}");
    }
    assert_eq!(bench.json(&["inspect", "m.flow"])["board"], Value::Null);
    assert_eq!(inspected["board"]["power"], Value::Null, "an emulated board has no battery");

    let text = bench.run(&["inspect", "m.flow", "--board", "mps2-an386"]).stdout;
    let text = String::from_utf8(text).unwrap();
    let blocks = ["blocks.0.expand.weight", "32 x 16", "blocks    without an attention", "FLOWS 0"];
    for part in ["channel 0 c0", "season    12 samples", "mps2-an386: fits"].into_iter().chain(blocks) {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("query.weight") && inspected["flows"] == 0, "the closed form trains no attention");
    bench.write("bad.flow", &bench.bytes("m.flow")[..200]);
    let error = bench.refusal(&["inspect", "bad.flow"]);
    assert!(error.contains("bad.flow: model is truncated: found 200 bytes"), "{error}");
}

#[test]
fn eight_bits_are_calibrated_fine_tuned_and_accounted_for() {
    let bench = bench();
    bench.json(&train("data.csv", "m.safetensors", "0"));
    let export = |out: &'static str, more: &[&'static str]| {
        let words = ["export", "m.safetensors", "--quantize", "int8", "--calibrate", "data.csv", "--out", out];
        bench.json(&[&words, more].concat())
    };
    let calibrated = export("calibrated.flow", &[]);
    let what = |report: &Value| {
        let roundings = report["roundings"].as_array().unwrap();
        roundings.iter().map(|rounding| rounding["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(what(&calibrated).iter().any(|what| what == "readout.weight") && calibrated["fine_tuning"].is_null());
    let tuned = export("tuned.flow", &["--fine-tune", "1"]);
    assert_eq!(what(&tuned), what(&calibrated));
    let moved = |when: &str| tuned["fine_tuning"][when].as_f64().unwrap();
    assert!(moved("after") <= moved("before"), "{tuned}");
    assert_eq!(tuned["fine_tuning"]["history"].as_array().unwrap().len(), 1);
    let again = export("again.flow", &["--fine-tune", "1"]);
    assert_eq!((&again["identity"], bench.bytes("again.flow")), (&tuned["identity"], bench.bytes("tuned.flow")));
    bench.json(&["backtest", "tuned.flow", "data.csv"]);
    // Data of other columns, and options without what they belong to.
    bench.write("other.csv", b"time,x\n2024-01-01T00:00:00Z,1\n2024-01-01T00:10:00Z,2\n");
    let refused = bench.refusal(&[
        "export",
        "m.safetensors",
        "--quantize",
        "int8",
        "--calibrate",
        "other.csv",
        "--out",
        "other.flow",
    ]);
    assert!(refused.contains("c0") && !bench.names().contains("other.flow"), "{refused}");
    for words in [
        &["export", "m.safetensors", "--calibrate", "data.csv", "--out", "x.flow"][..],
        &["export", "m.safetensors", "--quantize", "int8", "--fine-tune", "2", "--out", "x.flow"],
        &["export", "m.safetensors", "--quantize", "int4", "--out", "x.flow"],
    ] {
        assert_eq!(bench.run(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn the_same_training_gives_the_same_file() {
    let bench = bench();
    for out in ["a.safetensors", "b.safetensors"] {
        bench.json(&train("data.csv", out, "1"));
    }
    assert!(bench.bytes("a.safetensors") == bench.bytes("b.safetensors"), "the same command gives the same bytes");
    for (model, out) in [("a.safetensors", "a.flow"), ("b.safetensors", "b.flow")] {
        bench.json(&["export", model, "--out", out]);
    }
    assert!(bench.bytes("a.flow") == bench.bytes("b.flow"));
    // The seed decides something, or the test above says nothing.
    let mut words = train("data.csv", "c.safetensors", "1");
    words.extend(["--seed", "2"]);
    bench.json(&words);
    assert!(bench.bytes("a.safetensors") != bench.bytes("c.safetensors"));
}

/// A training under way.
#[cfg(unix)]
fn start(bench: &Bench, words: &[&str]) -> Child {
    let mut command = flowcast();
    command.args(words).current_dir(bench.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What it says at Ctrl-C, which must be one line.
#[cfg(unix)]
fn interrupted(child: Child) -> String {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(output.stdout.is_empty());
    error
}

/// Ctrl-C while several networks learn leaves a checkpoint with those that have; it is gone on with to the same file.
#[test]
#[cfg(unix)]
fn an_interrupted_ensemble_goes_on_to_the_same_file() {
    let bench = bench();
    let words = |out: &'static str| {
        let mut words = train("data.csv", out, "1");
        let networks = words.iter().position(|word| *word == "--ensemble").unwrap();
        words[networks + 1] = "4";
        words
    };
    let whole = bench.json(&words("whole.safetensors"));
    assert_eq!(whole["ensemble"], 4);
    let child = start(&bench, &words("m.safetensors"));
    std::thread::sleep(Duration::from_secs_f64(0.5 * whole["seconds"].as_f64().unwrap()));
    let error = interrupted(child);
    assert!(error.contains(" of 5 networks of the first epoch; the same command with --resume goes on"), "{error}");
    assert!(bench.path("m.safetensors.checkpoint").exists() && !bench.path("m.safetensors").exists());

    // Of another number of networks it is another training.
    let mut other = words("m.safetensors");
    other.extend(["--resume"]);
    let networks = other.iter().position(|word| *word == "--ensemble").unwrap();
    other[networks + 1] = "3";
    let error = bench.refusal(&other);
    assert!(error.contains("m.safetensors.checkpoint is of another training"), "{error}");

    bench.json(&[&words("m.safetensors")[..], &["--resume"]].concat());
    assert!(bench.bytes("m.safetensors") == bench.bytes("whole.safetensors"), "interrupted or not, the same bytes");
    assert!(!bench.path("m.safetensors.checkpoint").exists());
}

/// Ctrl-C after the first epoch leaves a checkpoint; with it the training ends where it would have ended anyway.
#[test]
#[cfg(unix)]
fn an_interrupted_training_goes_on_to_the_same_file() {
    const EPOCHS: &str = "4";
    let bench = bench();
    bench.json(&train("data.csv", "whole.safetensors", EPOCHS));
    assert!(!bench.path("whole.safetensors.checkpoint").exists(), "nothing is left of a training that is done");

    let words = train("data.csv", "m.safetensors", EPOCHS);
    let child = start(&bench, &words);
    let checkpoint = bench.path("m.safetensors.checkpoint");
    let started = Instant::now();
    while !checkpoint.exists() {
        assert!(started.elapsed() < Duration::from_secs(300), "no epoch was done");
        std::thread::sleep(Duration::from_millis(2));
    }
    let error = interrupted(child);
    assert!(error.starts_with("error: interrupted after step ") && error.contains("--resume"), "{error}");
    assert!(!bench.path("m.safetensors").exists());

    // Another training does not go on from it.
    let error = bench.refusal(&words);
    assert!(
        error.contains(".checkpoint is there, of a training that was interrupted: go on with --resume, or"),
        "{error}"
    );
    let resume = |words: &[&'static str]| [words, &["--resume"]].concat();
    let words: Vec<&'static str> = words;
    let mut other = words.clone();
    other.extend(["--seed", "9"]);
    let error = bench.refusal(&resume(&other));
    assert!(error.contains("m.safetensors.checkpoint is of another training"), "{error}");

    let kept = std::fs::read(&checkpoint).unwrap();
    let mut altered = kept.clone();
    altered[kept.len() - 20] ^= 4;
    bench.write("m.safetensors.checkpoint", &altered);
    let error = bench.refusal(&resume(&words));
    assert!(error.contains("m.safetensors.checkpoint: the file is corrupt"), "{error}");
    bench.write("m.safetensors.checkpoint", &kept[..kept.len() / 2]);
    let error = bench.refusal(&resume(&words));
    assert!(error.contains("is no checkpoint of `flowcast train`"), "{error}");
    bench.write("m.safetensors.checkpoint", &kept);

    bench.json(&resume(&words));
    assert!(bench.bytes("m.safetensors") == bench.bytes("whole.safetensors"), "interrupted or not, the same bytes");
    assert!(!Path::new(&checkpoint).exists());
}
