//! Placeholder.
/// Small.
pub type Small<'m, const CHANNELS: usize, const SLOTS: usize> = crate::forecaster::Forecaster<'m, CHANNELS>;
pub use Small as Tiny;
pub use Small as Base;
