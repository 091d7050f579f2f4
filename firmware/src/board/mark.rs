//! Marks: names for places in a program, for whoever follows it from outside.
//!
//! A mark is no instruction. It is an entry in a section of the ELF file that no board loads: the address of what comes
//! next, four bytes, then a name and a zero. The compiler takes it for something that may read and write memory, and so
//! leaves work on its side of it.

/// What follows has this name, until the next mark that is run through; an empty name is nobody's.
#[macro_export]
macro_rules! mark {
    ($name:expr) => {{
        #[allow(unsafe_code)]
        // SAFETY: nothing is run; what is written goes to a section that is not loaded.
        unsafe {
            core::arch::asm!(
                "2:",
                ".pushsection .flowcast_marks, \"\", %progbits",
                ".4byte 2b",
                concat!(".asciz \"", $name, "\""),
                ".popsection",
                options(nostack, preserves_flags)
            );
        }
    }};
}
