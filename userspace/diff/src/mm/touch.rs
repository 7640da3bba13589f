// SPDX-License-Identifier: GPL-2.0

//! Real loads and stores at addresses where there may be nothing: what the kernel
//! answers them with, a value or a signal, comes back as a value.
//!
//! The three functions below have no stack of their own. The handler of SIGSEGV and
//! SIGBUS looks at the instruction that has failed: if it is one of theirs, they return
//! at once.

use nix::libc;
use std::arch::global_asm;
use std::mem;
use std::ptr;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

// Two words come back, in rax and rdx: the second is not 0 after a signal.
global_asm!(
    ".globl shadowmm_diff_load",
    "shadowmm_diff_load:",
    "mov rax, [rdi]",
    "xor edx, edx",
    "ret",
    ".globl shadowmm_diff_store",
    "shadowmm_diff_store:",
    "mov [rdi], rsi",
    "xor eax, eax",
    "xor edx, edx",
    "ret",
    // A number that stands for a page's content.
    ".globl shadowmm_diff_page",
    "shadowmm_diff_page:",
    "xor eax, eax",
    "mov ecx, 512",
    "2:",
    "rol rax, 7",
    "xor rax, [rdi]",
    "add rdi, 8",
    "dec ecx",
    "jnz 2b",
    "xor edx, edx",
    "ret",
    ".globl shadowmm_diff_failed",
    "shadowmm_diff_failed:",
    "xor eax, eax",
    "mov edx, 1",
    "ret",
);

#[repr(C)]
struct Answer {
    value: u64,
    failed: u64,
}

extern "C" {
    fn shadowmm_diff_load(addr: u64) -> Answer;
    fn shadowmm_diff_store(addr: u64, value: u64) -> Answer;
    fn shadowmm_diff_page(addr: u64) -> Answer;
    fn shadowmm_diff_failed();
}

static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDR: AtomicU64 = AtomicU64::new(0);

/// A signal that came instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// SIGSEGV or SIGBUS.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
}

/// Loads eight bytes.
pub fn load(addr: u64) -> Result<u64, Fault> {
    // SAFETY: What can't be read is answered, and nothing is changed.
    answer(unsafe { shadowmm_diff_load(addr) })
}

/// Stores eight bytes in the arena, which nothing else of this program lies in.
pub fn store(addr: u64, value: u64) -> Result<(), Fault> {
    // SAFETY: The arena is the test's, and no reference points into it.
    answer(unsafe { shadowmm_diff_store(addr, value) }).map(|_| ())
}

/// A number that stands for the content of a page.
pub fn page(addr: u64) -> Result<u64, Fault> {
    // SAFETY: What can't be read is answered, and nothing is changed.
    answer(unsafe { shadowmm_diff_page(addr) })
}

fn answer(answer: Answer) -> Result<u64, Fault> {
    match answer.failed {
        0 => Ok(answer.value),
        _ => Err(Fault {
            signal: SIGNAL.load(Relaxed),
            code: CODE.load(Relaxed),
            addr: ADDR.load(Relaxed),
        }),
    }
}

/// Has the signals of this process handled as above.
pub fn handle_signals() {
    // SAFETY: The handler only looks at its arguments and at the statics above, and
    // changes where its process goes on.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut());
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

extern "C" fn handler(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: The kernel gives both; the context is a ucontext_t with SA_SIGINFO.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as usize;
        let first = shadowmm_diff_load as *const () as usize;
        let last = shadowmm_diff_failed as *const () as usize;
        if !(first..last).contains(&at) {
            // Not a touch: the program itself is wrong, and ends by the signal.
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        SIGNAL.store(signal, Relaxed);
        CODE.store((*info).si_code, Relaxed);
        ADDR.store((*info).si_addr() as u64, Relaxed);
        registers[libc::REG_RIP as usize] = last as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_signals_come_back() {
        handle_signals();
        let mut word = 5u64;
        let addr = &raw mut word as u64;
        assert_eq!(load(addr), Ok(5));
        assert_eq!(store(addr, 7), Ok(()));
        assert_eq!(word, 7);
        let nowhere = Fault {
            signal: libc::SIGSEGV,
            code: 1,
            addr: 0x1000,
        };
        assert_eq!(load(0x1000), Err(nowhere));
        assert_eq!(page(0x1000), Err(nowhere));
        assert_eq!(store(0x1000, 1), Err(nowhere));
    }
}
