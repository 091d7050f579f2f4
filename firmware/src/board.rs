//! The boards, one file each, and what they share.

pub mod fault;
pub mod memory;
pub mod mps2_an386;
pub mod register;
