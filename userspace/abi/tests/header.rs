// SPDX-License-Identifier: GPL-2.0

//! Of each struct of the header the size, and of each field the offset, is written down.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

const HEADER: &str = include_str!("../../../module/uapi/shadowmm.h");
const SOURCE: &str = include_str!("../src/lib.rs");

/// Structs by name, with the names of their fields; but for `head`, which is the first of
/// whatever has one.
type Structs = BTreeMap<String, BTreeSet<String>>;

/// What bindgen makes of a name.
fn field(name: &str) -> Option<String> {
    match name {
        "head" => None,
        "type" => Some("type_".to_owned()),
        name => Some(name.to_owned()),
    }
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

/// Those of the header.
fn declared() -> Structs {
    let code = code();
    let structs = code.split("\nstruct ").skip(1);
    let with_body = structs.filter_map(|text| text.split_once(" {\n"));
    let structs = with_body.map(|(name, rest)| {
        let (body, _) = rest.split_once("\n};").expect("a struct ends");
        let fields = body.split(';').filter_map(|text| {
            let name = text.split('[').next()?.split_whitespace().last()?;
            field(name)
        });
        (name.to_owned(), fields.collect())
    });
    structs.collect()
}

/// Those of `layout!`.
fn written_down() -> Structs {
    let (_, list) = SOURCE.split_once("\nlayout! {\n").expect("the list");
    let entries = list.split('}').filter_map(|entry| entry.split_once('{'));
    let structs = entries.map(|(name, fields)| {
        let name = name.split('=').next().unwrap_or_default().trim();
        let fields = fields.split(',').filter_map(|text| {
            let (name, _) = text.split_once(':')?;
            field(name.trim())
        });
        (name.to_owned(), fields.collect())
    });
    structs.collect()
}

#[test]
fn each_field_of_each_struct_is_written_down() {
    let (mut declared, mut written_down) = (declared(), written_down());
    assert!(declared.len() > 60, "{declared:?}");
    // It is what all requests begin with.
    assert_eq!(declared["shadowmm_head"].len(), 4);
    let names = |structs: &Structs| structs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&declared), names(&written_down));
    declared.retain(|name, fields| written_down[name] != *fields);
    written_down.retain(|name, _| declared.contains_key(name));
    assert_eq!(declared, written_down);
}
