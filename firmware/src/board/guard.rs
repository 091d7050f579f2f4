//! A fault below the stack on boards whose emulator has a device there that takes every write and does nothing. Nothing else
//! is in this file.

#![allow(unsafe_code)]

use cortex_m::peripheral::MPU;

use super::memory;

/// Bytes below the stack that nobody may touch; no frame is larger.
const BYTES: u32 = 32 << 10;

// Fields of the registers (Armv7-M Architecture Reference Manual, B3.5).
const VALID: u32 = 1 << 4;
const NO_EXECUTION: u32 = 1 << 28;
const SIZE: u32 = (BYTES.ilog2() - 1) << 1;
const ENABLE: u32 = 1;
/// Elsewhere all is as without it.
const DEFAULT_MAP: u32 = 1 << 2;

/// From here on what overflows the stack is a fault.
pub fn below_the_stack(mpu: &mut MPU) {
    let base = memory::stack_end() - BYTES;
    // SAFETY: these are the addresses below the stack, where this program has nothing; what lies elsewhere keeps its rights.
    // A region begins at a multiple of its size, as the stack does in `memory/mps2.x`.
    unsafe {
        mpu.rbar.write(base | VALID);
        mpu.rasr.write(NO_EXECUTION | SIZE | ENABLE);
        mpu.ctrl.write(DEFAULT_MAP | ENABLE);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}
