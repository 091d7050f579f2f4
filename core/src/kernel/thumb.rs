//! The kernels of cores without the DSP extension: Armv7-M (Cortex-M3), and Armv6-M and Armv8-M Baseline (Cortex-M0, M0+,
//! M23), which have eight registers for most of their instructions. A pair of rows at a time: each number of the vector is
//! taken apart once and meets two weights. Compilers keep the half of it on the stack.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::{PAIR, portable};
use crate::fixed::View;
use crate::q20::Q20;

/// As [`portable::pairs`].
pub fn pairs(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    portable::pairs_by(pair, weights, multipliers, x, up, from, y);
}

/// Sums of both rows, the upper one's weights with 128 added, its sum from `start`.
#[inline]
fn pair(weights: &[u32], x: &[u32], start: i32) -> [i32; PAIR] {
    let steps = weights.len().min(x.len()) / 2;
    if steps == 0 {
        return [start, 0];
    }
    // SAFETY: each step reads two words of `x` and two of `weights`, and there are as many and at least one.
    let both = unsafe { pair_steps(x.as_ptr(), weights.as_ptr(), steps, start) };
    [both as i32, (both >> 32) as i32]
}

/// As [`portable::row`].
#[inline]
pub fn row(weights: &[u32], x: &[u32]) -> i32 {
    let steps = weights.len().min(x.len() / 2);
    if steps == 0 {
        return 0;
    }
    // SAFETY: each step reads two words of `x` and one of `weights`, and there are as many and at least one.
    unsafe { row_steps(x.as_ptr(), weights.as_ptr(), steps) }
}

/// A word of weights and a word of the vector. r3: upper sum; r4: lower sum; r8 and lr are used.
#[cfg(not(flowcast_short_multiply))]
macro_rules! word {
    ($weights:literal, $x:literal) => {
        concat!(
            "sxth r8, ",
            $x,
            "\n",
            "asrs ",
            $x,
            ", ",
            $x,
            ", #16\n",
            "uxtb lr, ",
            $weights,
            "\n",
            "mla r3, lr, r8, r3\n",
            "sbfx lr, ",
            $weights,
            ", #8, #8\n",
            "mla r4, lr, r8, r4\n",
            "ubfx lr, ",
            $weights,
            ", #16, #8\n",
            "mla r3, lr, ",
            $x,
            ", r3\n",
            "asr lr, ",
            $weights,
            ", #24\n",
            "mla r4, lr, ",
            $x,
            ", r4\n",
        )
    };
}

/// Four columns. r0: the vector; r1: weights; r3, r4: sums; r5 to r8, r12 and lr are used.
#[cfg(not(flowcast_short_multiply))]
macro_rules! pair_step {
    () => {
        concat!("ldrd r5, r6, [r0], #8\n", "ldrd r7, r12, [r1], #8\n", word!("r7", "r5"), word!("r12", "r6"),)
    };
}

/// Sums `steps` steps, at least one: the upper row's, and above it the lower one's.
///
/// # Safety
/// `x` and `weights` have two words for each step.
#[cfg(not(flowcast_short_multiply))]
#[unsafe(naked)]
unsafe extern "C" fn pair_steps(x: *const u32, weights: *const u32, steps: usize, start: i32) -> u64 {
    naked_asm!(
        "push {{r4-r8, lr}}",
        "movs r4, #0",
        repeated!(pair_step),
        "mov r0, r3",
        "mov r1, r4",
        "pop {{r4-r8, pc}}",
    )
}

/// Two columns. r0: the vector; r1: weights; r3, r4: sums; r2 and r5 to r7 are used.
#[cfg(flowcast_short_multiply)]
macro_rules! word {
    () => {
        concat!(
            "ldmia r0!, {{r6}}\n",
            "ldmia r1!, {{r7}}\n",
            "sxth r5, r6\n",
            "asrs r6, r6, #16\n",
            "uxtb r2, r7\n",
            "muls r2, r5, r2\n",
            "adds r3, r3, r2\n",
            "sxth r2, r7\n",
            "asrs r2, r2, #8\n",
            "muls r2, r5, r2\n",
            "adds r4, r4, r2\n",
            "asrs r7, r7, #16\n",
            "uxtb r2, r7\n",
            "muls r2, r6, r2\n",
            "adds r3, r3, r2\n",
            "asrs r7, r7, #8\n",
            "muls r7, r6, r7\n",
            "adds r4, r4, r7\n",
        )
    };
}

/// Sums `steps` steps, at least one: the upper row's, and above it the lower one's.
///
/// # Safety
/// `x` and `weights` have two words for each step.
#[cfg(flowcast_short_multiply)]
#[unsafe(naked)]
unsafe extern "C" fn pair_steps(x: *const u32, weights: *const u32, steps: usize, start: i32) -> u64 {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "lsls r2, r2, #3",
        "adds r2, r0, r2",
        "mov r12, r2",
        "movs r4, #0",
        "1:",
        word!(),
        word!(),
        "cmp r0, r12",
        "blo 1b",
        "mov r0, r3",
        "mov r1, r4",
        "pop {{r4-r7, pc}}",
    )
}

/// Four columns of a row. r0: the vector; r1: weights; r3: sum; r4 to r7 and r12 are used.
#[cfg(not(flowcast_short_multiply))]
macro_rules! row_step {
    () => {
        concat!(
            "ldrd r4, r5, [r0], #8\n",
            "ldr r6, [r1], #4\n",
            "sxth r7, r4\n",
            "sxtb r12, r6\n",
            "mla r3, r12, r7, r3\n",
            "asrs r4, r4, #16\n",
            "sbfx r12, r6, #16, #8\n",
            "mla r3, r12, r4, r3\n",
            "sxth r7, r5\n",
            "sbfx r12, r6, #8, #8\n",
            "mla r3, r12, r7, r3\n",
            "asrs r5, r5, #16\n",
            "asrs r6, r6, #24\n",
            "mla r3, r6, r5, r3\n",
        )
    };
}

/// Sums `steps` steps of a row, at least one.
///
/// # Safety
/// `x` has two words and `weights` one for each step.
#[cfg(not(flowcast_short_multiply))]
#[unsafe(naked)]
unsafe extern "C" fn row_steps(x: *const u32, weights: *const u32, steps: usize) -> i32 {
    naked_asm!("push {{r4-r7}}", "movs r3, #0", repeated!(row_step), "mov r0, r3", "pop {{r4-r7}}", "bx lr",)
}

/// Sums `steps` steps of a row, at least one.
///
/// # Safety
/// `x` has two words and `weights` one for each step.
#[cfg(flowcast_short_multiply)]
#[unsafe(naked)]
unsafe extern "C" fn row_steps(x: *const u32, weights: *const u32, steps: usize) -> i32 {
    naked_asm!(
        "push {{r4-r7, lr}}",
        "lsls r2, r2, #3",
        "adds r2, r0, r2",
        "mov r12, r2",
        "movs r3, #0",
        "1:",
        "ldmia r0!, {{r5, r6}}",
        "ldmia r1!, {{r7}}",
        "sxth r4, r5",
        "sxtb r2, r7",
        "muls r2, r4, r2",
        "adds r3, r3, r2",
        "asrs r5, r5, #16",
        "lsls r2, r7, #8",
        "asrs r2, r2, #24",
        "muls r2, r5, r2",
        "adds r3, r3, r2",
        "sxth r4, r6",
        "sxth r2, r7",
        "asrs r2, r2, #8",
        "muls r2, r4, r2",
        "adds r3, r3, r2",
        "asrs r6, r6, #16",
        "asrs r7, r7, #24",
        "muls r7, r6, r7",
        "adds r3, r3, r7",
        "cmp r0, r12",
        "blo 1b",
        "mov r0, r3",
        "pop {{r4-r7, pc}}",
    )
}
