//! The `flowcast` command.

fn main() {}
