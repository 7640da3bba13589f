// SPDX-License-Identifier: GPL-2.0

//! Reading numbers and ranges out of text, without trusting it.
//!
//! A reader is a slice that moves forward; every step says `None` when the
//! text is not what was expected.

use crate::phys::PhysAddr;
use crate::slices;

/// The rest of a line.
#[derive(Clone, Copy)]
pub(super) struct Reader<'t>(pub &'t str);

impl Reader<'_> {
    /// Skips blanks.
    pub(super) fn blanks(&mut self) -> &mut Self {
        self.0 = self.0.trim_start();
        self
    }

    /// Goes past `word`.
    pub(super) fn word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    /// A number in decimal. `None` where there is none or it does not fit.
    pub(super) fn decimal(&mut self) -> Option<u64> {
        self.digits(10)
    }

    /// A number in hexadecimal, with or without 0x.
    pub(super) fn hex(&mut self) -> Option<u64> {
        let digits = self.0.strip_prefix("0x").unwrap_or(self.0);
        let before = core::mem::replace(&mut self.0, digits);
        let number = self.digits(16);
        if number.is_none() {
            self.0 = before;
        }
        number
    }

    fn digits(&mut self, radix: u32) -> Option<u64> {
        let mut rest = self.0.chars();
        let mut number = None;
        while let Some(digit) = rest.clone().next().and_then(|c| digit(c, radix)) {
            let before = number.unwrap_or(0_u64).checked_mul(radix.into())?;
            number = Some(before.checked_add(digit.into())?);
            rest.next();
        }
        self.0 = rest.as_str();
        number
    }

    /// `0x0-0x9fbff`, the last byte included, or `0 - 9fc00` with spaces, the
    /// end not included. Both ends as they are printed.
    pub(super) fn bounds(&mut self) -> Option<(u64, u64)> {
        let start = self.hex()?;
        self.blanks().word("-")?;
        let end = self.blanks().hex()?;
        Some((start, end))
    }

    /// `[mem 0x0-0x9fbff]` as a start and the byte behind the last one; an
    /// empty one is printed with its end one below its start.
    pub(super) fn mem(&mut self) -> Option<Option<(PhysAddr, PhysAddr)>> {
        self.word("[mem ")?;
        let (start, last) = self.bounds()?;
        self.word("]")?;
        if last.wrapping_add(1) == start {
            return Some(Some((PhysAddr(start), PhysAddr(start))));
        }
        if last < start {
            return None;
        }
        // The outer `Some`: it can be read. The inner `None`: it ends past the
        // address space.
        Some(
            last.checked_add(1)
                .map(|end| (PhysAddr(start), PhysAddr(end))),
        )
    }
}

/// What the digit is worth. [`char::to_digit`] panics on a base that it is not for.
fn digit(c: char, radix: u32) -> Option<u32> {
    let value = match c {
        '0'..='9' => u32::from(c) - u32::from('0'),
        'a'..='f' => u32::from(c) - u32::from('a') + 10,
        'A'..='F' => u32::from(c) - u32::from('A') + 10,
        _ => return None,
    };
    (value < radix).then_some(value)
}

/// How much of a coloured line is read. The longest line of a map, the list of
/// a node's CPUs, is one record of up to 1,024 bytes (`PRINTKRB_RECORD_MAX`);
/// the rest is for the time stamp.
pub(super) const COLOURED: usize = 1024 + 64;

/// A line without the escape sequences of a terminal (`dmesg --color`). Of one
/// that is too long, a last word that is not all there is left out.
pub(super) fn plain<'a>(line: &'a str, buffer: &'a mut [u8; COLOURED]) -> &'a str {
    if !line.contains('\x1b') {
        return line;
    }
    let mut len = 0;
    let mut cut = false;
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'\x1b' {
            // ESC [ parameters letter, or ESC and one more.
            if rest.next() == Some(b'[') {
                rest.by_ref().find(|b| (0x40..0x7f).contains(b));
            }
        } else if let Some(slot) = buffer.get_mut(len) {
            *slot = byte;
            len += 1;
        } else {
            cut = !byte.is_ascii_whitespace();
            break;
        }
    }
    let bytes = buffer.get(..len).unwrap_or(&[]);
    match core::str::from_utf8(bytes) {
        Ok(text) if cut => text.trim_end_matches(|c: char| !c.is_whitespace()),
        Ok(text) => text,
        // Cut inside a letter, which no map has.
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or(&[]);
            core::str::from_utf8(good).unwrap_or("")
        }
    }
}

/// What a log's line says, without what stands before the message: a level, a
/// time stamp, the date, host and `kernel:` of a journal, the fields of its
/// exports, the marks of a quotation.
pub(super) fn message(line: &str) -> &str {
    let mut text = line.trim_end_matches(|c: char| c.is_whitespace() || c == '\0');
    while let Some(after) = text.strip_prefix("> ").or_else(|| text.strip_prefix("< ")) {
        text = after;
    }
    if let Some(after) = json(text) {
        text = after;
    } else if let Some(after) = text.strip_prefix("MESSAGE=") {
        // journalctl -o export
        text = after;
    } else if let Some((_, after)) = slices::split_once(text, " kernel:") {
        text = after.strip_prefix(' ').unwrap_or(after);
    } else if let Some(after) = text.strip_prefix("kernel: ") {
        text = after;
    } else if let Some(after) = text.strip_prefix("kern ") {
        // dmesg -x: "kern  :info  : [    0.000000] ..."
        text = after
            .split_once(':')
            .and_then(|(_, behind)| behind.split_once(':'))
            .map_or(after, |(_, behind)| behind);
        text = text.trim_start();
    } else if let Some(after) = record(text).or_else(|| date(text)) {
        text = after;
    }
    loop {
        let rest = if text.starts_with('<') {
            text.split_once('>').filter(|(n, _)| n.len() <= 4)
        } else if text.starts_with('[') && !text.starts_with("[mem") {
            // [    0.000000], [    0.000000][    T0], [Fri Nov 20 16:50:11 2026]
            text.split_once(']').filter(|(n, _)| n.len() <= 40)
        } else {
            // A guest of Xen, before it has a console.
            text.strip_prefix("(early)").map(|after| ("", after))
        };
        let Some((_, after)) = rest else {
            return text;
        };
        text = after.strip_prefix(' ').unwrap_or(after);
    }
}

/// journalctl -o json: `{"PRIORITY":"6","MESSAGE":"BIOS-e820: ...",...}`, and
/// with a line for each key, as json-pretty and `dmesg -J` (`"msg"`) have it.
fn json(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let after = ["\"MESSAGE\"", "\"msg\""].into_iter().find_map(|key| {
        let whole = || slices::split_once(text, key).filter(|_| text.starts_with('{'));
        let after = || whole().map(|(_, after)| after);
        text.strip_prefix(key).or_else(after)
    })?;
    let after = after.trim_start_matches([' ', ':']);
    let after = after.strip_prefix('"').unwrap_or(after);
    Some(after.split_once('"').map_or(after, |(message, _)| message))
}

/// A record of /dev/kmsg: `6,2,0,-;BIOS-e820: ...`.
fn record(text: &str) -> Option<&str> {
    let (head, message) = text.split_once(';')?;
    let mut fields = slices::split(head, ',');
    let mut number = || fields.next()?.parse::<u64>().ok();
    number().and(number()).and(number())?;
    Some(message)
}

/// `dmesg --time-format iso`: `2026-11-20T16:50:11,000000+01:00 BIOS-e820: ...`.
fn date(text: &str) -> Option<&str> {
    let (stamp, message) = text.split_once(' ')?;
    let (day, time) = stamp.split_once('T')?;
    let digits = |t: &str| t.starts_with(|c: char| c.is_ascii_digit());
    (day.len() == 10 && digits(day) && digits(time)).then_some(message)
}
