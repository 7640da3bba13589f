// SPDX-License-Identifier: GPL-2.0

//! Each target on its corpus, on changes of that, and on bytes drawn by lot: the same ones
//! every time. `FUZZ_INPUTS=` says how many, `FUZZ_SEED=` which.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// How many inputs are drawn where nothing is said.
const INPUTS: u64 = 400;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// An input a line, in hexadecimal digits.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let text = fs::read_to_string(path.join(name)).expect("a corpus for each target");
    let byte = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16);
    text.lines()
        .map(|line| {
            line.as_bytes()
                .chunks(2)
                .map(|two| byte(two).unwrap())
                .collect()
        })
        .collect()
}

/// An input: fresh bytes, or an old input with something else in it.
fn draw(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    if corpus.is_empty() || dice.below(3) == 0 {
        let len = 1 << dice.below(11);
        return (0..len + dice.below(len))
            .map(|_| dice.roll() as u8)
            .collect();
    }
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.insert(at, dice.roll() as u8),
            2 => bytes.truncate(at),
            _ => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len());
                bytes.splice(at.min(bytes.len()).., other[from..].iter().copied());
            }
        }
    }
    bytes
}

/// Says which input it was, where one breaks something, as a line for the corpus.
struct Told<'a>(&'a str, u64, &'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}: input {}: ", self.0, self.1);
            self.2.iter().for_each(|byte| eprint!("{byte:02x}"));
            eprintln!();
        }
    }
}

fn play(name: &str, run: fn(&[u8])) {
    let corpus = corpus(name);
    for (n, bytes) in (0..).zip(&corpus) {
        let _told = Told(name, n, bytes);
        run(bytes);
    }
    let mut dice = Dice(variable("FUZZ_SEED", 1));
    for n in 0..variable("FUZZ_INPUTS", INPUTS) {
        let bytes = draw(&mut dice, &corpus);
        let _told = Told(name, n, &bytes);
        run(&bytes);
    }
}

/// The names of all targets, in order.
fn there() -> Vec<String> {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets");
    let files = fs::read_dir(place)
        .unwrap()
        .map(|file| file.unwrap().path());
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = files.map(stem).collect();
    names.sort_unstable();
    names
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                play(stringify!($name), shadowmm_fuzz::$name::run);
            }
        )*

        #[test]
        fn each_target_is_played() {
            let mut played = [$(stringify!($name)),*];
            played.sort_unstable();
            assert_eq!(there(), played);
        }
    };
}

targets! { firmware memblock buddy slab vma numbers }
