// SPDX-License-Identifier: GPL-2.0

//! What a model leaves out of core's text, so that it must fail: a step each, or nothing.

macro_rules! without {
    ($($(#[$meta:meta])* $step:ident,)*) => {
        /// What is left out.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub enum Without {
            Nothing,
            $($(#[$meta])* $step,)*
        }

        thread_local! {
            /// A model's threads are all in one of the system's.
            pub static WITHOUT: std::cell::Cell<Without> =
                const { std::cell::Cell::new(Without::Nothing) };
        }
    };
}
pub(crate) use without;
