// SPDX-License-Identifier: GPL-2.0

//! The command as a shell sees it, where there is no device: exit statuses,
//! what it says on which stream, and what needs no device.

use assert_cmd::Command;
use std::collections::BTreeSet;
use std::fs;

/// The command, on a machine without the module.
fn shadowmm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadowmm"));
    command
        .env("SHADOWMM_DEVICE", "/nowhere/shadowmm")
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .args(arguments);
    command
}

fn stderr(arguments: &[&str], code: i32) -> String {
    let output = shadowmm(arguments).assert().code(code).get_output().clone();
    assert!(
        output.stdout.is_empty(),
        "{arguments:?} writes an error to stdout"
    );
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn stdout(command: &mut Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

/// Every command that the module is needed for, with arguments that are right.
const NEED_THE_MODULE: &[&[&str]] = &[
    &["status"],
    &["boot"],
    &["boot", "--step"],
    &["boot", "--builtin"],
    &["e820"],
    &["iomem"],
    &["memblock"],
    &["sections"],
    &["nodes"],
    &["zones"],
    &["buddy"],
    &["accounting"],
    &["page", "alloc"],
    &["page", "alloc", "--bulk", "--count", "100"],
    &["page", "alloc", "--bytes", "10K"],
    &["page", "alloc", "--policy", "interleave:0,1"],
    &["page", "free", "1"],
    &["page", "split", "8", "--order", "3"],
    &["page", "merge", "8", "--order", "3"],
    &["page", "contig", "5000"],
    &["page", "get", "1"],
    &["page", "put", "1"],
    &["page", "show", "1"],
    &["slab", "list"],
    &["slab", "show", "inodes"],
    &["slab", "create", "inodes", "--size", "600"],
    &["slab", "alloc", "inodes", "--count", "10"],
    &["slab", "kmalloc", "100"],
    &["slab", "free", "inodes", "0x1000"],
    &["slab", "shrink"],
    &["slab", "validate", "inodes"],
    &["slab", "destroy", "inodes"],
    &["slab", "top"],
    &["cosmos"],
    &["compare"],
    &["compare", "--watch"],
    &["tour"],
    &["validate"],
    &["drain"],
    &["mm", "maps", "1"],
    &["mm", "smaps", "1"],
    &["mm", "status", "1"],
    &["mm", "fault-trace"],
    &["bench", "page"],
    &["compact"],
    &["shrink"],
    &["tune"],
    &["tune", "min_free_kbytes=1"],
    &["users"],
    &["pagesets"],
    &["pagetypes"],
    &["fragmentation"],
    &["numastat"],
    &["vmstat"],
    &["vmstat", "--all"],
    &["bench", "slab"],
    &["bench", "mm"],
    &["mm", "list"],
    &["mm", "walk", "1", "0x1000"],
    &["mm", "touch", "1M"],
    &["run", "--", "true"],
    &["status", "--json"],
];

/// Those that it is not needed for.
const NEED_NONE: &[&str] = &["completions", "man"];

#[test]
fn without_the_module_every_command_says_so_and_what_to_do() {
    for arguments in NEED_THE_MODULE {
        let said = stderr(arguments, 1);
        assert!(said.contains("not loaded"), "{arguments:?}: {said}");
        assert!(said.contains("modprobe shadowmm"), "{arguments:?}: {said}");
    }
}

/// What there is a manual page of, as in `page-alloc`: all commands, and groups of them.
fn commands() -> BTreeSet<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    shadowmm(&["man", "--dir", path]).assert().success();
    let pages = fs::read_dir(directory.path()).expect("pages");
    let names = pages.map(|page| {
        let name = page.expect("a page").file_name();
        name.into_string().expect("UTF-8")
    });
    let commands = names.filter_map(|name| {
        let command = name.strip_prefix("shadowmm-")?.strip_suffix(".1")?;
        Some(command.to_owned())
    });
    commands.collect()
}

#[test]
fn no_command_is_forgotten_above() {
    let commands = commands();
    let is_within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    let tried: Vec<String> = NEED_THE_MODULE
        .iter()
        .map(|words| words.join("-"))
        .collect();
    let forgotten: Vec<&String> = commands
        .iter()
        .filter(|command| !commands.iter().any(|other| is_within(other, command)))
        .filter(|command| !NEED_NONE.contains(&command.as_str()))
        .filter(|command| {
            let mut tried = tried.iter();
            !tried.any(|tried| tried == *command || is_within(tried, command))
        })
        .collect();
    assert!(commands.len() > 40, "{commands:?}");
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// What is asked for, and has no place to go to.
#[test]
fn help_that_can_not_be_written_is_an_error() {
    for argument in ["--help", "--version"] {
        let full = fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("it");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_shadowmm"))
            .arg(argument)
            .stdout(full)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{argument}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("could not write the output"), "{said}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for arguments in [
        &[][..],
        &["cheese"],
        &["status", "extra"],
        &["boot", "--host", "--builtin"],
        &["boot", "--reset", "--crashkernel", "64M"],
        &["page"],
        &["page", "show"],
        &["page", "show", "minus one"],
        &["page", "alloc", "--order", "-1"],
        &["page", "alloc", "--gfp", "GFP_CHEESE"],
        &["page", "alloc", "--count", "0"],
        &["page", "alloc", "--bulk", "--order", "1"],
        &["page", "alloc", "--bytes", "4G"],
        &["page", "alloc", "--policy", "cheese"],
        &["page", "alloc", "--policy", "local:0"],
        &["page", "alloc", "--policy", "bind"],
        &["page", "alloc", "--nodes", "0"],
        &["page", "split", "8"],
        &["page", "merge", "8"],
        &["page", "get"],
        &["page", "contig"],
        &["page", "contig", "1", "--at", "1", "--node", "0"],
        &["page", "alloc", "--hold", "1", "--interactive"],
        &["compare", "--watch", "0"],
        &["compare", "--count", "1"],
        &["completions", "cmd.exe"],
    ] {
        assert!(!stderr(arguments, 2).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_file_that_is_no_device_of_ours_is_told_apart() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let said = stderr(&["status", "--device", path], 1);
    assert!(said.contains("is not shadowmm's device"), "{said}");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    // Even root cannot open a directory for writing.
    let path = directory.path().to_str().expect("UTF-8");
    let said = stderr(&["status", "--device", path], 1);
    assert!(said.contains("could not open"), "{said}");
}

#[test]
fn help_names_every_command_and_fits() {
    let help = stdout(shadowmm(&["--help"]).env("COLUMNS", "60"));
    for command in ["status", "boot", "compare", "tour", "validate"] {
        assert!(help.contains(command), "{command}");
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 60, "{line:?}");
    }
    assert!(!help.contains('\x1b'));
    // Where there is room for more, more than so much is not read well.
    for columns in ["400", "18446744073709551615"] {
        let help = stdout(shadowmm(&["--help"]).env("COLUMNS", columns));
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(
            widest > Some(60) && widest <= Some(100),
            "{columns}: {widest:?}"
        );
    }
}

#[test]
fn completions_and_man_pages_are_generated_without_the_module() {
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout(&mut shadowmm(&["completions", shell]));
        assert!(text.contains("accounting"), "{shell}");
        assert!(!text.contains("SHADOWMM_DEVICE"), "{shell}");
    }
    assert!(stdout(&mut shadowmm(&["man"])).contains(".TH shadowmm 1"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("UTF-8");
    shadowmm(&["man", "--dir", path]).assert().success();
    let page = fs::read_to_string(directory.path().join("shadowmm-boot.1")).expect("a page");
    assert!(page.contains("crashkernel"));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let output = std::process::Command::new("sh")
        .args(["-c", "\"$0\" completions zsh | head -c 1"])
        .arg(env!("CARGO_BIN_EXE_shadowmm"))
        .output()
        .expect("a shell");
    assert_eq!(output.stdout.len(), 1);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
