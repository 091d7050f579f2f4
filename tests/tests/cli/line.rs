//! `flowcast monitor` and `flowcast replay`, with this firmware's applications at the other end of a socket.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::process::Command;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use embedded_io::ErrorType;
use flowcast::file::AlignedBytes;
use flowcast::forecaster;
use flowcast_core::presets::Tiny;
use flowcast_core::wire::{Alert, FRAME_BYTES, Reply, Sampled, encode};
use flowcast_firmware::application::Application;
use flowcast_firmware::meter::Meter;
use flowcast_firmware::pin::NoPin;
use flowcast_firmware::telemetry::{Frames, Telemetry as _};
use serde_json::Value;

use super::{Bench, flowcast, rows};

/// A socket as a board's port.
struct Port(TcpStream);

impl ErrorType for Port {
    type Error = std::io::Error;
}

impl embedded_io::Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(ErrorKind::ConnectionReset.into()),
            read => read,
        }
    }
}

impl embedded_io::Write for Port {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// No counter.
struct Nothing;

impl Meter for Nothing {
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32> {
        work();
        None
    }

    fn ram_bytes(&self) -> u32 {
        1_000
    }

    fn stack_bytes(&self) -> u32 {
        100
    }
}

/// The firmware's application at a socket, for one host.
fn serve(model: Vec<u8>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let board = std::thread::spawn(move || {
        let model = AlignedBytes::from(&model[..]);
        let mut forecaster = Box::new(Tiny::<'_, 4, 480>::unbound());
        forecaster.bind(&model).unwrap();
        let (line, _) = listener.accept().unwrap();
        let mut board = Application::new(Ok(&mut *forecaster), Port(line), NoPin, Nothing);
        while board.step().is_ok() {}
    });
    (address, board)
}

#[test]
fn replay_compares_a_board_on_a_line_with_this_machine() {
    let bench = Bench::new();
    let model = std::fs::read(bench.path("model.flow")).unwrap();
    let (address, board) = serve(model.clone());
    let words = ["replay", "model.flow", "data.csv", "--to", &address, "--samples", "400", "--every", "10", "--json"];
    let output = bench.run(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["machine"], *address);
    assert_eq!((&report["samples"], &report["equal_to_host"]), (&400.into(), &true.into()));
    // One season passes before the first; one more is shown.
    assert_eq!(report["forecasts"], 27);
    assert_eq!(report["values"], 27 * 2 * 36 * 3);
    board.join().unwrap();

    // The board runs another model.
    let mut random = flowcast_tests::random_model(&flowcast_core::presets::PRESETS[0], 2, 144, 36, 2);
    let (address, board) = serve(std::mem::take(&mut random));
    let error = bench.refusal(&["replay", "model.flow", "data.csv", "--to", &address]);
    assert!(error.contains("the board runs model"), "{error}");
    board.join().unwrap();

    // No board at all.
    let error = bench.refusal(&["replay", "model.flow", "data.csv", "--to", "/dev/ttyNOWHERE"]);
    assert!(error.contains("no serial port /dev/ttyNOWHERE"), "{error}");
    let error = bench.refusal(&["replay", "model.flow", "data.csv", "--to", "data.csv"]);
    assert!(error.contains("data.csv is no board"), "{error}");
}

/// The first Ctrl-C waits for an answer that is due; the second does not.
#[test]
#[cfg(unix)]
fn a_second_ctrl_c_says_what_it_leaves() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let mut child = flowcast();
    let child = child.args(["replay", "model.flow", "data.csv", "--to", &address]).current_dir(bench.folder.path());
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has asked who is there, and nobody says.
    let (mut line, _) = listener.accept().unwrap();
    line.read_exact(&mut [0]).unwrap();
    for _ in 0..2 {
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        // Two signals that come together are one.
        std::thread::sleep(Duration::from_millis(200));
    }
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{error}");
    assert!(error.starts_with("error: interrupted a second time") && error.contains("checkpoint"), "{error}");
    assert!(error.lines().count() == 1 && output.stdout.is_empty(), "{error}");
}

/// What a station sends of the data's first rows, a forecast for each.
fn recording(bench: &Bench, count: usize) -> Vec<u8> {
    struct Tape(Vec<u8>);
    impl ErrorType for Tape {
        type Error = std::convert::Infallible;
    }
    impl embedded_io::Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let model = AlignedBytes::from(&std::fs::read(bench.path("model.flow")).unwrap()[..]);
    let mut forecaster = forecaster::open(&model).unwrap();
    let mut frames = Frames(Tape(Vec::new()));
    for (index, row) in rows(count).iter().enumerate() {
        let values: Vec<f32> = row.trim().split(',').skip(1).map(|value| value.parse().unwrap()).collect();
        forecaster.observe(&values);
        frames.sample(index as u32, &values).unwrap();
        if index == 150 {
            frames.alert(&Alert { index: 150, channel: 1, value: values[1], surprise: 7.0 }).unwrap();
        }
        if forecaster.is_ready() {
            frames.forecast(index as u32, forecaster.as_ref()).unwrap();
        }
    }
    frames.0.0
}

#[test]
fn monitor_prints_a_line_for_each_event_and_records_samples() {
    let bench = Bench::new();
    let bytes = recording(&bench, 200);
    bench.write("line.bytes", &[&bytes[..], b"noise\0"].concat());
    let words = ["monitor", "line.bytes", "--model", "model.flow", "--record", "out.csv", "--json"];
    let output = bench.run(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!((of("sample").len(), of("alert").len(), of("forecast").len()), (200, 1, 2 * (200 + 1 - 144)));
    assert_eq!(of("forecast")[0]["steps"].as_array().unwrap().len(), 36);
    assert_eq!(of("sample")[199]["expected"][0]["ahead"], 1);
    assert!(events.iter().all(|event| event["time"].as_str().unwrap().ends_with('Z')));

    let record = std::fs::read_to_string(bench.path("out.csv")).unwrap();
    let lines: Vec<&str> = record.lines().collect();
    assert!(
        lines[0].starts_with("index,received,c0,c0_median,c0_lower,c0_upper,c0_residual,c0_ahead,c1,"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 201);
    let last: Vec<&str> = lines[200].split(',').collect();
    let number = |field: usize| last[field].parse::<f64>().unwrap();
    assert!((number(2) - number(3) - number(6)).abs() < 1e-4 && last[0] == "199" && last[7] == "1", "{last:?}");

    // The file goes on with the same columns, and no others.
    assert!(bench.run(&words).status.success());
    assert_eq!(std::fs::read_to_string(bench.path("out.csv")).unwrap().lines().count(), 401);
    let error = bench.refusal(&["monitor", "line.bytes", "--model", "model.flow", "--record", "data.csv"]);
    assert!(error.contains("data.csv is there with the columns time,c0,c1"), "{error}");
    let error = bench.refusal(&["monitor", "/dev/ttyNOWHERE"]);
    assert!(error.contains("no serial port /dev/ttyNOWHERE"), "{error}");

    // For people, and from standard input.
    let mut child = flowcast();
    let child = child.args(["monitor", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("sample 199: channel 0 "), "{text}");
    assert!(text.contains("ALERT sample 150: channel 1 ") && text.contains("--model does"), "{text}");
}

#[test]
fn monitor_waits_for_a_line_that_went_away_and_asks_again() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let mut child = flowcast();
    let child = child.args(["monitor", &address, "--json"]).current_dir(bench.folder.path()).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    for index in 0..2 {
        let (mut line, _) = listener.accept().unwrap();
        line.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Who is there?
        let mut byte = [0];
        line.read_exact(&mut byte).unwrap();
        let sampled = Sampled { index, values: [1.5].into_iter().collect() };
        line.write_all(encode(&Reply::Sampled(sampled), &mut [0; FRAME_BYTES])).unwrap();
    }
    drop(listener);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| *kind == "lost").count() < 2 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        kinds.push(event["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["sample", "lost", "back", "sample", "lost"]);
    child.kill().unwrap();
    child.wait().unwrap();
}
