// SPDX-License-Identifier: GPL-2.0

//! What becomes of memory that nobody has: `page_poison=`, KASAN, and the misuse
//! that both, and KCSAN, are to see.

use crate::bindings;
use crate::device::OpenFile;
use crate::uapi;
use crate::users::check_admin;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::phys::PhysAddr;

/// Whether free pages are filled with a pattern.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    // SAFETY: It is a static key.
    unsafe {
        kernel::jump_label::static_branch_unlikely!(
            bindings::shadowmm_page_poison,
            bindings::shadowmm_switch,
            key
        )
    }
}

/// Has free pages filled from now on: before there is a shadow.
pub(crate) fn turn_on() {
    // SAFETY: May sleep; nothing asks yet.
    unsafe { bindings::shadowmm_page_poison_on() };
}

impl OpenFile {
    /// MISUSE: writes a byte to memory of the shadow, whosever it is, where that is
    /// to be found out.
    pub(crate) fn misuse(&self, request: &mut uapi::shadowmm_misuse) -> CoreResult<()> {
        check_admin()?;
        let kcsan = cfg!(CONFIG_KCSAN);
        if !is_on() && !cfg!(CONFIG_KASAN_GENERIC) && !kcsan {
            return Err(Error::NeedsDebugging);
        }
        let plain = match request.how {
            uapi::SHADOWMM_MISUSE_ONCE => false,
            uapi::SHADOWMM_MISUSE_PLAIN if kcsan => true,
            uapi::SHADOWMM_MISUSE_PLAIN => return Err(Error::NeedsDebugging),
            _ => return Err(Error::BadParameter),
        };
        let byte = u8::try_from(request.byte).map_err(|_| Error::BadParameter)?;
        self.shadow.with_mm(|mm| {
            let there = mm.region.misuse(PhysAddr(request.addr), byte, plain);
            there.then_some(()).ok_or(Error::ForeignPfn)
        })
    }
}
