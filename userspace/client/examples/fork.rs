// SPDX-License-Identifier: GPL-2.0

//! Allocates in a window, forks, and has both print what is theirs.

use nix::libc;
use shadowmm_client::Device;
use std::num::NonZeroUsize;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(Path::new(shadowmm_client::DEFAULT_PATH))?;
    let window = device.window(1 << 30)?;
    let place = window.mmap_anonymous(NonZeroUsize::new(64 << 10).ok_or("no length")?)?;
    let word = place.cast::<u64>().as_ptr();
    // SAFETY: It was just mapped, and nobody else knows of it; the child does nothing
    // that a child of one thread may not.
    let child = unsafe {
        word.write(1);
        let child = libc::fork();
        word.write(word.read() + u64::from(child == 0));
        if child != 0 {
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        child
    };
    let space = window.space()?;
    let who = if child == 0 {
        "the child"
    } else {
        "the parent"
    };
    // SAFETY: As above.
    let value = unsafe { word.read() };
    println!("{who} has {value} in address space {}:", space.id);
    print!(
        "{}",
        std::fs::read_to_string(format!("/proc/shadowmm/mm/{}/maps", space.id))?
    );
    Ok(())
}
