//! The kernels of every emulated board against the portable ones, on the board: `firmware/src/bin/kernels.rs`.
//!
//! Needs what `emulated` needs.

use std::time::Duration;

use flowcast::emulate::image::{self, With};
use flowcast::emulate::machine::{Board, MACHINES};
use flowcast_core::format::Numeric;

/// For what takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn every_boards_kernels_are_the_portable_ones() {
    for machine in MACHINES {
        let program = image::build_program(&machine, "kernels", "tiny", Numeric::I8, With::default())
            .expect("the program builds");
        let board = Board::start(&machine, &program, &[], std::io::stderr()).expect("the board starts");
        board.finish(PATIENCE).unwrap_or_else(|error| panic!("{}: {error:#}", machine.name));
    }
}
