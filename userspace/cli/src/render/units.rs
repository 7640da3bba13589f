// SPDX-License-Identifier: GPL-2.0

//! Numbers with their units, as people read them.

use shadowmm_client::PAGE_SIZE;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes, in the unit that leaves one to four digits: "64 MiB", "1.5 GiB".
pub fn bytes(bytes: u64) -> String {
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    // Rounded to what is shown: tenths, or whole units from a hundred on.
    let mut tenths = (rest * 10 + 512) / 1024;
    if whole >= 100 {
        whole += rest / 512;
        tenths = 0;
    }
    whole += tenths / 10;
    tenths %= 10;
    if tenths == 0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{tenths} {}", UNITS[unit])
    }
}

/// Pages, as the bytes that they are.
pub fn pages(pages: u64) -> String {
    bytes(pages.saturating_mul(PAGE_SIZE))
}

/// An address, as the kernel prints them.
pub fn address(address: u64) -> String {
    format!("{address:#010x}")
}

/// A number with its thousands apart: "1,234,567".
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: "1 region", "4 regions".
pub fn plural(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(number))
}

/// A difference, with its sign.
pub fn signed(number: i64) -> String {
    if number == 0 {
        "0".to_owned()
    } else {
        format!("{number:+}")
    }
}

/// Thousandths, as Linux prints its indices: "0.250", "-1.000".
pub fn milli(thousandths: i64) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    let thousandths = thousandths.unsigned_abs();
    format!("{sign}{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// What `part` is of `whole`, in percent with two digits: "0.39 %".
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A time: "870 ns", "12.3 µs", "4.5 ms", "1.2 s".
pub fn duration(ns: u64) -> String {
    let (unit, name) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    format!("{}.{} {name}", ns / unit, ns % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_that_suits_them() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes((256 << 20) + (1 << 18)), "256 MiB");
        assert_eq!(bytes((256 << 20) + (1 << 19)), "257 MiB");
        assert_eq!(bytes((2 << 20) + (1 << 18)), "2.3 MiB");
        assert_eq!(bytes((2 << 20) - 1), "2 MiB");
        assert_eq!(bytes(u64::MAX), "16 EiB");
        assert_eq!(pages(u64::MAX), "16 EiB");
        assert_eq!(pages(256), "1 MiB");
    }

    #[test]
    fn numbers_are_written_as_people_and_the_kernel_do() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "node"), "1 node");
        assert_eq!(plural(1024, "page"), "1,024 pages");
        assert_eq!(address(0x9fc00), "0x0009fc00");
        assert_eq!(address(0x1_2345_6789), "0x123456789");
        assert_eq!(signed(-3), "-3");
        assert_eq!(signed(0), "0");
        assert_eq!(signed(3), "+3");
        assert_eq!(milli(-1000), "-1.000");
        assert_eq!(milli(-20), "-0.020");
        assert_eq!(milli(983), "0.983");
        assert_eq!(percent(39, 10_000), "0.39 %");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.00 %");
        assert_eq!(percent(1, 0), "-");
    }

    #[test]
    fn times_have_one_digit_after_the_point() {
        assert_eq!(duration(870), "870 ns");
        assert_eq!(duration(12_345), "12.3 µs");
        assert_eq!(duration(4_500_000), "4.5 ms");
        assert_eq!(duration(61_250_000_000), "61.2 s");
    }
}
