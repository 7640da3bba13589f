// SPDX-License-Identifier: GPL-2.0

//! Why the command failed: what happened, and what to do about it.

use std::fmt;
use std::io;

/// Why the command failed. Its exit status is 1.
#[derive(Debug)]
pub enum Error {
    /// The device could not be asked, or refused.
    Device(shadowmm_client::Error),
    /// Anything else, in a sentence, with advice where there is some.
    Failed {
        /// What happened.
        what: String,
        /// What to do.
        advice: Option<String>,
    },
    /// The output could not be written.
    Output(io::Error),
}

/// A result of the command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// `what` happened, and there is nothing to advise.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            advice: None,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        match self {
            Self::Device(error) => error.advice(),
            Self::Failed { advice, .. } => advice.as_deref(),
            Self::Output(_) => None,
        }
    }

    /// Puts `advice` in the place of what the error would advise by itself.
    pub fn with_advice(self, advice: impl Into<String>) -> Self {
        Self::Failed {
            what: self.to_string(),
            advice: Some(advice.into()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Failed { what, .. } => f.write_str(what),
            Self::Output(error) => write!(f, "could not write the output: {error}"),
        }
    }
}

impl From<shadowmm_client::Error> for Error {
    fn from(error: shadowmm_client::Error) -> Self {
        Self::Device(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
