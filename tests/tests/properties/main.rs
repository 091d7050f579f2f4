//! What must hold for every input: files, streams and the attention cell, tried with random ones.
//!
//! Every run tries the same cases: the generator is seeded and failures are not remembered.

mod attention;
mod file;
mod stream;

use proptest::test_runner::{Config, RngSeed, TestRunner};

/// A runner that tries so many cases, the same ones each time.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_220_717),
        ..Config::default()
    })
}
