//! The attention's running means on cores with the DSP extension, to the bit what [`super::portable`] says.
//!
//! With numbers moved up so that upper halves of products are in steps, a mean takes a sample in six instructions:
//!
//! ```text
//! SMMLAR   t = round(value key / 2³²) + 1
//! SUB      above = mean − t
//! SUB      mean − (above >> 31)
//! LSL      above · 4
//! SMMLS    + ⌊−4 above gain / 2³²⌋
//! ```

#![allow(unsafe_code)]

use core::arch::naked_asm;

use crate::q20::Q20;

/// As [`super::portable::approach`].
#[inline]
pub fn approach(means: &mut [Q20], x: &[Q20], scale: i32, gain: i32) {
    let count = means.len().min(x.len());
    // SAFETY: as many numbers are read and written as both have.
    unsafe { approach_all(means.as_mut_ptr(), x.as_ptr(), count, scale, gain) };
}

/// As [`super::portable::remember`].
#[inline]
pub fn remember<const N: usize>(
    means: &mut [[Q20; N]; N],
    key: &[i32; N],
    values: &[i32; N],
    gain: i32,
    query: &[Q20; N],
) -> [i64; N] {
    const { assert!(N > 0 && N.is_multiple_of(2), "two keys at a time") };
    let mut sums = [0; N];
    let sums_at = sums.as_mut_ptr();
    // SAFETY: each of N values reads N numbers of `key` and `query`, reads and writes N of `means`, and writes a sum; N is
    // even and not 0.
    unsafe {
        remember_all(
            means.as_mut_ptr().cast(),
            key.as_ptr(),
            query.as_ptr(),
            values.as_ptr(),
            gain,
            N,
            sums_at,
            sums_at.add(N),
        );
    }
    sums
}

/// A mean takes its sample t + 1, which is lost. r4: gain.
macro_rules! move_towards {
    ($mean:literal, $sample:literal) => {
        concat!(
            "sub ",
            $sample,
            ", ",
            $mean,
            ", ",
            $sample,
            "\n",
            "sub ",
            $mean,
            ", ",
            $mean,
            ", ",
            $sample,
            ", asr #31\n",
            "lsl ",
            $sample,
            ", ",
            $sample,
            ", #2\n",
            "smmls ",
            $mean,
            ", ",
            $sample,
            ", r4, ",
            $mean,
            "\n",
        )
    };
}

/// As [`approach`].
///
/// # Safety
/// `means` and `x` have `count` numbers.
#[unsafe(naked)]
unsafe extern "C" fn approach_all(means: *mut Q20, x: *const Q20, count: usize, scale: i32, gain: i32) {
    naked_asm!(
        cpu!(),
        "push {{r4-r8, lr}}",
        "ldr r4, [sp, #24]",
        "movs r12, #1",
        "subs r2, r2, #2",
        "blo 2f",
        "1:",
        "ldrd r5, r6, [r0]",
        "ldrd r7, r8, [r1], #8",
        "lsls r7, r7, #10",
        "lsl r8, r8, #10",
        "smmlar r7, r7, r3, r12",
        "smmlar r8, r8, r3, r12",
        move_towards!("r5", "r7"),
        move_towards!("r6", "r8"),
        "strd r5, r6, [r0], #8",
        "subs r2, r2, #2",
        "bhs 1b",
        "2:",
        "adds r2, r2, #2",
        "beq 3f",
        "ldr r5, [r0]",
        "ldr r7, [r1]",
        "lsls r7, r7, #10",
        "smmlar r7, r7, r3, r12",
        move_towards!("r5", "r7"),
        "str r5, [r0]",
        "3:",
        "pop {{r4-r8, pc}}",
    )
}

/// As [`remember`]. What begins anew for each value lies on the stack in the order of its registers.
///
/// # Safety
/// As its comment there says; `count`, the numbers of a key, is even and not 0, `end` is behind the last sum.
#[unsafe(naked)]
#[allow(clippy::too_many_arguments)]
unsafe extern "C" fn remember_all(
    means: *mut Q20,
    key: *const i32,
    query: *const Q20,
    values: *const i32,
    gain: i32,
    count: usize,
    sums: *mut i64,
    end: *const i64,
) {
    naked_asm!(
        cpu!(),
        "push {{r4-r11, lr}}",
        "ldrd r4, r5, [sp, #36]",
        "mov lr, r3",
        "movs r6, #0",
        "movs r7, #0",
        "mov r12, #1",
        "push {{r1, r2, r5, r6, r7}}",
        "1:",
        // r0: means; r1: key; r2: query; r3: value; r4: gain; r5: keys left; r6, r7: sum; r12: 1; lr: values.
        "ldm sp, {{r1, r2, r5, r6, r7}}",
        "ldr r3, [lr], #4",
        "2:",
        "ldrd r8, r9, [r0]",
        "ldrd r10, r11, [r1], #8",
        "smmlar r10, r10, r3, r12",
        "smmlar r11, r11, r3, r12",
        move_towards!("r8", "r10"),
        move_towards!("r9", "r11"),
        "ldrd r10, r11, [r2], #8",
        "strd r8, r9, [r0], #8",
        "smlal r6, r7, r8, r10",
        "smlal r6, r7, r9, r11",
        "subs r5, r5, #2",
        "bne 2b",
        "ldrd r8, r9, [sp, #64]",
        "strd r6, r7, [r8], #8",
        "str r8, [sp, #64]",
        "cmp r8, r9",
        "bne 1b",
        "add sp, sp, #20",
        "pop {{r4-r11, pc}}",
    )
}
