//! Whether the kernels that this board runs are the portable ones, to the bit: on random numbers and on the edges of every
//! range, lengths that fill no step of theirs among them. It ends with success, or names the kernel and the case.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    panic!("built for the wrong target: the test `kernels` builds it for the boards'");
}

#[cfg(target_os = "none")]
use {defmt_semihosting as _, flowcast_firmware as _};

#[cfg(target_os = "none")]
mod cases {
    use flowcast_core::fixed::{Fixed, LARGEST, Shifts};
    use flowcast_core::kernel::{self, Halves, PAIR, portable};
    use flowcast_core::q20::Q20;

    /// The widest vector, and the most rows.
    const COLUMNS: usize = 132;
    const ROWS: usize = 7;
    const WORDS: usize = ROWS.next_multiple_of(PAIR) * COLUMNS / 4;
    /// Widths that fill whole passes of a kernel, parts of one, and half a step.
    const WIDTHS: [usize; 12] = [1, 4, 5, 8, 12, 16, 31, 32, 36, 64, 100, COLUMNS];
    /// Cases of each width.
    const CASES: usize = 12;

    /// Numbers of a small generator (Numerical Recipes) and, in some cases, edges alone.
    struct Random {
        seed: u32,
        edges: bool,
    }

    impl Random {
        fn word(&mut self) -> u32 {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.seed ^ self.seed >> 15
        }

        /// Of any size up to `bits` and a sign.
        fn number(&mut self, bits: u32) -> i32 {
            let word = self.word() as i32;
            let most = i32::MAX >> (31 - bits);
            match (self.edges, word & 3) {
                (true, 0) => most,
                (true, 1) => -most,
                (true, 2) => -most - 1,
                (true, _) => 0,
                (false, _) => word >> (31 - bits) >> (self.word() % bits),
            }
        }

        fn weights(&mut self) -> u32 {
            let word = self.word();
            if self.edges { [0x8080_8080, 0x7F7F_7F7F, 0x0000_0000, 0xFF00_80FF][word as usize & 3] } else { word }
        }

        fn numbers<const N: usize>(&mut self, bits: u32) -> [Q20; N] {
            core::array::from_fn(|_| Q20::from_raw(self.number(bits)))
        }
    }

    /// Runs them all; the first kernel that is not the portable one, and the case.
    pub fn run() -> Result<(), (&'static str, usize)> {
        let mut random = Random { seed: 1, edges: false };
        for case in 0..WIDTHS.len() * CASES {
            random.edges = case % 4 == 3;
            let width = WIDTHS[case / CASES];
            let check = |kernel, same: bool| if same { Ok(()) } else { Err((kernel, case)) };
            check("shorten", shortens(&mut random, width))?;
            check("product", multiplies(&mut random, width))?;
            check("row", sums(&mut random, width))?;
            check("approach", approaches(&mut random, width))?;
            check("remember", remembers(&mut random))?;
        }
        Ok(())
    }

    fn shifts(random: &mut Random) -> Shifts {
        let least = 2 + random.word() % 8;
        Shifts { least, most: least + random.word() % 9 }
    }

    fn shortens(random: &mut Random, width: usize) -> bool {
        let (x, shifts) = (random.numbers::<COLUMNS>(31), shifts(random));
        let (mut found, mut expected) = (Halves([3; COLUMNS]), Halves([3; COLUMNS]));
        let [found_says, expected_says] =
            [kernel::shorten(&x[..width], &mut found, shifts), portable::shorten(&x[..width], &mut expected, shifts)];
        found_says == expected_says && found == expected
    }

    /// Whole layers of every count of rows, from a bias and in place.
    fn multiplies(random: &mut Random, width: usize) -> bool {
        let weights: [u32; WORDS] = core::array::from_fn(|_| random.weights());
        let mut fixed = Fixed::<COLUMNS>::ZERO;
        fixed.set(&random.numbers::<COLUMNS>(31)[..width], shifts(random));
        let x = fixed.view(width);
        let multipliers: [i32; ROWS] = core::array::from_fn(|_| random.number(31) & i32::MAX);
        let bias: [i32; ROWS] = core::array::from_fn(|_| random.number(31));
        let begin = random.numbers::<ROWS>(31);
        let up = random.word() % 9;
        (0..=ROWS).all(|rows| {
            [None, Some(&bias[..])].into_iter().all(|from| {
                let (mut found, mut expected) = (begin, begin);
                kernel::product(&weights, &multipliers, x, up, from, &mut found[..rows]);
                // A row without another is the first of a pair.
                let pairs = rows.next_multiple_of(PAIR);
                let (mut many, mut both) = ([0; ROWS + 1], [Q20::from_raw(0); ROWS + 1]);
                let (mut bias, mut last) = ([0; ROWS + 1], [Q20::from_raw(0); ROWS + 1]);
                many[..rows].copy_from_slice(&multipliers[..rows]);
                both[..rows].copy_from_slice(&begin[..rows]);
                if let Some(from) = from {
                    bias[..rows].copy_from_slice(&from[..rows]);
                }
                last[..pairs].copy_from_slice(&both[..pairs]);
                portable::pairs(&weights, &many, x, up, from.map(|_| &bias[..]), &mut last[..pairs]);
                expected[..rows].copy_from_slice(&last[..rows]);
                found == expected
            })
        })
    }

    fn sums(random: &mut Random, width: usize) -> bool {
        let words = width.div_ceil(4);
        let weights: [u32; COLUMNS / 4] = core::array::from_fn(|_| random.weights());
        let x: [u32; COLUMNS / 2] = core::array::from_fn(|_| {
            let [low, high] = [random.number(14), random.number(14)].map(|x| x.clamp(-LARGEST, LARGEST) as u16);
            u32::from(low) | u32::from(high) << 16
        });
        let (weights, x) = (&weights[..words], &x[..2 * words]);
        kernel::row(weights, x) == portable::row(weights, x)
    }

    /// Within ±256, as means and what they take are.
    fn parts<const N: usize>(random: &mut Random) -> [Q20; N] {
        random.numbers(28).map(|part: Q20| Q20::from_raw(part.raw().max(1 - (1 << 28))))
    }

    /// Moved up by 10 bits.
    fn gain(random: &mut Random) -> i32 {
        random.number(30) & i32::MAX
    }

    fn approaches(random: &mut Random, width: usize) -> bool {
        let (begin, x) = (parts::<COLUMNS>(random), random.numbers::<COLUMNS>(20));
        let ([scale], gain) = (parts::<1>(random), gain(random));
        let (mut found, mut expected) = (begin, begin);
        kernel::approach(&mut found[..width], &x, scale.raw() << 2, gain);
        portable::approach(&mut expected[..width], &x, scale.raw() << 2, gain);
        found == expected
    }

    fn remembers(random: &mut Random) -> bool {
        let begin: [[Q20; 8]; 8] = core::array::from_fn(|_| parts(random));
        let (key, values) = (random.numbers::<8>(20), parts::<8>(random));
        let (key, values) = (key.map(|key| key.raw() << 10), values.map(|value| value.raw() << 2));
        let (gain, query) = (gain(random), random.numbers(20));
        let (mut found, mut expected) = (begin, begin);
        let received = kernel::remember(&mut found, &key, &values, gain, &query);
        received == portable::remember(&mut expected, &key, &values, gain, &query) && found == expected
    }
}

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    match cases::run() {
        Ok(()) => semihosting::process::exit(0),
        Err((kernel, case)) => {
            defmt::error!("kernel `{}` is not the portable one: case {}", kernel, case);
            semihosting::process::exit(1)
        }
    }
}
