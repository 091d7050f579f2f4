//! Flowcast on the host: data, training, export, back-tests and emulated boards; the `flowcast` command as a library.

pub mod attention;
pub mod backtest;
pub mod baseline;
pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
pub mod device;
pub mod doctor;
pub mod duration;
pub mod emulate;
pub mod export;
pub mod features;
pub mod file;
pub mod forecaster;
pub mod inspect;
pub mod interrupt;
pub mod link;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod output;
pub mod report;
pub mod ridge;
pub mod setup;
pub mod train;
