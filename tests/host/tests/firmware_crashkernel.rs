// SPDX-License-Identifier: GPL-2.0

//! firmware/: crashkernel=, as parse_crashkernel() reads it.

use proptest::prelude::*;
use shadowmm_core::error::Error;
use shadowmm_core::firmware::*;
use shadowmm_core::phys::*;

const MIB: u64 = 1 << 20;
const RAM: Bytes = Bytes(4096 * MIB);

fn size(text: &str, ram: u64) -> Result<Option<u64>, Error> {
    let wanted = parse_crashkernel(text, Bytes(ram * MIB))?;
    Ok(wanted.map(|c| c.size.0 / MIB))
}

#[test]
fn numbers_with_suffixes() {
    assert_eq!(memparse("64M@"), Some((64 * MIB, "@")));
    assert_eq!(memparse("0x10k,"), Some((0x10 << 10, ",")));
    assert_eq!(memparse("010"), Some((8, "")));
    assert_eq!(memparse("09"), Some((0, "9")));
    assert_eq!(memparse("0x"), Some((0, "x")));
    assert_eq!(memparse("0xEE"), Some((0xee, "")));
    assert_eq!(memparse("1e"), Some((1 << 60, "")));
    assert_eq!(memparse("3T2"), Some((3 << 40, "2")));
    assert_eq!(memparse("2P"), Some((2 << 50, "")));
    assert_eq!(memparse("16E"), Some((u64::MAX, "")));
    assert_eq!(memparse("99999999999999999999"), Some((u64::MAX, "")));
    assert_eq!(memparse("0"), Some((0, "")));
    assert_eq!(memparse("M"), None);
    assert_eq!(memparse(""), None);
    assert_eq!(memparse("-1"), None);
    assert_eq!(memparse("1é"), Some((1, "é")));
}

#[test]
fn simple_values() {
    let c = parse_crashkernel("256M", RAM).unwrap().unwrap();
    assert_eq!((c.size, c.offset, c.high), (Bytes(256 * MIB), None, false));
    let c = parse_crashkernel("crashkernel=64M@0x1000000", RAM);
    let c = c.unwrap().unwrap();
    assert_eq!(c.offset, Some(PhysAddr(16 * MIB)));
    // An offset that is 0 or no number leaves the place open.
    for open in ["64M@0", "64M@", "64M@x"] {
        let c = parse_crashkernel(open, RAM).unwrap().unwrap();
        assert_eq!((c.size.0, c.offset), (64 * MIB, None));
    }
    assert_eq!(parse_crashkernel("", RAM), Ok(None));
    assert_eq!(parse_crashkernel("crashkernel=0", RAM), Ok(None));
    for bad in ["x", "64Mx", "4G", "5G", "crashkernel=", "64M,left"] {
        assert_eq!(
            parse_crashkernel(bad, RAM),
            Err(Error::BadParameter),
            "{bad}"
        );
    }
}

#[test]
fn the_last_of_a_command_line_counts() {
    let line = "root=/dev/vda1 ro quiet crashkernel=64M crashkernel=96M splash";
    assert_eq!(size(line, 4096), Ok(Some(96)));
    assert_eq!(size("root=/dev/vda1 ro quiet", 4096), Ok(None));
    assert_eq!(size("ro crashkernel=1G,high quiet", 4096), Ok(Some(1024)));
}

#[test]
fn ranges() {
    let text = "512M-2G:64M,2G-:128M";
    assert_eq!(size(text, 256), Ok(None));
    assert_eq!(size(text, 512), Ok(Some(64)));
    // RAM is rounded up to 128 MiB first: 2047 MiB are 2 GiB.
    assert_eq!(size(text, 1920), Ok(Some(64)));
    assert_eq!(size(text, 2047), Ok(Some(128)));
    assert_eq!(size(text, 1 << 20), Ok(Some(128)));
    let c = parse_crashkernel("512M-2G:64M,2G-:128M@32M", RAM);
    assert_eq!(c.unwrap().unwrap().offset, Some(PhysAddr(32 * MIB)));
    // What follows the match is skipped up to the offset, readable or not.
    assert_eq!(size("1G-:64M,nonsense@16M", 4096), Ok(Some(64)));
    for bad in [
        "1G:64M",
        "-2G:64M",
        "1G-2G",
        "1G-:",
        "2G-1G:64M",
        "1G-1G:64M",
        "1G-2G:64M,",
        "1G-:64M@",
        "0-1G:8G,1G-:64M",
        "1G-:4G",
    ] {
        assert_eq!(size(bad, 4096), Err(Error::BadParameter), "{bad}");
    }
}

#[test]
fn high_low_and_cma() {
    let c = parse_crashkernel("crashkernel=1G,high", RAM)
        .unwrap()
        .unwrap();
    assert!(c.high);
    assert_eq!(
        (c.size.0, c.low_size),
        (1 << 30, DEFAULT_CRASH_KERNEL_LOW_SIZE)
    );
    let both = "1G,high crashkernel=72M,low crashkernel=32M,cma";
    let c = parse_crashkernel(both, RAM).unwrap().unwrap();
    assert_eq!((c.low_size.0, c.cma_size.0), (72 * MIB, 32 * MIB));
    let none = "crashkernel=1G,high crashkernel=0,low";
    let c = parse_crashkernel(none, RAM).unwrap().unwrap();
    assert_eq!(c.low_size, Bytes::ZERO);
    // A plain value goes before one with a suffix; `low` alone is nothing.
    assert_eq!(
        size("crashkernel=1G,high crashkernel=64M", 4096),
        Ok(Some(64))
    );
    assert_eq!(size("crashkernel=64M,low", 4096), Ok(None));
    for bad in [
        "0,high",
        "x,high",
        "1G@4G,high",
        "1G,high crashkernel=y,low",
    ] {
        assert_eq!(size(bad, 4096), Err(Error::BadParameter), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_answer(text in "(crashkernel=)?[0-9xKMGTPEkh:,@ -]{0,24}(,high|,low|,cma|)", ram: u64) {
        if let Ok(Some(c)) = parse_crashkernel(&text, Bytes(ram)) {
            prop_assert!(c.size.0 > 0 && c.size.0 < ram);
            prop_assert!(c.offset != Some(PhysAddr(0)));
        }
    }

    #[test]
    fn memparse_reads_what_was_written(n in any::<u32>(), s in 0..7usize) {
        let text = format!("{n}{}", ["", "K", "m", "G", "t", "P", "E"][s]);
        let want = u64::from(n).checked_mul(1u64.checked_shl(10 * s as u32).unwrap());
        prop_assert_eq!(memparse(&text), Some((want.unwrap_or(u64::MAX), "")));
    }
}
