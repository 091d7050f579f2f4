//! `flowcast flash --dry-run`: what would go where, and what is refused before anything is written.

use flowcast::emulate::image;
use flowcast::emulate::machine::MACHINES;
use flowcast::hardware::HARDWARE;
use flowcast_core::format::Numeric;
use flowcast_core::presets::{PRESETS, Preset};
use flowcast_tests::{random_model, random_model_as};
use serde_json::Value;

use super::Bench;

fn bench() -> Bench {
    let bench = Bench { folder: tempfile::tempdir().unwrap() };
    bench.write("tiny.flow", &random_model_as(Numeric::I8, &PRESETS[0], 1, 24, 24, 1));
    bench
}

impl Bench {
    /// A dry run's report and exit code; one that fits says nothing, any other has its one line on standard error.
    fn lay_out(&self, model: &str, board: &str, more: &[&str]) -> (Value, String) {
        let words = [&["flash", model, "--board", board, "--dry-run", "--json"], more].concat();
        let output = self.run(&words);
        let error = String::from_utf8(output.stderr).unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(output.status.code(), Some(if report["fits"] == true { 0 } else { 1 }), "{error}");
        assert_eq!(error.lines().count(), usize::from(report["fits"] == false), "{error}");
        assert_eq!(report["written"], false);
        (report, error)
    }
}

#[test]
fn a_model_goes_into_either_slot_of_every_board() {
    let bench = bench();
    let bytes = bench.bytes("tiny.flow").len();
    for board in HARDWARE {
        for (slot, name) in [("a", "model A"), ("b", "model B")] {
            let (report, _) = bench.lay_out("tiny.flow", board.machine.name, &["--model-only", "--slot", slot]);
            assert_eq!((&report["fits"], &report["refused"]), (&Value::from(true), &Value::Array(vec![])));
            assert_eq!(report["chip"], board.chip);
            let places = report["layout"].as_array().unwrap();
            assert_eq!(places.len(), board.regions().len());
            for (place, (place_name, region)) in places.iter().zip(board.regions()) {
                assert_eq!(place["name"], place_name);
                assert_eq!(place["start"], region.start);
                assert_eq!(place["bytes_available"], region.bytes);
                let written = if place["name"] == name { Value::from(bytes) } else { Value::Null };
                assert_eq!(place["bytes"], written, "{place}");
                assert_eq!(place["sectors"].as_u64().unwrap() > 0, written != Value::Null, "{place}");
            }
        }
        let inspected = bench.json(&["inspect", "tiny.flow", "--board", board.machine.name]);
        assert_eq!(inspected["board"]["fits"], true, "{}", inspected["board"]);
        assert_eq!(inspected["board"]["flash_available_bytes"], board.machine.model_bytes);
        assert_eq!(inspected["board"]["power"]["interval_ms"], 600_000);
    }
    let rare = ["inspect", "tiny.flow", "--board", "nrf52840dk", "--every", "1h"];
    let power = &bench.json(&rare)["board"]["power"];
    assert_eq!(power["interval_ms"], 3_600_000);
    assert!(power["millijoules_per_day"].as_f64().unwrap() > 0.0 && power["draw"]["source"].is_string());
    let text = String::from_utf8(bench.run(&rare).stdout).unwrap();
    assert!(text.contains("power     a sample every 1 h") && text.contains("left out: "), "{text}");
    assert_eq!(bench.run(&["inspect", "tiny.flow", "--every", "1h"]).status.code(), Some(2), "of which board?");
    // What is said of a board that cannot keep up is no success.
    let output = bench.run(&["inspect", "tiny.flow", "--board", "nrf52840dk", "--every", "1ms", "--json"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && error.lines().count() == 1, "{error}");
    assert!(error.contains("nrf52840dk cannot keep up with tiny.flow: a sample takes up to"), "{error}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["board"]["fits"], &report["board"]["power"]["keeps_up"]), (&true.into(), &false.into()));
    let text = bench.run(&["flash", "tiny.flow", "--board", "rp2040", "--model-only", "--dry-run"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("model A   0x10100000 to 0x10178000"), "{text}");
    assert!(text.ends_with("fits; nothing was written (dry run)\n"), "{text}");
}

#[test]
fn what_does_not_fit_is_named_with_what_would() {
    let bench = bench();
    bench.write("base.flow", &random_model_as(Numeric::I8, &Preset::named("base").unwrap(), 2, 144, 144, 1));
    let (report, error) = bench.lay_out("base.flow", "rp2040", &["--model-only"]);
    assert_eq!(report["refused"], serde_json::json!(["found preset base, expected tiny or small"]));
    assert!(error.starts_with("error: rp2040 does not take base.flow: found preset base"), "{error}");
    // All of it is printed, and then the exit code says no.
    let inspected = bench.run(&["inspect", "base.flow", "--board", "rp2040", "--json"]);
    assert_eq!(inspected.status.code(), Some(1));
    let printed: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(printed["board"]["refused"], report["refused"]);
    let error = String::from_utf8(inspected.stderr).unwrap();
    assert_eq!(error, "error: rp2040 does not hold base.flow: found preset base, expected tiny or small\n");
    let of_nothing = ["flash", "tiny.flow", "--board", "rp2040", "--dry-run", "--limit", "t9>25"];
    let error = bench.refusal(&of_nothing);
    assert!(
        error.contains("--limit t9 > 25: found the channel t9, expected one that the model forecasts: c0"),
        "{error}"
    );
    bench.write("float.flow", &random_model(&Preset::named("base").unwrap(), 2, 144, 144, 1));
    let bytes = bench.bytes("float.flow").len();
    let (report, _) = bench.lay_out("float.flow", "stm32f411", &["--model-only"]);
    assert_eq!(
        report["refused"],
        serde_json::json!([format!("found {bytes} bytes of model, expected at most 131040")])
    );
    bench.write("wide.flow", &random_model_as(Numeric::I8, &PRESETS[1], 5, 24, 24, 1));
    let (report, _) = bench.lay_out("wide.flow", "nrf52840dk", &["--model-only"]);
    assert_eq!(report["refused"], serde_json::json!(["found 5 channels, expected at most 4"]));

    // Firmware of other boards: at another place, and with the model at another place.
    let firmware =
        |machine: usize| image::build(&MACHINES[machine], "tiny", Numeric::I8).unwrap().display().to_string();
    let (report, _) = bench.lay_out("tiny.flow", "nrf52840dk", &["--firmware", &firmware(3)]);
    let refused = report["refused"].to_string();
    assert!(
        refused.contains(" parts within 0x10000000 to ") && report["refused"].as_array().unwrap().len() == 1,
        "{refused}"
    );
    // For people it is said once.
    let words = ["flash", "tiny.flow", "--board", "nrf52840dk", "--dry-run", "--firmware", &firmware(3)];
    let output = bench.run(&words);
    let [said, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(said.ends_with("does not fit; nothing was written\n"), "{said}");
    assert_eq!((said.matches("expected within").count(), error.matches("expected within").count()), (0, 1), "{error}");
    assert!(refused.contains("expected within 0x00000000 to 0x00080000"), "{refused}");
    let (report, _) = bench.lay_out("tiny.flow", "nrf52840dk", &["--firmware", &firmware(0)]);
    assert_eq!(
        report["refused"],
        serde_json::json!([
            "firmware looks for its model at 0x00200000 to 0x00400000, expected 0x00080000 to 0x000b8000"
        ])
    );
}

/// A station that is silent while its gateway would be right, and a board that a host feeds, are firmware too.
#[test]
fn a_firmware_is_built_for_what_is_wanted() {
    let bench = bench();
    let firmware = |more: &[&str]| {
        let (report, error) = bench.lay_out("tiny.flow", "rp2040", more);
        assert_eq!(report["fits"], true, "{error}");
        let places = report["layout"].as_array().unwrap();
        places.iter().find(|place| place["name"] == "firmware").unwrap()["bytes"].as_u64().unwrap()
    };
    let [station, gated, replay] = [&[][..], &["--max-error", "0.5"], &["--replay"]].map(firmware);
    println!("station {station} bytes, gated {gated}, replay {replay}");
    assert!(station + 1_000 < gated && replay + 1_000 < station, "{station} {gated} {replay}");
}

#[test]
fn what_is_no_model_no_firmware_no_board_or_no_probe_gives_one_line() {
    let bench = bench();
    let mut altered = bench.bytes("tiny.flow");
    *altered.last_mut().unwrap() ^= 1;
    bench.write("altered.flow", &altered);
    bench.write("text.flow", "neither a model nor a program\n".repeat(10).as_bytes());
    let flash = |model, more: &[&str]| bench.refusal(&[&["flash", model, "--board", "rp2350"], more].concat());
    for (error, parts) in [
        (flash("none.flow", &["--dry-run"]), ["none.flow", ""]),
        (flash("text.flow", &["--dry-run"]), ["text.flow", "not a Flowcast model"]),
        (flash("altered.flow", &["--dry-run"]), ["altered.flow", "model is corrupt"]),
        (flash("tiny.flow", &["--dry-run", "--firmware", "text.flow"]), ["text.flow", "expected a 32-bit ELF file"]),
        // A probe that there cannot be, for there may be one at this machine.
        (flash("tiny.flow", &["--model-only", "--probe", "0000:0000"]), ["the debug probe 0000:0000", ""]),
        (
            flash("tiny.flow", &["--dry-run", "--max-error", "c9=1"]),
            ["--max-error c9", "the model has the channels c0"],
        ),
    ] {
        for part in parts {
            assert!(error.contains(part), "{part:?} in {error}");
        }
    }
    for words in [
        &["flash", "tiny.flow"][..],
        &["flash", "tiny.flow", "--board", "toaster"],
        &["flash", "tiny.flow", "--board", "mps2-an386"],
        &["flash", "tiny.flow", "--board", "rp2040", "--slot", "c"],
        &["flash", "tiny.flow", "--board", "rp2040", "--model-only", "--firmware", "f.elf"],
        &["flash", "tiny.flow", "--board", "rp2040", "--max-error", "0"],
        &["flash", "tiny.flow", "--board", "rp2040", "--model-only", "--max-error", "1"],
        &["flash", "tiny.flow", "--board", "rp2040", "--firmware", "f.elf", "--limit", "c0>1"],
        &["flash", "tiny.flow", "--board", "rp2040", "--sensor", "toaster"],
        &["flash", "tiny.flow", "--board", "rp2040", "--replay", "--sensor", "sht4x"],
        &["flash", "tiny.flow", "--board", "rp2040", "--model-only", "--clock", "ds3231"],
        &["inspect", "tiny.flow", "--draw", "3.3,24,7"],
        &["inspect", "tiny.flow", "--board", "rp2040", "--draw", "3.3,24"],
        &["flash", "tiny.flow", "--board", "rp2040", "--replay", "--max-error", "1"],
    ] {
        assert_eq!(bench.run(words).status.code(), Some(2), "{words:?}");
    }
    let names = String::from_utf8(bench.run(&["flash", "tiny.flow", "--board", "toaster"]).stderr).unwrap();
    assert!(names.contains("nrf52840dk, rp2040, rp2350, stm32f411"), "{names}");
}
