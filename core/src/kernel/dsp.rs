//! The kernels of Armv7E-M (Cortex-M4, M7) and of Armv8-M Mainline with the DSP extension (Cortex-M33).
//!
//! A step takes four columns of four rows: one load of two words of the vector, one of four words of weights, then for
//! each word of weights `SXTB16` twice (bytes 0 and 2, bytes 1 and 3) and `SMLAD` twice: 18 instructions for 16
//! multiply-accumulates. The functions are written whole, because inline assembly leaves too few registers for that.
//! `.cpu` lets the assembler know the instructions where the target's name does not; it says nothing about the code
//! around.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::BLOCK_ROWS;

/// As [`super::portable::block`].
#[inline]
pub fn block(weights: &[u32], x: &[u32]) -> [i32; BLOCK_ROWS] {
    let steps = (x.len() / 2).min(weights.len() / 4);
    let mut sums = [0; BLOCK_ROWS];
    // SAFETY: each step reads two words of `x` and four of `weights`, and there are as many; the four sums are written.
    unsafe { block_steps(x.as_ptr(), weights.as_ptr(), steps, &mut sums) };
    sums
}

/// As [`super::portable::row`].
#[inline]
pub fn row(weights: &[u32], x: &[u32]) -> i32 {
    let steps = (x.len() / 2).min(weights.len());
    // SAFETY: each step reads two words of `x` and one of `weights`, and there are as many.
    unsafe { row_steps(x.as_ptr(), weights.as_ptr(), steps) }
}

#[cfg(flowcast_v8m)]
macro_rules! cpu {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(not(flowcast_v8m))]
macro_rules! cpu {
    () => {
        ".cpu cortex-m4"
    };
}

/// Takes a step r2 times, four to a turn while there are as many.
macro_rules! repeated {
    ($step:ident) => {
        concat!(
            "subs r2, r2, #4\n",
            "blo 2f\n",
            "1:\n",
            $step!(),
            $step!(),
            $step!(),
            $step!(),
            "subs r2, r2, #4\n",
            "bhs 1b\n",
            "2:\n",
            "adds r2, r2, #4\n",
            "beq 4f\n",
            "3:\n",
            $step!(),
            "subs r2, r2, #1\n",
            "bne 3b\n",
            "4:",
        )
    };
}

/// Four columns of four rows. r0: the vector; r1: weights; r8 to r11: sums; r3 to r7, r12 and lr are used.
macro_rules! block_step {
    () => {
        concat!(
            "ldrd r4, r5, [r0], #8\n",
            "ldmia r1!, {{r3, r6, r7, r12}}\n",
            "sxtb16 lr, r3\n",
            "sxtb16 r3, r3, ror #8\n",
            "smlad r8, lr, r4, r8\n",
            "smlad r9, r3, r4, r9\n",
            "sxtb16 lr, r6\n",
            "sxtb16 r6, r6, ror #8\n",
            "smlad r10, lr, r4, r10\n",
            "smlad r11, r6, r4, r11\n",
            "sxtb16 lr, r7\n",
            "sxtb16 r7, r7, ror #8\n",
            "smlad r8, lr, r5, r8\n",
            "smlad r9, r7, r5, r9\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad r10, lr, r5, r10\n",
            "smlad r11, r12, r5, r11\n",
        )
    };
}

/// Sums `steps` steps of a block.
///
/// # Safety
/// `x` has two words and `weights` four for each step.
#[unsafe(naked)]
unsafe extern "C" fn block_steps(x: *const u32, weights: *const u32, steps: usize, sums: &mut [i32; BLOCK_ROWS]) {
    naked_asm!(
        cpu!(),
        "push {{r3-r11, lr}}",
        "mov r8, #0",
        "mov r9, #0",
        "mov r10, #0",
        "mov r11, #0",
        repeated!(block_step),
        "pop {{r0}}",
        "stmia r0, {{r8-r11}}",
        "pop {{r4-r11, pc}}",
    )
}

/// Four columns of one row. r0: the vector; r1: weights; r3: sum; r4, r5, r12 and lr are used.
macro_rules! row_step {
    () => {
        concat!(
            "ldrd r4, r5, [r0], #8\n",
            "ldr r12, [r1], #4\n",
            "sxtb16 lr, r12\n",
            "sxtb16 r12, r12, ror #8\n",
            "smlad r3, lr, r4, r3\n",
            "smlad r3, r12, r5, r3\n",
        )
    };
}

/// Sums `steps` steps of a row.
///
/// # Safety
/// `x` has two words and `weights` one for each step.
#[unsafe(naked)]
unsafe extern "C" fn row_steps(x: *const u32, weights: *const u32, steps: usize) -> i32 {
    naked_asm!(
        cpu!(),
        "push {{r4, r5, r6, lr}}",
        "mov r3, #0",
        repeated!(row_step),
        "mov r0, r3",
        "pop {{r4, r5, r6, pc}}",
    )
}
