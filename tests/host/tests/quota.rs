// SPDX-License-Identifier: GPL-2.0

//! Limits of users and of their open files.

use shadowmm_core::error::Errno;
use shadowmm_core::error::Error;
use shadowmm_core::quota::write_user;
use shadowmm_core::quota::Account;
use shadowmm_core::quota::Kind;
use shadowmm_core::quota::Limits;
use shadowmm_core::quota::Usage;

const LIMITS: (u64, u64) = (10, 15);

fn nobody() -> bool {
    false
}

#[test]
fn a_file_and_its_user_have_limits() {
    let (one, two, user) = (Usage::new(), Usage::new(), Usage::new());
    let first = Account {
        file: &one,
        user: &user,
    };
    let second = Account {
        file: &two,
        user: &user,
    };
    let pages = || [&one, &two, &user].map(|usage| usage.of(Kind::Pages));
    assert_eq!(first.reserve(Kind::Pages, 10, LIMITS, nobody), Ok(()));
    assert_eq!(
        first.reserve(Kind::Pages, 1, LIMITS, nobody),
        Err(Error::FileLimit)
    );
    assert_eq!(
        second.reserve(Kind::Pages, 6, LIMITS, nobody),
        Err(Error::UserLimit)
    );
    // What was refused is not counted.
    assert_eq!(pages(), [10, 0, 10]);
    assert_eq!(second.reserve(Kind::Pages, 5, LIMITS, nobody), Ok(()));
    first.release(Kind::Pages, 10);
    assert_eq!(second.reserve(Kind::Pages, 5, LIMITS, nobody), Ok(()));
    assert_eq!(pages(), [0, 10, 10]);
    // The kinds do not know of each other.
    assert_eq!(second.reserve(Kind::Spaces, 2, LIMITS, nobody), Ok(()));
    assert_eq!(user.of(Kind::Objects), 0);
    assert_eq!(Error::UserLimit.errno(), Errno::EDQUOT);
    assert_eq!(Error::FileLimit.errno(), Errno::EDQUOT);
}

#[test]
fn who_is_exempt_is_counted() {
    let (file, user) = (Usage::new(), Usage::new());
    let account = Account {
        file: &file,
        user: &user,
    };
    assert_eq!(account.reserve(Kind::Objects, 100, LIMITS, || true), Ok(()));
    assert_eq!(user.of(Kind::Objects), 100);
    assert!(account.is_full(Kind::Objects, 1, LIMITS));
    // Nothing more is nothing more.
    assert_eq!(account.reserve(Kind::Objects, 0, LIMITS, nobody), Ok(()));
}

#[test]
fn no_number_wraps() {
    let (file, user) = (Usage::new(), Usage::new());
    let account = Account {
        file: &file,
        user: &user,
    };
    let none = (u64::MAX, u64::MAX);
    let most = i64::MAX as u64;
    assert_eq!(
        account.reserve(Kind::Pages, u64::MAX, none, || true),
        Err(Error::FileLimit)
    );
    assert_eq!(account.reserve(Kind::Pages, most, none, nobody), Ok(()));
    assert_eq!(
        account.reserve(Kind::Pages, 1, none, || true),
        Err(Error::FileLimit)
    );
    account.release(Kind::Pages, most);
    assert_eq!((file.of(Kind::Pages), user.of(Kind::Pages)), (0, 0));
}

#[test]
fn what_has_gone_may_be_told_first() {
    let (file, user) = (Usage::new(), Usage::new());
    let account = Account {
        file: &file,
        user: &user,
    };
    account.settle(Kind::Pages, 6, 5);
    assert_eq!(user.of(Kind::Pages), 0);
    assert!(!account.is_full(Kind::Pages, 1, (1, 1)));
    account.settle(Kind::Pages, 0, 6);
    assert_eq!(user.of(Kind::Pages), 5);
}

#[test]
fn what_comes_by_itself_is_settled() {
    let (file, user) = (Usage::new(), Usage::new());
    let account = Account {
        file: &file,
        user: &user,
    };
    account.settle(Kind::Pages, 0, 16);
    assert!(account.is_full(Kind::Pages, 1, LIMITS));
    account.settle(Kind::Pages, 16, 3);
    assert_eq!((file.of(Kind::Pages), user.of(Kind::Pages)), (3, 3));
    assert!(!account.is_full(Kind::Pages, 1, LIMITS));
}

#[test]
fn a_user_has_a_share() {
    let limits = Limits::of_user(1 << 17);
    let shares = Kind::ALL.map(|kind| limits.of(kind));
    assert_eq!(shares, [1 << 16, 1 << 12, 256, 1 << 16]);
    assert_eq!(Limits::NONE.of(Kind::Pages), u64::MAX);
    let mut text = String::new();
    write_user(&mut text, 65534, 2, &Usage::new()).unwrap();
    assert_eq!(
        text,
        "     65534      2          0          0          0          0\n"
    );
}
