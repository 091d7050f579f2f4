//! What is in the firmware: no allocator, no formatting, no double precision, and every KiB of flash by its name.

use std::collections::BTreeMap;

use flowcast::emulate::image;
use flowcast::emulate::machine::MACHINES;
use flowcast::inspect::board::program_bytes;
use flowcast_core::format::Numeric;
use flowcast_core::presets::PRESETS;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind};

/// Bytes that need not belong to a symbol: literal pools between functions, padding, anonymous constants.
const UNNAMED: u64 = 4 * 1024;

/// Symbols that must not be linked, by a part of their name, mangled or not. Panics themselves are eight bytes each: they
/// call the handler, which looks at no message.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("allocator", &["__rust_alloc", "__rust_realloc", "__rdl_alloc", "malloc", "5alloc5alloc", "alloc::alloc"]),
    ("formatting", &["core::fmt", "4core3fmt", "Formatter"]),
    (
        "double precision",
        &[
            "__aeabi_d",
            "__adddf3",
            "__subdf3",
            "__muldf3",
            "__divdf3",
            "__extendsfdf2",
            "__truncdfsf2",
            "__fixdf",
            "__float",
        ],
    ),
];

/// Where a symbol's bytes are counted.
fn group(name: &str) -> &'static str {
    let groups = [
        ("flowcast_core::wire", "wire"),
        ("flowcast_core", "core"),
        ("flowcast_firmware", "application"),
        ("emulator::", "application"),
        ("main", "application"),
        ("postcard", "wire"),
        ("cobs", "wire"),
        ("serde", "wire"),
        ("crc", "CRC tables"),
        ("CRC", "CRC tables"),
        ("defmt", "log"),
        ("semihosting", "log"),
        ("libm", "mathematics"),
        ("compiler_builtins", "compiler's routines"),
        ("__aeabi", "compiler's routines"),
        ("mem", "compiler's routines"),
        ("heapless", "containers"),
        ("core::", "Rust's core library"),
        ("Reset", "start-up"),
        ("cortex_m", "start-up"),
        ("__", "start-up"),
        ("Hard", "start-up"),
        ("Default", "start-up"),
        (".Lanon", "constants"),
    ];
    groups.iter().find(|(part, _)| name.contains(part)).map_or("other", |(_, group)| group)
}

#[test]
fn no_image_holds_what_a_board_must_not_run_and_all_flash_is_named() {
    for (preset, numeric) in
        PRESETS.into_iter().flat_map(|preset| [Numeric::F32, Numeric::I8].map(|form| (preset, form)))
    {
        let path = image::build(&MACHINES[0], preset.name, numeric).expect("the firmware builds");
        let bytes = std::fs::read(&path).unwrap();
        let elf = object::File::parse(&*bytes).unwrap();

        let names: Vec<(String, u64)> = elf
            .symbols()
            .filter(|symbol| symbol.kind() != SymbolKind::File)
            .filter_map(|symbol| Some((format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?)), symbol.size())))
            .collect();
        assert!(names.iter().any(|(name, _)| name == "Reset"), "the image has its symbols");
        for (what, parts) in FORBIDDEN {
            let found: Vec<_> = names.iter().filter(|(name, _)| parts.iter().any(|part| name.contains(part))).collect();
            assert!(found.is_empty(), "{}: {what}: {found:?}", preset.name);
        }

        // What is loaded into flash: allocated sections with bytes in the file (data is copied from there).
        let mut flash = 0;
        let mut unnamed = 0;
        let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
        for section in elf.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            let allocated = sh_flags.0 & object::elf::SHF_ALLOC.0 != 0;
            if !allocated || section.file_range().is_none() || section.size() == 0 {
                continue;
            }
            flash += section.size();
            let mut named = 0;
            // Aliases share an address: each byte counts once, for the first of its names.
            let mut end = section.address();
            let mut symbols: Vec<_> = elf
                .symbols()
                .filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.size() > 0)
                .map(|symbol| (symbol.address() & !1, symbol.size(), symbol.name().unwrap_or_default()))
                .collect();
            symbols.sort_unstable();
            for (address, size, name) in symbols {
                let counted = (address + size).saturating_sub(end.max(address));
                end = end.max(address + size);
                named += counted;
                let name = format!("{:#}", rustc_demangle::demangle(name));
                *groups.entry(group(&name)).or_default() += counted;
            }
            match section.name().unwrap_or_default() {
                ".vector_table" => *groups.entry("vectors").or_default() += section.size() - named,
                // Anonymous: string literals and constant tables.
                ".rodata" => *groups.entry("constants").or_default() += section.size() - named,
                _ => unnamed += section.size() - named,
            }
        }
        *groups.entry("(padding and literal pools)").or_default() += unnamed;
        println!("{} {}: {flash} bytes of flash", preset.name, numeric.name());
        let mut sorted: Vec<_> = groups.iter().collect();
        sorted.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
        for (group, size) in sorted {
            println!("  {size:>7}  {group}");
        }
        assert_eq!(groups.values().sum::<u64>(), flash);
        let budget = program_bytes(numeric) as u64;
        assert!(flash <= budget, "{}: {flash} bytes of flash, at most {budget} expected", preset.name);
        let other = groups.get("other").copied().unwrap_or(0);
        assert!(unnamed + other <= UNNAMED, "{}: {} bytes of flash without a name", preset.name, unnamed + other);
    }
}

/// SMLAD as Thumb encodes it (Armv7-M Architecture Reference Manual, A7.7.136): 0xFB2n, then Ra that is not 15 and a zero
/// where other multiplications have none.
fn has_smlad(code: &[u8]) -> bool {
    let halfwords: Vec<u16> = code.chunks_exact(2).map(|half| u16::from_le_bytes([half[0], half[1]])).collect();
    halfwords.windows(2).any(|pair| pair[0] & 0xFFF0 == 0xFB20 && pair[1] & 0x00E0 == 0 && pair[1] >> 12 != 15)
}

#[test]
fn images_have_the_dsp_instructions_where_the_core_has_them() {
    for machine in MACHINES {
        let bytes = std::fs::read(image::build(&machine, "tiny", Numeric::I8).expect("the firmware builds")).unwrap();
        let elf = object::File::parse(&*bytes).unwrap();
        let kernel = elf.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains("pairs_of_rows")));
        let expected = ["Cortex-M4F", "Cortex-M7", "Cortex-M33"].contains(&machine.processor);
        assert_eq!(kernel.is_some(), expected, "{}", machine.name);
        let Some(kernel) = kernel else { continue };
        let text = elf.section_by_index(kernel.section_index().unwrap()).unwrap();
        // Naked functions have no size in the symbol table everywhere: the kernel is shorter than this.
        let start = ((kernel.address() & !1) - text.address()) as usize;
        let data = text.data().unwrap();
        assert!(has_smlad(&data[start..data.len().min(start + 256)]), "{}", machine.name);
    }
}

/// Floating point in software: the compiler's routines for `f32`, under both families of names.
const SOFT_FLOAT: [&str; 14] = [
    "__aeabi_f",
    "__aeabi_i2f",
    "__aeabi_ui2f",
    "__aeabi_l2f",
    "__aeabi_ul2f",
    "__addsf3",
    "__subsf3",
    "__mulsf3",
    "__divsf3",
    "__fixsf",
    "__fixunssf",
    "__floatsisf",
    "__gesf2",
    "__unordsf2",
];

#[test]
fn images_for_eight_bit_models_have_no_floating_point_in_software() {
    for machine in MACHINES {
        let bytes = std::fs::read(image::build(&machine, "tiny", Numeric::I8).expect("the firmware builds")).unwrap();
        let elf = object::File::parse(&*bytes).unwrap();
        let names = elf.symbols().filter_map(|symbol| symbol.name().ok());
        let found: Vec<_> = names.filter(|name| SOFT_FLOAT.iter().any(|part| name.contains(part))).collect();
        assert!(found.is_empty(), "{}: {found:?}", machine.name);
    }
}
