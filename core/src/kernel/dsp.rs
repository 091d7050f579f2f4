//! The kernels of Armv7E-M (Cortex-M4, M7) and of Armv8-M Mainline with the DSP extension (Cortex-M33).
//!
//! A step takes eight columns of a pair of rows: a load of four words of the vector, one of four words of weights, then for
//! each word of weights `SMLALD`, `UXTB16` and `SMLAD`: 14 instructions for 16 multiply-accumulates. With the upper row's
//! weights as w + 128, both sums begin at −128 Σ v:
//!
//! ```text
//! SMLALD   Σ (256 b + a + 128) v  →  256 B + A      in 64 bits
//! SMLAD    Σ (a + 128) v          →  A              in 32 bits
//! ```
//!
//! The functions are written whole, because inline assembly leaves too few registers for that. `.cpu` lets the assembler
//! know the instructions where the target's name does not; it says nothing about the code around.

#![allow(unsafe_code)]

use core::arch::naked_asm;

use super::{Halves, PAIR};
use crate::fixed::{Shifts, View};
use crate::q20::Q20;

/// Steps that are written one after the other.
const STEPS: usize = 4;
/// Bytes of a step's instructions.
const STEP_BYTES: usize = 14 * 4;

/// As [`super::portable::pairs`].
#[inline]
pub fn pairs(weights: &[u32], multipliers: &[i32], x: View<'_>, up: u32, from: Option<&[i32]>, y: &mut [Q20]) {
    let (count, width) = (y.len() / PAIR, x.pairs.len());
    let steps = width / 4;
    let enough = weights.len() >= count * width && multipliers.len() / PAIR >= count;
    if !enough || from.is_some_and(|from| from.len() / PAIR < count) || count == 0 {
        return;
    }
    // The first pass may be a part of one.
    let (passes, first) = steps.checked_sub(1).map_or((0, 0), |last| (last / STEPS, last % STEPS + 1));
    let y = y.as_mut_ptr();
    let from = from.map_or(y.cast_const().cast(), <[i32]>::as_ptr);
    // SAFETY: each pair reads `width` words of `x` and of `weights`, and two multipliers and numbers of `from`; it writes two
    // of `y`, whose first `PAIR · count` are within it. `from` may be `y`: they are read before they are written.
    unsafe {
        let skipped = (STEPS - first) * STEP_BYTES;
        let end = y.add(PAIR * count);
        let (x, start) = (x.pairs.as_ptr(), x.start);
        pairs_of_rows(x, weights.as_ptr(), passes, start, from, multipliers.as_ptr(), y, up, end, skipped, width & 2);
    }
}

/// As [`super::portable::row`].
#[inline]
pub fn row(weights: &[u32], x: &[u32]) -> i32 {
    let steps = (x.len() / 2).min(weights.len());
    // SAFETY: each step reads two words of `x` and one of `weights`, and there are as many.
    unsafe { row_steps(x.as_ptr(), weights.as_ptr(), steps) }
}

/// As [`super::portable::shorten`].
#[inline]
pub fn shorten<const N: usize>(x: &[Q20], values: &mut Halves<N>, shifts: Shifts) -> (i32, u32) {
    // SAFETY: as many numbers are read and written as both have.
    let both =
        unsafe { shorten_all(x.as_ptr(), x.len().min(N), values.0.as_mut_ptr(), shifts.least | shifts.most << 16) };
    (both as i32, (both >> 32) as u32)
}

/// A word of weights and one of the vector. r3: sum of the upper row; r4, r5: sum of both.
macro_rules! word {
    ($weights:literal, $x:literal) => {
        concat!(
            "smlald r4, r5, ",
            $weights,
            ", ",
            $x,
            "\n",
            "uxtb16 ",
            $weights,
            ", ",
            $weights,
            "\n",
            "smlad r3, ",
            $weights,
            ", ",
            $x,
            ", r3\n",
        )
    };
}

/// Eight columns of a pair, [`STEP_BYTES`] long. r0: the vector; r1: weights; r6 to r12 and lr are used.
macro_rules! pair_step {
    () => {
        concat!(
            "ldmia r0!, {{r6, r7, r8, r9}}\n",
            "ldmia r1!, {{r10, r11, r12, lr}}\n",
            word!("r10", "r6"),
            word!("r11", "r7"),
            word!("r12", "r8"),
            word!("lr", "r9"),
        )
    };
}

/// As [`pairs`]: of each pair, four columns if `half` is not 0, then [`STEPS`] steps less those of `skipped` bytes, then
/// `passes` times [`STEPS`]. What begins anew for each pair lies on the stack in the order of its registers, what moves on
/// with the pairs lies behind it, where the call put it.
///
/// # Safety
/// `x` has two words for four columns, four for eight; `weights` as many for each pair; `multipliers`, `from` and `y` two
/// numbers for each, and there is at least one. `end` is behind the last of `y`.
#[unsafe(naked)]
#[allow(clippy::too_many_arguments)]
unsafe extern "C" fn pairs_of_rows(
    x: *const u32,
    weights: *const u32,
    passes: usize,
    start: i32,
    from: *const i32,
    multipliers: *const i32,
    y: *mut Q20,
    up: u32,
    end: *const Q20,
    skipped: usize,
    half: usize,
) {
    naked_asm!(
        cpu!(),
        "push {{r4-r11, lr}}",
        "ldrd r7, r8, [sp, #56]",
        "mov r4, r3",
        "asrs r5, r3, #31",
        // Where a pair begins: r6, after four columns r12; both with the bit that says Thumb.
        "adr r12, 2f",
        "adds r7, r7, #1",
        "add r12, r12, r7",
        "mov r6, r12",
        "cmp r8, #0",
        "beq 1f",
        "adr r6, 5f",
        "adds r6, r6, #1",
        "1:",
        "push {{r0, r2, r3, r4, r5, r6, r12}}",
        "4:",
        "ldm sp, {{r0, r2, r3, r4, r5, r6, r12}}",
        "bx r6",
        ".p2align 2",
        "5:",
        "ldrd r6, r7, [r0], #8",
        "ldrd r8, r9, [r1], #8",
        word!("r8", "r6"),
        word!("r9", "r7"),
        "bx r12",
        ".p2align 2",
        "2:",
        pair_step!(),
        pair_step!(),
        pair_step!(),
        pair_step!(),
        "subs r2, r2, #1",
        "bhs 2b",
        "add r12, sp, #64",
        // r4: (256 B + A − A) / 256.
        "subs r4, r4, r3",
        "sbc r5, r5, r3, asr #31",
        "lsrs r4, r4, #8",
        "orr r4, r4, r5, lsl #24",
        // r6: from; r7: multipliers; r8: y; r9: up; r10: the end of y.
        "ldm r12, {{r6, r7, r8, r9, r10}}",
        "ldrd r5, r11, [r7], #8",
        "smmulr r3, r3, r5",
        "smmulr r4, r4, r11",
        "ldrd r5, r11, [r6], #8",
        "lsls r3, r3, r9",
        "lsls r4, r4, r9",
        "qadd r3, r3, r5",
        "qadd r4, r4, r11",
        "strd r3, r4, [r8], #8",
        "stm r12, {{r6, r7, r8}}",
        "cmp r8, r10",
        "bne 4b",
        "add sp, sp, #28",
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

/// Four numbers. r12: the vector; r4: bits; r5 to r8 are used.
macro_rules! magnitude_step {
    () => {
        concat!(
            "ldmia r12!, {{r5, r6, r7, r8}}\n",
            "eor r5, r5, r5, asr #31\n",
            "eor r6, r6, r6, asr #31\n",
            "eor r7, r7, r7, asr #31\n",
            "eor r8, r8, r8, asr #31\n",
            "orrs r4, r4, r5\n",
            "orrs r4, r4, r6\n",
            "orrs r4, r4, r7\n",
            "orr r4, r4, r8\n",
        )
    };
}

/// Nothing: the shift has room for the largest.
macro_rules! free {
    ($value:literal) => {
        ""
    };
}

/// Within fourteen bits and a sign.
macro_rules! bounded {
    ($value:literal) => {
        concat!("ssat ", $value, ", #15, ", $value, "\n")
    };
}

/// Four numbers. r0: the vector; r2: values; r3: 2^(32 − shift); r8: sum; r12: 1 in both halves; r4 to r7 are used.
macro_rules! shorten_step {
    ($bound:ident) => {
        concat!(
            "ldmia r0!, {{r4, r5, r6, r7}}\n",
            "smmulr r4, r4, r3\n",
            "smmulr r5, r5, r3\n",
            "smmulr r6, r6, r3\n",
            "smmulr r7, r7, r3\n",
            $bound!("r4"),
            $bound!("r5"),
            $bound!("r6"),
            $bound!("r7"),
            "pkhbt r4, r4, r5, lsl #16\n",
            "pkhbt r6, r6, r7, lsl #16\n",
            "smlad r8, r4, r12, r8\n",
            "smlad r8, r6, r12, r8\n",
            "strd r4, r6, [r2], #8\n",
        )
    };
}

/// All numbers, r1 of them; the rest as [`shorten_step`]. Then it returns.
macro_rules! shorten_rest {
    ($bound:ident) => {
        concat!(
            "subs r1, r1, #8\n",
            "blo 2f\n",
            "1:\n",
            shorten_step!($bound),
            shorten_step!($bound),
            "subs r1, r1, #8\n",
            "bhs 1b\n",
            "2:\n",
            "adds r1, r1, #8\n",
            "beq 4f\n",
            "3:\n",
            "ldr r4, [r0], #4\n",
            "smmulr r4, r4, r3\n",
            $bound!("r4"),
            "strh r4, [r2], #2\n",
            "add r8, r8, r4\n",
            "subs r1, r1, #1\n",
            "bne 3b\n",
            "4:\n",
            "mov r0, r8\n",
            "mov r1, r9\n",
            "pop {{r4-r9, pc}}\n",
        )
    };
}

/// As [`shorten`], `shifts` the least one and the most in its halves; gives the sum, and above it the shift.
///
/// # Safety
/// `x` and `values` have `count` numbers; `values` is aligned to a word.
#[unsafe(naked)]
unsafe extern "C" fn shorten_all(x: *const Q20, count: usize, values: *mut i16, shifts: u32) -> u64 {
    naked_asm!(
        cpu!(),
        "push {{r4-r9, lr}}",
        "movs r4, #0",
        "mov r12, r0",
        "subs lr, r1, #8",
        "blo 2f",
        "1:",
        magnitude_step!(),
        magnitude_step!(),
        "subs lr, lr, #8",
        "bhs 1b",
        "2:",
        "adds lr, lr, #8",
        "beq 4f",
        "3:",
        "ldr r5, [r12], #4",
        "eor r5, r5, r5, asr #31",
        "orrs r4, r4, r5",
        "subs lr, lr, #1",
        "bne 3b",
        "4:",
        "clz r9, r4",
        "rsb r9, r9, #18",
        "uxth r5, r3",
        "lsrs r6, r3, #16",
        "cmp r9, r5",
        "it lt",
        "movlt r9, r5",
        "rsb r5, r9, #32",
        "movs r3, #1",
        "mov r8, #0",
        "mov r12, #0x00010001",
        "cmp r9, r6",
        "bge 5f",
        "lsls r3, r3, r5",
        shorten_rest!(free),
        // With the largest shift.
        "5:",
        "mov r9, r6",
        "rsb r5, r9, #32",
        "lsls r3, r3, r5",
        shorten_rest!(bounded),
    )
}
