//! Flowcast on the host: data, training, export, back-tests and emulated boards.

pub mod forecaster;
