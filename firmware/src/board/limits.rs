//! The limits that a station watches, as the image was built for them: `FLOWCAST_LIMITS` (see `build.rs`), which
//! `flowcast flash --limit` sets.

#[allow(unused_imports, reason = "an image without limits needs no more than the type")]
use flowcast_core::warning::{Limit, Line, Side, Watch};

include!(concat!(env!("OUT_DIR"), "/limits.rs"));
