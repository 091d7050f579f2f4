//! Flowcast on the host: data, training, export, back-tests and emulated boards; the `flowcast` command as a library.

pub mod attention;
pub mod backtest;
pub mod baseline;
pub mod data;
pub mod doctor;
pub mod duration;
pub mod emulate;
pub mod file;
pub mod forecaster;
pub mod link;
pub mod metrics;
pub mod output;
pub mod report;
pub mod setup;
