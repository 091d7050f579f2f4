//! What kind of instruction a Thumb encoding is: as much of it as cycle tables tell apart.
//!
//! By the Armv7-M Architecture Reference Manual (DDI 0403E), A5.2 (16 bits), A5.3 (32 bits) and A6.4 (floating point);
//! Armv6-M's and Armv8-M's encodings of what compilers emit are among them.

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes: 2 or 4.
    pub bytes: u32,
    /// What it does.
    pub kind: Kind,
}

/// What an instruction does, as far as it matters to its cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything in the processor's registers that is none of the others.
    Plain,
    /// 32-bit product, with a sum or without.
    Multiply {
        /// MLA, MLS.
        sum: bool,
    },
    /// 64-bit product, with a sum or without.
    Long {
        /// SMLAL, UMLAL.
        sum: bool,
    },
    /// SDIV, UDIV.
    Divide,
    /// One register.
    Load,
    /// One register.
    Store,
    /// So many registers; the program counter may be one.
    LoadMany(u32),
    /// So many registers.
    StoreMany(u32),
    /// B, CBZ, BX, a write of the program counter; taken or not.
    Branch,
    /// BL or BLX.
    Call,
    /// TBB or TBH.
    Table,
    /// IT.
    Condition,
    /// MRS, MSR, barriers.
    System,
    /// Sum, product, conversion, comparison of floating-point numbers.
    Float,
    /// VMLA, VFMA and their like.
    FloatSum,
    /// VDIV, VSQRT.
    FloatDivide,
    /// A register between the two files.
    FloatMove,
    /// Two of them.
    FloatMovePair,
}

impl Instruction {
    /// Reads the one that starts with these halfwords; the second is not looked at where the first is an instruction.
    pub fn read(first: u16, second: u16) -> Self {
        match first >> 11 {
            0b11101..=0b11111 => Self { bytes: 4, kind: wide(first, second) },
            _ => Self { bytes: 2, kind: narrow(first) },
        }
    }

    /// Whether something else than the next instruction may follow.
    pub fn may_jump(self, first: u16, second: u16) -> bool {
        match self.kind {
            Kind::Branch | Kind::Call | Kind::Table => true,
            // POP; LDM with the program counter in its list.
            Kind::LoadMany(_) if self.bytes == 2 => first >> 8 == 0xBD,
            Kind::LoadMany(_) => first & 0xFE40 == 0xE800 && second >> 15 == 1,
            // LDR of the program counter.
            Kind::Load => first >> 8 == 0xF8 && second >> 12 == 15,
            _ => false,
        }
    }
}

const fn narrow(code: u16) -> Kind {
    match code >> 12 {
        0b0100 => match code >> 10 {
            0b01_0000 if code >> 6 & 15 == 0b1101 => Kind::Multiply { sum: false },
            0b01_0000 => Kind::Plain,
            0b01_0001 => match (code >> 8 & 3, code >> 4 & 8 | code & 7) {
                (0b11, _) if code & 0x80 != 0 => Kind::Call,
                (0b11, _) | (0b00 | 0b10, 15) => Kind::Branch,
                _ => Kind::Plain,
            },
            _ => Kind::Load, // literal
        },
        0b0101 => {
            if code >> 9 & 7 < 3 {
                Kind::Store
            } else {
                Kind::Load
            }
        }
        0b0110..=0b1001 => {
            if code >> 11 & 1 == 0 {
                Kind::Store
            } else {
                Kind::Load
            }
        }
        0b1011 => match code >> 8 & 15 {
            0b0100 | 0b0101 => Kind::StoreMany((code & 0x1FF).count_ones()),
            0b1100 | 0b1101 => Kind::LoadMany((code & 0x1FF).count_ones()),
            0b0001 | 0b0011 | 0b1001 | 0b1011 => Kind::Branch,
            0b1111 if code & 15 != 0 => Kind::Condition,
            _ => Kind::Plain,
        },
        0b1100 if code >> 11 & 1 == 0 => Kind::StoreMany((code & 0xFF).count_ones()),
        0b1100 => Kind::LoadMany((code & 0xFF).count_ones()),
        0b1101 if code >> 9 & 7 == 0b111 => Kind::Plain, // UDF, SVC
        0b1101 | 0b1110 => Kind::Branch,
        _ => Kind::Plain,
    }
}

const fn wide(first: u16, second: u16) -> Kind {
    // Coprocessors 10 and 11 are the floating-point unit; 0xFC to 0xFF are Armv8-M's selects and roundings.
    if first & 0xFC00 == 0xEC00 && second >> 9 & 7 == 0b101 {
        return float(first, second);
    }
    let operation = first >> 4 & 0x7F;
    match (first >> 11 & 3, operation) {
        (0b01, operation) if operation & 0b110_0100 == 0 => {
            let registers = second.count_ones();
            if operation & 1 == 0 { Kind::StoreMany(registers) } else { Kind::LoadMany(registers) }
        }
        (0b01, operation) if operation & 0b110_0100 == 0b000_0100 => match (operation & 0b001_0010, operation & 1) {
            // Neither indexed nor written back: exclusive, or TBB and TBH.
            (0, 1) if second & 0xFFE0 == 0xF000 => Kind::Table,
            (0, 0) => Kind::Store,
            (0, _) => Kind::Load,
            (_, 0) => Kind::StoreMany(2),
            _ => Kind::LoadMany(2),
        },
        (0b10, _) if second >> 15 == 1 => match (second >> 12 & 0b101, first >> 7 & 7) {
            (0b101, _) => Kind::Call,
            (0b001, _) => Kind::Branch,
            (0b000, 0b111) => Kind::System,
            (0b000, _) => Kind::Branch,
            _ => Kind::System,
        },
        (0b11, operation) if operation & 0b111_0001 == 0 => Kind::Store,
        (0b11, operation) if operation & 0b110_0001 == 1 => Kind::Load,
        // Among the products, a sum has a register where others have none.
        (0b11, operation) if operation & 0b111_1000 == 0b011_0000 => Kind::Multiply { sum: second >> 12 != 15 },
        (0b11, operation) if operation & 0b111_1000 == 0b011_1000 => match operation & 7 {
            0b001 | 0b011 => Kind::Divide,
            0b000 | 0b010 => Kind::Long { sum: false },
            _ => Kind::Long { sum: true },
        },
        _ => Kind::Plain,
    }
}

const fn float(first: u16, second: u16) -> Kind {
    let load = first >> 4 & 1 == 1;
    if first & 0xFFE0 == 0xEC40 {
        return Kind::FloatMovePair;
    }
    if first & 0xFE00 == 0xEC00 {
        let double = second >> 8 & 1 == 1;
        // Indexed and not written back: one register, else so many words.
        let words = match (first >> 5 & 1 == 0 && first >> 8 & 1 == 1, double) {
            (true, false) => return if load { Kind::Load } else { Kind::Store },
            (true, true) => 2,
            (false, _) => second as u32 & 0xFF,
        };
        return if load { Kind::LoadMany(words) } else { Kind::StoreMany(words) };
    }
    if second >> 4 & 1 == 1 {
        return Kind::FloatMove;
    }
    match (first >> 4 & 0b1011, first & 15, second >> 6 & 3) {
        (0b0000 | 0b0001 | 0b1001 | 0b1010, ..) => Kind::FloatSum,
        (0b1000, ..) | (0b1011, 1, 0b11) => Kind::FloatDivide,
        _ => Kind::Float,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_branches_and_loads_of_the_program_counter_jump() {
        for ([first, second], jumps) in [
            ([0xBDF0, 0], true),       // pop {r4-r7, pc}
            ([0xBCF0, 0], false),      // pop {r4-r7}
            ([0xE8BD, 0x8FF0], true),  // pop.w {r4-r11, pc}
            ([0xE8B1, 0x10C8], false), // ldm.w r1!, {r3, r6, r7, r12}
            ([0xE9D2, 0xCE00], false), // ldrd r12, lr, [r2]
            ([0xECBD, 0x8B10], false), // vpop {d8-d15}
            ([0xF8DF, 0xF004], true),  // ldr.w pc, [pc, #4]
            ([0xED9F, 0xFAF9], false), // vldr s30, [pc, #996]
            ([0x4687, 0], true),       // mov pc, r0
            ([0xDE00, 0], false),      // udf
        ] {
            assert_eq!(Instruction::read(first, second).may_jump(first, second), jumps, "{first:04x} {second:04x}");
        }
    }

    /// Encodings as an assembler gives them.
    #[test]
    fn instructions_are_what_the_assembler_says() {
        for (codes, bytes, kind) in [
            ([0x4348, 0], 2, Kind::Multiply { sum: false }),      // muls r0, r1, r0
            ([0x1840, 0], 2, Kind::Plain),                        // adds r0, r0, r1
            ([0x6801, 0], 2, Kind::Load),                         // ldr r1, [r0]
            ([0x5C41, 0], 2, Kind::Load),                         // ldrb r1, [r0, r1]
            ([0x5441, 0], 2, Kind::Store),                        // strb r1, [r0, r1]
            ([0x9001, 0], 2, Kind::Store),                        // str r0, [sp, #4]
            ([0x4801, 0], 2, Kind::Load),                         // ldr r0, [pc, #4]
            ([0xB5F0, 0], 2, Kind::StoreMany(5)),                 // push {r4-r7, lr}
            ([0xBDF0, 0], 2, Kind::LoadMany(5)),                  // pop {r4-r7, pc}
            ([0xC90C, 0], 2, Kind::LoadMany(2)),                  // ldm r1!, {r2, r3}
            ([0x4770, 0], 2, Kind::Branch),                       // bx lr
            ([0x4788, 0], 2, Kind::Call),                         // blx r1
            ([0x4687, 0], 2, Kind::Branch),                       // mov pc, r0
            ([0xD1FE, 0], 2, Kind::Branch),                       // bne .
            ([0xE7FE, 0], 2, Kind::Branch),                       // b .
            ([0xB100, 0], 2, Kind::Branch),                       // cbz r0, .+4
            ([0xBF08, 0], 2, Kind::Condition),                    // it eq
            ([0xBF00, 0], 2, Kind::Plain),                        // nop
            ([0xF000, 0xF800], 4, Kind::Call),                    // bl .+4
            ([0xF7FF, 0xBFFE], 4, Kind::Branch),                  // b.w .
            ([0xF47F, 0xAFFE], 4, Kind::Branch),                  // bne.w .
            ([0xF3EF, 0x8010], 4, Kind::System),                  // mrs r0, primask
            ([0xF3BF, 0x8F4F], 4, Kind::System),                  // dsb
            ([0xE8D0, 0xF001], 4, Kind::Table),                   // tbb [r0, r1]
            ([0xE9D0, 0x1202], 4, Kind::LoadMany(2)),             // ldrd r1, r2, [r0, #8]
            ([0xE8F0, 0x4502], 4, Kind::LoadMany(2)),             // ldrd r4, r5, [r0], #8
            ([0xE850, 0x1F00], 4, Kind::Load),                    // ldrex r1, [r0]
            ([0xE8B1, 0x10C8], 4, Kind::LoadMany(4)),             // ldm.w r1!, {r3, r6, r7, r12}
            ([0xE92D, 0x4FF0], 4, Kind::StoreMany(9)),            // push.w {r4-r11, lr}
            ([0xF8D0, 0x1004], 4, Kind::Load),                    // ldr.w r1, [r0, #4]
            ([0xF840, 0x1B04], 4, Kind::Store),                   // str r1, [r0], #4
            ([0xFB00, 0xF101], 4, Kind::Multiply { sum: false }), // mul r1, r0, r1
            ([0xFB00, 0x2101], 4, Kind::Multiply { sum: true }),  // mla r1, r0, r1, r2
            ([0xFB2E, 0x8804], 4, Kind::Multiply { sum: true }),  // smlad r8, lr, r4, r8
            ([0xFA2F, 0xFE83], 4, Kind::Plain),                   // sxtb16 lr, r3
            ([0xFB80, 0x2301], 4, Kind::Long { sum: false }),     // smull r2, r3, r0, r1
            ([0xFBC0, 0x2301], 4, Kind::Long { sum: true }),      // smlal r2, r3, r0, r1
            ([0xFB90, 0xF1F1], 4, Kind::Divide),                  // sdiv r1, r0, r1
            ([0xEB00, 0x0181], 4, Kind::Plain),                   // add.w r1, r0, r1, lsl #2
            ([0xF240, 0x1000], 4, Kind::Plain),                   // movw r0, #256
            ([0xEE30, 0x0A20], 4, Kind::Float),                   // vadd.f32 s0, s0, s1
            ([0xEE20, 0x0A20], 4, Kind::Float),                   // vmul.f32 s0, s0, s1
            ([0xEE00, 0x0A20], 4, Kind::FloatSum),                // vmla.f32 s0, s0, s1
            ([0xEEA0, 0x0A20], 4, Kind::FloatSum),                // vfma.f32 s0, s0, s1
            ([0xEE80, 0x0A20], 4, Kind::FloatDivide),             // vdiv.f32 s0, s0, s1
            ([0xEEB1, 0x0AE0], 4, Kind::FloatDivide),             // vsqrt.f32 s0, s1
            ([0xEEF8, 0x0AC0], 4, Kind::Float),                   // vcvt.f32.s32 s1, s0
            ([0xEEB0, 0x0A60], 4, Kind::Float),                   // vmov.f32 s0, s1
            ([0xEE00, 0x0A10], 4, Kind::FloatMove),               // vmov s0, r0
            ([0xEEF1, 0xFA10], 4, Kind::FloatMove),               // vmrs APSR_nzcv, fpscr
            ([0xEC41, 0x0B10], 4, Kind::FloatMovePair),           // vmov d0, r0, r1
            ([0xED90, 0x0A01], 4, Kind::Load),                    // vldr s0, [r0, #4]
            ([0xED90, 0x0B01], 4, Kind::LoadMany(2)),             // vldr d0, [r0, #4]
            ([0xECB0, 0x0A04], 4, Kind::LoadMany(4)),             // vldmia r0!, {s0-s3}
            ([0xED2D, 0x8B10], 4, Kind::StoreMany(16)),           // vpush {d8-d15}
        ] {
            let [first, second] = codes;
            assert_eq!(Instruction::read(first, second), Instruction { bytes, kind }, "{first:04x} {second:04x}");
        }
    }
}
