//! Chooses the kernels by target: `cfg(target_feature = "dsp")` is never set on stable Rust, so the target's name decides.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Armv7E-M has the DSP instructions. Armv8-M Mainline may lack them; every Cortex-M33 on the market that runs Rust's
    // target of that name has them, and the feature `portable-kernels` is there for one that does not.
    let target = env::var("TARGET").unwrap_or_default();
    let is = |name: &str| target.starts_with(name);
    let (v7em, v8m) = (is("thumbv7em-"), is("thumbv8m.main-"));
    // Armv6-M (and Armv8-M Baseline) multiply to 32 bits only.
    let short_multiply = is("thumbv6m-") || is("thumbv8m.base-");
    let kernels = env::var_os("CARGO_FEATURE_PORTABLE_KERNELS").is_none();
    for (name, chosen) in [
        ("flowcast_dsp", kernels && (v7em || v8m)),
        ("flowcast_thumb", kernels && (is("thumbv7m-") || short_multiply)),
        ("flowcast_v8m", v8m),
        ("flowcast_short_multiply", short_multiply),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if chosen {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
