// SPDX-License-Identifier: GPL-2.0

//! Who has how much of the shadow, core's counts for each user and each open file; and
//! what the caller may do.
//!
//! A file is its opener's: what comes through it counts as his, whoever holds the
//! descriptor now.

use crate::bindings;
use crate::shadow::Shadow;
use core::ffi::c_int;
use core::fmt;
use core::ptr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use kernel::bindings::CAP_SYS_ADMIN;
use kernel::bindings::CAP_SYS_RESOURCE;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::sync::Mutex;
use shadowmm_core::error::Error;
use shadowmm_core::error::Result as CoreResult;
use shadowmm_core::quota;
use shadowmm_core::quota::Account;
use shadowmm_core::quota::Kind;
use shadowmm_core::quota::Limits;
use shadowmm_core::quota::Usage;
use shadowmm_core::quota::NR_KINDS;

const _: () = assert!(bindings::SHADOWMM_NR_LIMITS as usize == NR_KINDS);

/// A user who has files open.
struct User {
    uid: u32,
    usage: Usage,
    files: AtomicU64,
}

/// The users who have files open.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    all: Mutex<KVVec<Arc<User>>>,
    /// How many pages the shadow has.
    pages: u64,
}

impl Users {
    /// Nobody yet.
    pub(crate) fn new(pages: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            all <- new_mutex!(KVVec::new()),
            pages,
        })
    }

    /// The calling user's, with one file more.
    fn opened(&self) -> Result<Arc<User>> {
        // SAFETY: Asks about the caller.
        let uid = unsafe { bindings::shadowmm_current_uid() };
        let mut all = self.all.lock();
        if let Some(user) = all.iter().find(|user| user.uid == uid) {
            user.files.fetch_add(1, Relaxed);
            return Ok(user.clone());
        }
        let user = Arc::new(
            User {
                uid,
                usage: Usage::new(),
                files: AtomicU64::new(1),
            },
            GFP_KERNEL,
        )?;
        all.push(user.clone(), GFP_KERNEL)?;
        Ok(user)
    }

    fn closed(&self, user: &Arc<User>) {
        let mut all = self.all.lock();
        if user.files.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        if let Some(at) = all.iter().position(|other| Arc::ptr_eq(other, user)) {
            let _gone = all.remove(at);
        }
    }

    /// How much of a kind a file and a user may have, as the parameters are now.
    fn limits(&self, kind: Kind) -> (u64, u64) {
        // SAFETY: The parameters live as long as the module, and are words that may be
        // written to meanwhile.
        let said = |limits: *const [usize; NR_KINDS]| unsafe {
            ptr::read_volatile(limits.cast::<usize>().add(kind as usize)) as u64
        };
        // SAFETY: They are there.
        let (file, user) = unsafe {
            let params = bindings::shadowmm_params();
            (
                &raw const (*params).file_limits,
                &raw const (*params).user_limits,
            )
        };
        let or = |said, limits: Limits| match said {
            0 => limits.of(kind),
            said => said,
        };
        (
            or(said(file), Limits::NONE),
            or(said(user), Limits::of_user(self.pages)),
        )
    }

    /// Writes `/proc/shadowmm/users`.
    pub(crate) fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str(quota::HEAD)?;
        for user in self.all.lock().iter() {
            quota::write_user(out, user.uid, user.files.load(Relaxed), &user.usage)?;
        }
        Ok(())
    }
}

/// Whether the caller may do this, one of `CAP_*`.
pub(crate) fn is_capable(cap: u32) -> bool {
    // SAFETY: Asks about the caller.
    unsafe { kernel::bindings::capable(cap as c_int) }
}

/// Whether the caller may do what harms others, or sees what is theirs.
pub(crate) fn check_admin() -> CoreResult<()> {
    match is_capable(CAP_SYS_ADMIN) {
        true => Ok(()),
        false => Err(Error::NotPermitted),
    }
}

/// Whether the limits are not the caller's.
fn is_exempt() -> bool {
    is_capable(CAP_SYS_RESOURCE)
}

/// For [`Error::LargeObject`].
pub(crate) fn check_exempt() -> CoreResult<()> {
    match is_exempt() {
        true => Ok(()),
        false => Err(Error::LargeObject),
    }
}

/// What an open file has. All of it is given back with the last reference: that of the
/// file, or of a window.
pub(crate) struct FileAccount {
    shadow: Arc<Shadow>,
    user: Arc<User>,
    usage: Usage,
}

impl FileAccount {
    /// That of a file that is being opened.
    pub(crate) fn open(shadow: &Arc<Shadow>) -> Result<Arc<Self>> {
        let user = shadow.users.opened()?;
        let account = Self {
            shadow: shadow.clone(),
            user,
            usage: Usage::new(),
        };
        // Where there is no memory it is dropped, and the file not counted.
        Ok(Arc::new(account, GFP_KERNEL)?)
    }

    fn account(&self) -> Account<'_> {
        Account {
            file: &self.usage,
            user: &self.user.usage,
        }
    }

    /// Takes `more` of a kind for the file.
    pub(crate) fn reserve(&self, kind: Kind, more: u64) -> CoreResult<()> {
        let limits = self.shadow.users.limits(kind);
        self.account().reserve(kind, more, limits, is_exempt)
    }

    /// The same, until it is seen what came of it.
    pub(crate) fn charge(&self, kind: Kind, more: u64) -> CoreResult<Charge<'_>> {
        self.reserve(kind, more)?;
        Ok(Charge {
            account: self,
            kind,
            left: more,
        })
    }

    /// The file has so much less of a kind.
    pub(crate) fn release(&self, kind: Kind, less: u64) {
        self.account().release(kind, less);
    }

    /// As [`Account::settle`].
    pub(crate) fn settle(&self, kind: Kind, before: i64, now: i64) {
        self.account().settle(kind, before, now);
    }

    /// Whether so much more may not come: the file or its user would have more than he may, and
    /// the caller is not above that.
    pub(crate) fn is_full(&self, kind: Kind, more: u64) -> bool {
        let limits = self.shadow.users.limits(kind);
        self.account().is_full(kind, more, limits) && !is_exempt()
    }
}

impl Drop for FileAccount {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            self.release(kind, self.usage.of(kind));
        }
        self.shadow.users.closed(&self.user);
    }
}

/// What was reserved. What of it is not kept is given back.
#[must_use]
pub(crate) struct Charge<'a> {
    account: &'a FileAccount,
    kind: Kind,
    left: u64,
}

impl Charge<'_> {
    /// So much of it has come.
    pub(crate) fn keep(mut self, had: u64) {
        self.left = self.left.saturating_sub(had);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.account.release(self.kind, self.left);
    }
}
