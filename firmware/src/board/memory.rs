//! Memory as the linker laid it out: the model's region, static data, the stack. Nothing else is in this file.

#![allow(unsafe_code)]

use core::ptr::addr_of;

unsafe extern "C" {
    // Boundaries, not values: only their addresses mean something. `memory/*.x` sets the model's, cortex-m-rt the rest.
    static _model_start: u8;
    static _model_end: u8;
    #[cfg(station)]
    static _state_start: u8;
    #[cfg(station)]
    static _state_end: u8;
    static __sdata: u32;
    static __edata: u32;
    static __sbss: u32;
    static __ebss: u32;
    static _stack_start: u32;
    static _stack_end: u32;
}

/// The model's region, whatever lies there; on a board with slots, both of them.
pub fn model() -> &'static [u8] {
    let (start, end) = (addr_of!(_model_start), addr_of!(_model_end));
    // SAFETY: the linker script reserves these addresses for the model; they are readable memory, nothing in this
    // program writes there, and any byte is a valid `u8`.
    unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The two slots for models, halves of the model's region.
#[cfg(station)]
pub fn slots() -> [&'static [u8]; 2] {
    let region = model();
    let (a, b) = region.split_at_checked(region.len() / 2).unwrap_or((region, &[]));
    [a, b]
}

/// The region of flash that survives a reset, as offsets from the flash's first address.
#[cfg(station)]
pub fn state(flash: u32) -> core::ops::Range<u32> {
    let [start, end] = [addr_of!(_state_start), addr_of!(_state_end)].map(|address| address as u32 - flash);
    start..end
}

/// Bytes of static data, initialised and zeroed.
pub fn static_bytes() -> u32 {
    let data = addr_of!(__edata) as u32 - addr_of!(__sdata) as u32;
    let bss = addr_of!(__ebss) as u32 - addr_of!(__sbss) as u32;
    data + bss
}

/// The stack's lowest address.
pub fn stack_end() -> u32 {
    addr_of!(_stack_end) as u32
}

/// Whether the stack's pointer has left the stack, or is about to: what an exception keeps there would no more fit.
pub fn is_over_the_stack(pointer: u32) -> bool {
    /// Registers, those of floating point too, and a word that aligns them.
    const EXCEPTION_BYTES: u32 = 27 * 4;
    pointer < stack_end() + EXCEPTION_BYTES
}

/// The deepest that the stack ever was, in bytes: from its start down to the first word that start-up's paint no longer
/// covers.
pub fn stack_bytes() -> u32 {
    let (end, start) = (addr_of!(_stack_end), addr_of!(_stack_start));
    let mut word = end;
    // SAFETY: every word from `_stack_end` up to `_stack_start` is RAM that cortex-m-rt painted at start. A volatile
    // read of the part in use sees some value, and all that is asked of it is whether it differs from the paint.
    while word < start && unsafe { word.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    start as u32 - word as u32
}
