// SPDX-License-Identifier: GPL-2.0

//! The header declares what the library has, and nothing else.

use std::collections::BTreeSet;

const HEADER: &str = include_str!("../include/shadowmm_client.h");
const SOURCES: [&str; 2] = [
    include_str!("../src/lib.rs"),
    include_str!("../src/calls.rs"),
];

/// The name that begins `text`.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The header without its comments.
fn code() -> String {
    let mut rest = HEADER;
    let mut code = String::new();
    while let Some((before, behind)) = rest.split_once("/*") {
        code += before;
        rest = behind.split_once("*/").expect("a comment ends").1;
    }
    code + rest
}

/// How many arguments the function has whose argument list begins `text`.
fn arguments(text: &str) -> usize {
    let list = text.split(')').next().expect("a list of arguments");
    match list.trim() {
        "" | "void" => 0,
        list => list.split(',').filter(|one| !one.trim().is_empty()).count(),
    }
}

#[test]
fn each_function_is_in_both_with_as_many_arguments() {
    let code = code();
    let declared: BTreeSet<(&str, usize)> = code
        .match_indices("shadowmm_")
        .map(|(at, _)| &code[at..])
        .filter(|text| text[name(text).len()..].starts_with('('))
        .map(|text| (name(text), arguments(&text[name(text).len() + 1..])))
        .collect();
    let exported: BTreeSet<(&str, usize)> = SOURCES
        .iter()
        .flat_map(|source| source.split("#[no_mangle]").skip(1))
        .map(|text| text.split_once("extern \"C\" fn ").expect("for C").1)
        .map(|text| (name(text), arguments(&text[name(text).len() + 1..])))
        .collect();
    assert!(declared.len() > 20, "{declared:?}");
    assert_eq!(declared, exported);
}

/// What has the handle to itself, a `*mut`, can't be called while others use it.
#[test]
fn what_must_be_alone_with_the_handle_is_named() {
    let words: Vec<&str> = HEADER
        .split_whitespace()
        .filter(|&word| word != "*")
        .collect();
    let text = words.join(" ");
    let (_, text) = text.split_once("at any time; only ").expect("who is alone");
    let (text, _) = text.split_once(" must be alone").expect("what they must");
    let named: BTreeSet<&str> = text
        .split_whitespace()
        .map(name)
        .filter(|word| word.starts_with("shadowmm_"))
        .collect();
    let alone: BTreeSet<&str> = SOURCES
        .iter()
        .flat_map(|source| source.split("extern \"C\" fn ").skip(1))
        .filter(|text| {
            let arguments = text.split(')').next().unwrap_or_default();
            arguments.contains("s: *mut Shadowmm")
        })
        .map(name)
        .collect();
    assert_eq!(alone.len(), 3, "{alone:?}");
    assert_eq!(named, alone);
}
