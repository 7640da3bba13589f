// SPDX-License-Identifier: GPL-2.0

//! Proportions of 64-bit numbers, for a kernel without 128-bit division.

/// `a * b / c` rounded down, without a wider type; saturates, and is 0 for
/// `c` of 0.
pub(super) fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    mul_div_rem(a, b, c).0
}

/// The same, rounded to the nearest.
pub(super) fn mul_div_round(a: u64, b: u64, c: u64) -> u64 {
    let (quotient, rest) = mul_div_rem(a, b, c);
    quotient.saturating_add(u64::from(rest >= c - rest && c != 0))
}

/// Long multiplication and division at once, bit by bit of `a`: the kernel
/// has no 128-bit division.
fn mul_div_rem(a: u64, b: u64, c: u64) -> (u64, u64) {
    if c == 0 {
        return (0, 0);
    }
    // x + y modulo c, for x, y < c, and the carry, where the sum may not fit.
    let add = |x: u64, y: u64| {
        if x >= c - y {
            (x - (c - y), 1)
        } else {
            (x + y, 0)
        }
    };
    let (whole, part) = (b / c, b % c);
    let (mut quotient, mut rest) = (0u64, 0u64);
    for bit in (0..u64::BITS).rev() {
        let (twice, carry) = add(rest, rest);
        quotient = quotient.saturating_mul(2).saturating_add(carry);
        rest = twice;
        if (a >> bit) & 1 != 0 {
            let (sum, carry) = add(rest, part);
            quotient = quotient.saturating_add(whole).saturating_add(carry);
            rest = sum;
        }
    }
    (quotient, rest)
}
