// SPDX-License-Identifier: GPL-2.0

//! Flags by their names, of whatever kind they are.

/// The bits of names joined by `|`, commas or white space. `named` knows the
/// bits of a name, `all` lists the names for who names another. A number in a
/// name's place goes through as it is, for the module to judge.
pub fn parse<'a, N: Iterator<Item = &'a str>>(
    text: &str,
    named: impl Fn(&str) -> Option<u32>,
    all: impl Fn() -> N,
) -> Result<u32, String> {
    let mut bits = 0;
    let mut words = text
        .split(|c: char| c == '|' || c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .peekable();
    if words.peek().is_none() {
        return Err("no flag is named".to_owned());
    }
    for word in words {
        let number = word
            .strip_prefix("0x")
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        bits |= named(word).or(number).ok_or_else(|| {
            let names: Vec<&str> = all().collect();
            format!("there is no flag {word:?}; there are {}", names.join(", "))
        })?;
    }
    Ok(bits)
}
