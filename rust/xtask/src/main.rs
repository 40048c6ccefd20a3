//! `cargo xtask unicode`: writes the tables of characters that the tokenizer engines cut by.
//!
//! The tables are read off the `tokenizers` crate, character by character, so that our engines and
//! the reference always mean the same Unicode. `cargo test -p xtask` compares the checked-in file.

mod probes;
mod ranges;

use std::path::Path;
use std::process::ExitCode;

/// The generated file, seen from the folder of this package.
const TABLES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fastft-core/src/tokenizer/unicode_tables.rs"
);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["unicode"] {
        return fail("usage: cargo xtask unicode");
    }
    let written = probes::tables(&probes::all_characters())
        .map_err(|error| error.to_string())
        .and_then(|tables| {
            std::fs::write(Path::new(TABLES), tables).map_err(|error| error.to_string())
        });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem),
    }
}

#[expect(clippy::print_stderr, reason = "a command speaks to its user")]
fn fail(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "takes a minute without optimisation; `make test-all` runs it"]
    fn the_checked_in_tables_are_those_of_the_crate() {
        let tables = probes::tables(&probes::all_characters()).map_err(|error| error.to_string());
        let checked_in = std::fs::read_to_string(TABLES).map_err(|error| error.to_string());
        assert_eq!(tables, checked_in);
    }

    #[test]
    fn a_sample_of_the_checked_in_tables_is_that_of_the_crate() -> Result<(), String> {
        let checked_in = std::fs::read_to_string(TABLES).map_err(|error| error.to_string())?;
        for table in probes::TABLES {
            let ranges = ranges::parse(&checked_in, table.name);
            for character in probes::all_characters().step_by(997) {
                let expected = (table.probe)(character).map_err(|error| error.to_string())?;
                let found = ranges::contain(&ranges, character);
                assert_eq!(found, expected, "{}: {character:?}", table.name);
            }
        }
        Ok(())
    }
}
