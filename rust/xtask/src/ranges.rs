//! Sets of characters as ranges, written and read as Rust text.

use std::fmt::Write as _;

/// Both ends belong to the range.
pub(crate) type Range = (u32, u32);

/// Adjoining characters become one range. The characters come in ascending order.
pub(crate) fn collect(characters: impl IntoIterator<Item = char>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for character in characters {
        let code = u32::from(character);
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == code => *end = code,
            _ => ranges.push((code, code)),
        }
    }
    ranges
}

/// One table as Rust text.
pub(crate) fn format(name: &str, meaning: &str, ranges: &[Range]) -> String {
    let mut text = format!("\n/// {meaning}\npub(super) static {name}: &[(u32, u32)] = &[\n");
    for (start, end) in ranges {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "    ({start:#x}, {end:#x}),");
    }
    text.push_str("];\n");
    text
}

/// The ranges of the table `name` in a generated file.
#[cfg(test)]
pub(crate) fn parse(text: &str, name: &str) -> Vec<Range> {
    let number = |text: &str| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    let lines = text.lines();
    let table = lines.skip_while(|line| !line.contains(&format!("static {name}:")));
    let rows = table.skip(1).take_while(|line| *line != "];");
    rows.filter_map(|row| {
        let (start, end) = row
            .trim()
            .strip_prefix('(')?
            .strip_suffix("),")?
            .split_once(',')?;
        Some((number(start)?, number(end)?))
    })
    .collect()
}

/// Whether a character lies in one of the ranges.
#[cfg(test)]
pub(crate) fn contain(ranges: &[Range], character: char) -> bool {
    let code = u32::from(character);
    ranges
        .iter()
        .any(|&(start, end)| (start..=end).contains(&code))
}
