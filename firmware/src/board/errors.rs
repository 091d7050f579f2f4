//! The errors that a gated station lets pass in silence, as the image was built for them: `FLOWCAST_ERRORS` (see `build.rs`),
//! which `flowcast flash --max-error` sets.

include!(concat!(env!("OUT_DIR"), "/errors.rs"));
