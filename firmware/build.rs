//! Chooses the board by its feature and puts its memory layout where the linker finds it, so that a plain
//! `cargo build --target …` links.

use std::{env, fs, path::PathBuf};

/// A board's feature, its target, its memory layout, and whether it is an emulated one.
const BOARDS: [(&str, &str, &str, bool); 9] = [
    ("mps2-an385", "thumbv7m-none-eabi", "mps2.x", true),
    ("mps2-an386", "thumbv7em-none-eabihf", "mps2.x", true),
    ("mps2-an500", "thumbv7em-none-eabihf", "mps2.x", true),
    ("mps2-an505", "thumbv8m.main-none-eabihf", "mps2_an505.x", true),
    ("microbit", "thumbv6m-none-eabi", "microbit.x", true),
    ("nrf52840dk", "thumbv7em-none-eabihf", "nrf52840dk.x", false),
    ("stm32f411", "thumbv7em-none-eabihf", "stm32f411.x", false),
    ("pico", "thumbv6m-none-eabi", "pico.x", false),
    ("pico2", "thumbv8m.main-none-eabihf", "pico2.x", false),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=memory");
    println!("cargo::rustc-check-cfg=cfg(mps2, mps2_an505, microbit, nrf52840dk, stm32f411, pico, pico2)");
    println!("cargo::rustc-check-cfg=cfg(emulated, station, gated)");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let chosen: Vec<_> = BOARDS
        .into_iter()
        .filter(|(name, ..)| {
            let feature = format!("CARGO_FEATURE_BOARD_{}", name.to_uppercase().replace('-', "_"));
            env::var_os(feature).is_some()
        })
        .collect();
    let [(name, target, memory, emulated)] = chosen[..] else {
        let names = BOARDS.map(|(name, ..)| format!("board-{name}")).join(", ");
        panic!(
            "found {} features that name a board, expected one of {names} (with --no-default-features)",
            chosen.len()
        );
    };
    let found = env::var("TARGET").unwrap_or_default();
    // A Cortex-M3 runs what is built for an M0: `flowcast bench --cortex-m0` counts it there.
    let smaller = name == "mps2-an385" && found == "thumbv6m-none-eabi";
    assert!(found == target || smaller, "found target {found}, expected {target} for the board {name}");
    println!("cargo::rustc-cfg={}", memory.trim_end_matches(".x"));
    println!("cargo::rustc-cfg={}", if emulated { "emulated" } else { "station" });
    println!("cargo::rustc-env=FLOWCAST_BOARD={name}");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(format!("memory/{memory}"), out.join("memory.x")).expect("the memory layout can be copied");
    fs::write(out.join("limits.rs"), limits()).expect("the limits can be written");
    if let Some(errors) = errors() {
        println!("cargo::rustc-cfg=gated");
        fs::write(out.join("errors.rs"), errors).expect("the errors can be written");
    }
    if env::var_os("CARGO_FEATURE_SIGNED").is_some() {
        fs::write(out.join("key.rs"), key()).expect("the key can be written");
    }
    // The level of what the firmware logs; defmt reads it while it compiles.
    println!("cargo::rustc-env=DEFMT_LOG=info");
    println!("cargo::rustc-link-search={}", out.display());
    // cortex-m-rt's layout, which includes memory.x, and the section that holds defmt's interned strings.
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
    if name == "pico" {
        // The second stage of the RP2040's boot loader, from embassy-rp.
        println!("cargo::rustc-link-arg-bins=-Tlink-rp.x");
    }
}

/// Rust for the key whose owner signs models: `FLOWCAST_KEY`, 64 hexadecimal digits.
fn key() -> String {
    println!("cargo::rerun-if-env-changed=FLOWCAST_KEY");
    let text = env::var("FLOWCAST_KEY").unwrap_or_default();
    let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == 32);
    let bytes = bytes.unwrap_or_else(|| panic!("FLOWCAST_KEY: found {text:?}, expected 64 hexadecimal digits"));
    format!("/// Its owner signs models.\nconst KEY: [u8; flowcast_core::signature::KEY_BYTES] = {bytes:?};\n")
}

/// Rust for the errors that a gated station lets pass in silence: `FLOWCAST_ERRORS` has one for each channel; without it, every
/// sample is told.
fn errors() -> Option<String> {
    /// A gate's channels.
    const CHANNELS: usize = 8;
    println!("cargo::rerun-if-env-changed=FLOWCAST_ERRORS");
    let text = env::var("FLOWCAST_ERRORS").unwrap_or_default();
    let numbers: Option<Vec<f32>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
    let numbers = numbers.filter(|numbers| numbers.len() <= CHANNELS && numbers.iter().all(|error| *error > 0.0));
    let Some(mut numbers) = numbers else {
        panic!("FLOWCAST_ERRORS: found {text:?}, expected up to {CHANNELS} numbers above 0, one for each channel")
    };
    if numbers.is_empty() {
        return None;
    }
    // Channels that the model lacks are never wrong.
    numbers.resize(CHANNELS, f32::MAX);
    Some(format!("/// Channel by channel.\npub const ERRORS: [f32; {CHANNELS}] = {numbers:?};\n"))
}

/// Rust for the limits that the station watches: `FLOWCAST_LIMITS` has them as `channel side value margin line within`, with
/// semicolons between them.
fn limits() -> String {
    println!("cargo::rerun-if-env-changed=FLOWCAST_LIMITS");
    let text = env::var("FLOWCAST_LIMITS").unwrap_or_default();
    let watches: Vec<String> = text.split(';').filter(|limit| !limit.trim().is_empty()).map(watch).collect();
    format!("/// In their order.\npub const WATCHES: [Watch; {}] = [{}];\n", watches.len(), watches.concat())
}

fn watch(text: &str) -> String {
    let expected = "channel above|below value margin near|median|far within";
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [channel, side, value, margin, line, within] = fields[..] else {
        panic!("FLOWCAST_LIMITS: found {text:?}, expected {expected}")
    };
    let (Ok(channel), Ok(value), Ok(margin), Ok(within)) =
        (channel.parse::<u16>(), value.parse::<f32>(), margin.parse::<f32>(), within.parse::<u16>())
    else {
        panic!("FLOWCAST_LIMITS: found {text:?}, expected numbers in {expected}")
    };
    assert!(value.is_finite() && margin.is_finite(), "FLOWCAST_LIMITS: found {text:?}, expected finite numbers");
    let side = match side {
        "above" => "Above",
        "below" => "Below",
        _ => panic!("FLOWCAST_LIMITS: found {side:?}, expected above or below"),
    };
    let line = match line {
        "near" => "Near",
        "median" => "Median",
        "far" => "Far",
        _ => panic!("FLOWCAST_LIMITS: found {line:?}, expected near, median or far"),
    };
    format!(
        "Watch::new(Limit {{ channel: {channel}, side: Side::{side}, value: {value:?}, margin: {margin:?}, \
         line: Line::{line}, within: {within} }}),"
    )
}
