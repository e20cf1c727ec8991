//! A program that runs in an image with nothing beside it.

use std::fs;
use std::path::{Path, PathBuf};

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::document::Machine;
use crate::error::ImageError;

/// A static program for Linux.
#[derive(Debug)]
pub struct Executable {
    machine: Machine,
    content: Vec<u8>,
}

impl Executable {
    /// Reads a program.
    ///
    /// # Errors
    /// When it cannot be read, is no program for a machine that images are made for, or asks for a loader: an image
    /// has none, so it would not even start.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let content = fs::read(path).map_err(ImageError::file(path))?;
        let machine = machine(&content)
            .map_err(|why| ImageError::Program { path: PathBuf::from(path), why: why.to_owned() })?;
        Ok(Self { machine, content })
    }

    /// The kind of machine that it runs on.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }
}

fn machine(content: &[u8]) -> Result<Machine, &'static str> {
    const NO_PROGRAM: &str = "this is no program for Linux with 64 bits (ELF)";
    let header = FileHeader64::<object::Endianness>::parse(content).map_err(|_| NO_PROGRAM)?;
    let endian = header.endian().map_err(|_| NO_PROGRAM)?;
    let segments = header.program_headers(endian, content).map_err(|_| NO_PROGRAM)?;
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Err(
            "this program is linked dynamically, and the image has no loader: build it for a musl target",
        );
    }
    match header.e_machine(endian) {
        EM_X86_64 => Ok(Machine::Amd64),
        EM_AARCH64 => Ok(Machine::Arm64),
        _ => Err("images are made for x86_64 and aarch64 alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a program with one segment of a type.
    fn program(machine: u16, segment: u32) -> Vec<u8> {
        let mut elf = vec![0u8; 64 + 56];
        elf[..8].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]);
        elf[16..18].copy_from_slice(&2u16.to_le_bytes());
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        elf[20..24].copy_from_slice(&1u32.to_le_bytes());
        elf[32..40].copy_from_slice(&64u64.to_le_bytes());
        for (at, value) in [(52, 64u16), (54, 56), (56, 1), (58, 64)] {
            elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        elf[64..68].copy_from_slice(&segment.to_le_bytes());
        elf
    }

    const PT_LOAD: u32 = object::elf::PT_LOAD;

    #[test]
    fn the_kind_of_machine_is_what_the_program_says() {
        assert_eq!(machine(&program(EM_X86_64, PT_LOAD)), Ok(Machine::Amd64));
        assert_eq!(machine(&program(EM_AARCH64, PT_LOAD)), Ok(Machine::Arm64));
    }

    #[test]
    fn what_would_not_start_in_an_image_is_refused() {
        let riscv = program(object::elf::EM_RISCV, PT_LOAD);
        assert!(machine(&riscv).unwrap_err().contains("x86_64 and aarch64"));
        assert!(machine(&program(EM_X86_64, PT_INTERP)).unwrap_err().contains("musl"));
        for text in [b"".as_slice(), b"#!/bin/sh\n", &riscv[..40]] {
            assert!(machine(text).unwrap_err().contains("ELF"));
        }
        // That of this test is what `cargo build` makes here.
        let built = Executable::read(&std::env::current_exe().unwrap());
        assert!(built.unwrap_err().to_string().contains("linked dynamically"));
    }
}
