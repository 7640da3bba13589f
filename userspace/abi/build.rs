// SPDX-License-Identifier: GPL-2.0

//! Generates the ABI's Rust face from its one C header.
//!
//! This calls the program `bindgen`, which the module's build needs as well,
//! and which any distribution packages: as a library it would bring three
//! dozen crates with it.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=ioctl.h");
    println!("cargo::rerun-if-changed=../../module/uapi/shadowmm.h");
    println!("cargo::rerun-if-env-changed=BINDGEN");

    let bindgen = env::var_os("BINDGEN").unwrap_or_else(|| "bindgen".into());
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set; build this crate with cargo");
        return ExitCode::FAILURE;
    };
    let result = Command::new(&bindgen)
        .arg("ioctl.h")
        .arg("--output")
        .arg(out.join("abi.rs"))
        .args(["--allowlist-type", "shadowmm_.*"])
        .args(["--allowlist-var", "(SHADOWMM|REQUEST)_.*"])
        .args([
            "--no-layout-tests",
            "--no-prepend-enum-name",
            "--no-doc-comments",
        ])
        .args([
            "--with-derive-default",
            "--use-core",
            "--ctypes-prefix",
            "::core::ffi",
        ])
        .status();
    match result {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            println!("cargo::error={bindgen:?} could not read the ABI's header ({status})");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("cargo::error={bindgen:?} could not be started: {error}");
            println!(
                "cargo::error=install it (Debian: apt install bindgen), or name it in BINDGEN="
            );
            ExitCode::FAILURE
        }
    }
}
