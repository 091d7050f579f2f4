//! Puts the board's memory layout where the linker finds it, so that a plain `cargo build --target …` links.

use std::{env, fs, path::PathBuf};

fn main() {
    const MEMORY: &str = "memory/mps2_an386.x";
    println!("cargo::rerun-if-changed={MEMORY}");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy(MEMORY, out.join("memory.x")).expect("the memory layout can be copied");
    // The level of what the firmware logs; defmt reads it while it compiles.
    println!("cargo::rustc-env=DEFMT_LOG=info");
    println!("cargo::rustc-link-search={}", out.display());
    // cortex-m-rt's layout, which includes memory.x, and the section that holds defmt's interned strings.
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=-Tdefmt.x");
}
