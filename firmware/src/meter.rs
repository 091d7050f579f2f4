//! What a board can tell of itself.

/// Measures work and memory. On a board it is the hardware, in a test it may misbehave.
pub trait Meter {
    /// Does `work` once and returns the instructions that it took, nothing around it counted; `None` where the board
    /// cannot tell, or the count ran over.
    fn instructions(&mut self, work: impl FnOnce()) -> Option<u32>;

    /// Bytes of statically allocated RAM: initialised and zeroed data.
    fn ram_bytes(&self) -> u32;

    /// Bytes of the stack that were ever in use, rounded up to words.
    fn stack_bytes(&self) -> u32;
}
