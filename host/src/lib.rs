//! Trains, exports, back-tests and emulates Flowcast's streaming forecasters; the `flowcast` command as a library.

pub mod baseline;
pub mod data;
pub mod duration;
pub mod file;
pub mod metrics;
pub mod output;
