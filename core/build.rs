//! Chooses the kernels by target: `cfg(target_feature = "dsp")` is never set on stable Rust, so the target's name decides.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(flowcast_dsp, flowcast_v8m, flowcast_short_multiply)");
    // Armv7E-M has the DSP instructions. Armv8-M Mainline may lack them; every Cortex-M33 on the market that runs Rust's
    // target of that name has them, and the feature `portable-kernels` is there for one that does not.
    let target = env::var("TARGET").unwrap_or_default();
    let (v7em, v8m) = (target.starts_with("thumbv7em-"), target.starts_with("thumbv8m.main-"));
    if (v7em || v8m) && env::var_os("CARGO_FEATURE_PORTABLE_KERNELS").is_none() {
        println!("cargo::rustc-cfg=flowcast_dsp");
    }
    // Armv6-M (and Armv8-M Baseline) multiply to 32 bits only.
    if target.starts_with("thumbv6m-") || target.starts_with("thumbv8m.base-") {
        println!("cargo::rustc-cfg=flowcast_short_multiply");
    }
    if v8m {
        println!("cargo::rustc-cfg=flowcast_v8m");
    }
}
