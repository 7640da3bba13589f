// SPDX-License-Identifier: GPL-2.0

//! `shadowmm users`: who has how much of the shadow, from `/proc/shadowmm/users`.

use crate::context::Context;
use crate::context::Report;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::render::pages;
use crate::render::Column;
use crate::render::Screen;
use crate::render::Table;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Users {
    users: Vec<User>,
}

/// A user who has the device open.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct User {
    uid: u32,
    files: u64,
    pages: u64,
    objects: u64,
    spaces: u64,
    vmas: u64,
}

impl User {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            uid: u32::try_from(next()?).ok()?,
            files: next()?,
            pages: next()?,
            objects: next()?,
            spaces: next()?,
            vmas: next()?,
        })
    }
}

impl Users {
    /// Reads the file's text: a heading, and a line for each.
    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().skip(1);
        let users = lines.map(User::parse).collect::<Option<_>>()?;
        Some(Self { users })
    }
}

impl Report for Users {
    fn print(&self, screen: &mut Screen) {
        if self.users.is_empty() {
            screen.para("Nobody has the device open.");
            return;
        }
        let mut table = Table::new([
            Column::number("user"),
            Column::number("open files"),
            Column::number("pages"),
            Column::number("objects"),
            Column::number("spaces"),
            Column::number("VMAs"),
        ]);
        for user in &self.users {
            table.row([
                user.uid.to_string(),
                user.files.to_string(),
                pages(user.pages),
                user.objects.to_string(),
                user.spaces.to_string(),
                user.vmas.to_string(),
            ]);
        }
        table.print(screen);
    }
}

const PATH: &str = "proc/shadowmm/users";

/// Shows who has what.
pub fn run(context: &Context) -> Result<()> {
    // Says what is amiss where the module is not there.
    context.open()?;
    let text = host::read(&context.root, PATH)?;
    let strange = || {
        let path = context.root.join(PATH);
        let what = "its lines are not as expected";
        Error::failed(format!("could not read {}: {what}", path.display()))
    };
    context.show(&Users::parse(&text).ok_or_else(strange)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use shadowmm_core::quota;
    use shadowmm_core::quota::Usage;

    #[test]
    fn what_the_module_writes_is_read() {
        let mut text = quota::HEAD.to_owned();
        quota::write_user(&mut text, 65534, 2, &Usage::new()).unwrap();
        let report = Users::parse(&text).unwrap();
        let user = User {
            uid: 65534,
            files: 2,
            pages: 0,
            objects: 0,
            spaces: 0,
            vmas: 0,
        };
        assert_eq!(report.users, [user]);
        testing::fits(&report);
        testing::keys(
            &report,
            "users users[].files users[].objects users[].pages users[].spaces users[].uid users[].vmas",
        );
        assert!(Users::parse("head\n1 2 3\n").is_none());
    }

    #[test]
    fn nobody_is_said() {
        let report = Users::parse(quota::HEAD).unwrap();
        assert!(testing::text(&report, 80).contains("Nobody"));
    }
}
