//! Follows a program from the outside: which instructions ran, and what the program's marks say that they belong to.
//!
//! The marks are `firmware/src/board/mark.rs`'s: a section of the ELF file that no board loads. QEMU logs each instruction's
//! address before it runs. Nothing in the program counts, so nothing is counted that the program would not do unwatched.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use super::cycles::{Core, Cycles, Step};
use super::thumb::{Instruction, Kind};

const SECTION: &str = ".flowcast_marks";

/// A program's code and marks.
#[derive(Debug)]
pub struct Program {
    /// Address and bytes of each section of code.
    code: Vec<(u32, Vec<u8>)>,
    /// What begins at an address: an index into `names`.
    marks: HashMap<u32, usize>,
    names: Vec<String>,
    /// Whose kernels are linked, as [`flowcast_core::kernel::NAME`] has it.
    pub kernel: &'static str,
}

/// Kernels by a function of theirs.
const KERNELS: [(&str, &str); 2] = [("dsp", "pairs_of_rows"), ("thumb", "pair_steps")];

/// What ran between one kind of mark and the next ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// How often it began.
    pub runs: u64,
    /// Instructions of all runs.
    pub instructions: u64,
    /// Cycles of all runs, by processor.
    pub cycles: Vec<Cycles>,
}

/// Counts while a program runs.
#[derive(Debug)]
pub struct Follower {
    program: Program,
    cores: &'static [Core],
    /// By name, as in `Program::names`.
    counts: Vec<Count>,
    /// What is running.
    current: Option<usize>,
    /// The instruction that was last begun, and where it was.
    last: Option<(u32, Fetched)>,
    after_access: bool,
    read: HashMap<u32, Fetched>,
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Fetched {
    instruction: Instruction,
    may_jump: bool,
}

impl Program {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// It is no ELF file, or has no marks.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let elf = object::File::parse(&*bytes).with_context(|| path.display().to_string())?;
        let mut code = Vec::new();
        for section in elf.sections().filter(|section| section.kind() == SectionKind::Text) {
            code.push((section.address() as u32, section.data()?.to_vec()));
        }
        let section = elf.section_by_name(SECTION);
        let section = section.with_context(|| format!("{} has no section {SECTION}", path.display()))?;
        let (mut marks, mut names) = (HashMap::new(), Vec::new());
        let mut rest = section.data()?;
        while let Some((address, named)) = rest.split_first_chunk::<4>() {
            let end = named.iter().position(|byte| *byte == 0).context("a mark's name has no end")?;
            let name = std::str::from_utf8(&named[..end])?.to_owned();
            let index = names.iter().position(|other| *other == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            marks.insert(u32::from_le_bytes(*address), index);
            rest = &named[end + 1..];
        }
        let has = |function: &str| elf.symbols().any(|symbol| symbol.name().is_ok_and(|name| name.contains(function)));
        let kernel = KERNELS.into_iter().find(|(_, function)| has(function)).map_or("portable", |(kernel, _)| kernel);
        Ok(Self { code, marks, names, kernel })
    }

    fn halfword(&self, address: u32) -> Option<u16> {
        let (start, bytes) =
            self.code.iter().find(|(start, bytes)| (*start..start + bytes.len() as u32).contains(&address))?;
        let index = (address - start) as usize;
        Some(u16::from_le_bytes(bytes.get(index..index + 2)?.try_into().ok()?))
    }
}

impl Follower {
    /// Before the first instruction.
    pub fn new(program: Program, cores: &'static [Core]) -> Self {
        let none = Count { cycles: vec![Cycles::default(); cores.len()], ..Count::default() };
        let counts = vec![none; program.names.len()];
        Self {
            program,
            cores,
            counts,
            current: None,
            last: None,
            after_access: false,
            read: HashMap::new(),
            broken: None,
        }
    }

    /// Takes a line of QEMU's log; false for one that tells of no instruction.
    pub fn line(&mut self, line: &[u8]) -> bool {
        let Some(address) = address(line) else { return false };
        if let Err(broken) = self.step(address) {
            self.broken.get_or_insert(broken);
        }
        true
    }

    /// An instruction begins at an address.
    fn step(&mut self, address: u32) -> Result<(), String> {
        // QEMU logs an instruction anew that it left before it ran, to look after its devices. (A branch to itself would
        // look the same, and counts nothing in a program that goes on.)
        if self.last.is_some_and(|(last, _)| last == address) {
            return Ok(());
        }
        // What is nobody's is not looked at: there QEMU may run whole blocks still.
        let current = self.current.filter(|current| !self.program.names[*current].is_empty());
        if let (Some((last, Fetched { instruction, may_jump })), Some(current)) = (self.last.take(), current) {
            let jumped = address != last + instruction.bytes;
            if jumped && !may_jump {
                return Err(format!(
                    "after {last:#010x} came {address:#010x}, expected {:#010x}",
                    last + instruction.bytes
                ));
            }
            let step = Step { instruction, jumped, after_access: self.after_access };
            self.after_access = matches!(instruction.kind, Kind::Load | Kind::Store);
            let count = &mut self.counts[current];
            count.instructions += 1;
            for (cycles, core) in count.cycles.iter_mut().zip(self.cores) {
                *cycles += core.cycles(step);
            }
        }
        if let Some(mark) = self.program.marks.get(&address) {
            // The head of a loop is come upon again and again.
            if self.current.replace(*mark) != Some(*mark) {
                self.counts[*mark].runs += 1;
            }
        }
        let fetched = match self.read.get(&address) {
            Some(fetched) => *fetched,
            None => {
                let first = self.program.halfword(address).ok_or(format!("no code at {address:#010x}"))?;
                let second = self.program.halfword(address + 2).unwrap_or(0);
                let instruction = Instruction::read(first, second);
                let fetched = Fetched { instruction, may_jump: instruction.may_jump(first, second) };
                self.read.insert(address, fetched);
                fetched
            }
        };
        self.last = Some((address, fetched));
        Ok(())
    }

    /// What ran, by name.
    ///
    /// # Errors
    /// The log has a hole: an instruction that no other leads to.
    pub fn finish(self) -> Result<Vec<(String, Count)>> {
        if let Some(broken) = self.broken {
            bail!("QEMU's log of instructions has a hole: {broken}");
        }
        Ok(self.program.names.into_iter().zip(self.counts).filter(|(name, _)| !name.is_empty()).collect())
    }
}

/// The address in a line as `Trace 0: 0x7f50bc000100 [00800408/00000400/00000110/ff020201] Reset`.
fn address(line: &[u8]) -> Option<u32> {
    let line = line.strip_prefix(b"Trace ")?;
    let field = line.split(|byte| *byte == b'[').nth(1)?.split(|byte| *byte == b'/').nth(1)?;
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower() -> Follower {
        // movs r0, #3; subs r0, #1 (marked); bne back; nop (marked: nobody's)
        let code: Vec<u8> = [0x2003_u16, 0x3801, 0xD1FD, 0xBF00].iter().flat_map(|code| code.to_le_bytes()).collect();
        let program = Program {
            code: vec![(0x100, code)],
            marks: HashMap::from([(0x102, 0), (0x106, 1)]),
            names: vec!["loop".into(), String::new()],
            kernel: "portable",
        };
        Follower::new(program, Core::of("Cortex-M0"))
    }

    fn run(follower: &mut Follower, addresses: &[u32]) {
        for address in addresses {
            let line = format!("Trace 0: 0x7f50bc000100 [00800408/{address:08x}/00000110/ff020201] main\n");
            assert!(follower.line(line.as_bytes()));
        }
    }

    #[test]
    fn what_runs_between_marks_is_counted() {
        let mut follower = follower();
        assert!(!follower.line(b"qemu-system-arm: warning: nic lan9118.0 has no peer\n"));
        run(&mut follower, &[0x100, 0x102, 0x104, 0x102, 0x104, 0x104, 0x106, 0x102]);
        let counts = follower.finish().unwrap();
        let [(name, count)] = &counts[..] else { panic!("{counts:?}") };
        // Two subtractions of 1; a branch that is taken, of 3 and 2, and one that is not.
        let cycles = [6, 5].map(|cycles| Cycles { low: cycles, high: cycles });
        assert_eq!((name.as_str(), count), ("loop", &Count { runs: 2, instructions: 4, cycles: cycles.to_vec() }));
    }

    #[test]
    fn a_hole_in_the_log_is_found() {
        let mut follower = follower();
        run(&mut follower, &[0x100, 0x104, 0x106, 0x102, 0x106]);
        let hole = follower.finish().unwrap_err().to_string();
        assert!(hole.ends_with(" after 0x00000102 came 0x00000106, expected 0x00000104"), "{hole}");
    }
}
