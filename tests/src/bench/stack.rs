//! Turns the BPF object into the bytes of stack that its programs need, as the verifier counts them: the deepest chain of calls.
//!
//! The kernel tells this only in the log of a load that fails. Each function's frame is how far below `r10` it reaches, rounded up to
//! 16 bytes (kernel/bpf/verifier.c, `round_up_stack_depth`, JIT).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SymbolKind};

/// Most bytes that a chain of calls may need (`MAX_BPF_STACK` of include/linux/filter.h).
pub const STACK_MAX: u32 = 512;

/// A function of the object.
struct Function {
    frame: u32,
    calls: Vec<String>,
}

/// Where a function stands: section and offset.
type Place = (usize, u64);

/// Bytes of stack that each of these programs needs.
///
/// # Errors
/// The object is not what the build makes.
pub fn depths(elf: &[u8], programs: &[&str]) -> Result<Vec<u32>> {
    let functions = functions(elf)?;
    programs
        .iter()
        .map(|program| {
            anyhow::ensure!(functions.contains_key(*program), "the object holds no function {program}");
            Ok(depth(&functions, program))
        })
        .collect()
}

/// The verifier refuses recursion, so the chain ends.
fn depth(functions: &BTreeMap<String, Function>, name: &str) -> u32 {
    let Some(function) = functions.get(name) else { return 0 };
    function.frame + function.calls.iter().map(|callee| depth(functions, callee)).max().unwrap_or(0)
}

fn functions(elf: &[u8]) -> Result<BTreeMap<String, Function>> {
    let file = object::File::parse(elf).context("parse the BPF object")?;
    let mut names: BTreeMap<Place, (String, u64)> = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let section = symbol.section_index().context("a function in no section")?;
        names.insert((section.0, symbol.address()), (symbol.name()?.to_owned(), symbol.size()));
    }
    let mut functions = BTreeMap::new();
    for ((index, start), (name, size)) in &names {
        let section = file.section_by_index(SectionIndex(*index))?;
        let code =
            section.data()?.get(*start as usize..(start + size) as usize).context("a function outside its section")?;
        let mut calls = Vec::new();
        for (at, relocation) in section.relocations().filter(|(at, _)| (*start..start + size).contains(at)) {
            if let RelocationTarget::Symbol(target) = relocation.target()
                && code[(at - start) as usize] == CALL
            {
                calls.push(callee(&file, &names, target, &code[(at - start) as usize..])?);
            }
        }
        let relocated: Vec<u64> = section.relocations().map(|(at, _)| at).collect();
        for (number, instruction) in code.chunks_exact(INSTRUCTION).enumerate() {
            let at = start + (number * INSTRUCTION) as u64;
            if is_local_call(instruction) && !relocated.contains(&at) {
                let target = at.wrapping_add_signed((i64::from(immediate(instruction)) + 1) * INSTRUCTION as i64);
                calls.extend(names.get(&(*index, target)).map(|(name, _)| name.clone()));
            }
        }
        functions.insert(name.clone(), Function { frame: frame(code), calls });
    }
    Ok(functions)
}

/// Who a relocated call goes to: a function's symbol, or so many instructions into a section.
fn callee(
    file: &object::File<'_>,
    names: &BTreeMap<Place, (String, u64)>,
    target: object::SymbolIndex,
    instruction: &[u8],
) -> Result<String> {
    let symbol = file.symbol_by_index(target)?;
    if symbol.kind() == SymbolKind::Text {
        return Ok(symbol.name()?.to_owned());
    }
    let section = symbol.section_index().context("a call into no section")?;
    let offset = (i64::from(immediate(instruction)) + 1) * INSTRUCTION as i64;
    let (name, _) = names.get(&(section.0, offset as u64)).context("a call into the middle of a function")?;
    Ok(name.clone())
}

/// Bytes of an instruction (Linux Documentation/bpf/standardization/instruction-set.rst).
const INSTRUCTION: usize = 8;
const CALL: u8 = 0x85;
/// Source register of a call within the program.
const PSEUDO_CALL: u8 = 1;
/// `BPF_ALU64 | BPF_MOV | BPF_X` and `BPF_ALU64 | BPF_ADD | BPF_K`.
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const FRAME_POINTER: u8 = 10;

fn is_local_call(instruction: &[u8]) -> bool {
    instruction[0] == CALL && instruction[1] >> 4 == PSEUDO_CALL
}

fn immediate(instruction: &[u8]) -> i32 {
    i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]])
}

/// How far below the frame pointer a function reaches: by loads and stores, or by addresses that it makes.
fn frame(code: &[u8]) -> u32 {
    let mut deepest = 0;
    let mut copied = [false; 16];
    for instruction in code.chunks_exact(INSTRUCTION) {
        let (class, destination, source) = (instruction[0] & 0x07, instruction[1] & 0x0f, instruction[1] >> 4);
        let offset = i32::from(i16::from_le_bytes([instruction[2], instruction[3]]));
        let base = match class {
            0x01 => Some(source),
            0x02 | 0x03 => Some(destination),
            _ => None,
        };
        if base == Some(FRAME_POINTER) {
            deepest = deepest.min(offset);
        }
        if instruction[0] == ADD && copied[usize::from(destination)] {
            deepest = deepest.min(immediate(instruction));
        }
        copied[usize::from(destination)] = instruction[0] == MOVE && source == FRAME_POINTER;
    }
    deepest.unsigned_abs().next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_as_deep_as_what_is_stored_and_what_is_pointed_to() {
        let store = [0x7b, 0x1a, 0xf0, 0xff, 0, 0, 0, 0];
        let copy = [MOVE, 0xa2, 0, 0, 0, 0, 0, 0];
        let lower = [ADD, 0x02, 0, 0, 0xd8, 0xff, 0xff, 0xff];
        assert_eq!(frame(&store), 16);
        assert_eq!(frame(&[store, copy, lower].concat()), 48);
        assert_eq!(frame(&[store, lower].concat()), 16, "not an address of the stack");
    }

    #[test]
    fn every_program_of_the_object_fits_the_kernel_s_stack() -> Result<()> {
        let depths = depths(balancer_user::datapath::object(), &["balancer", "careful"])?;
        assert!(depths.iter().all(|depth| (1..=STACK_MAX).contains(depth)), "{depths:?}");
        Ok(())
    }
}
