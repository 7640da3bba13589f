// SPDX-License-Identifier: GPL-2.0

//! Why the command failed: what happened, and what to do about it.

use std::fmt;
use std::io;

/// Why the command failed. Its exit status is 1.
#[derive(Debug)]
pub enum Error {
    /// The device could not be asked, or refused.
    Device(shadowmm_client::Error),
    /// The same, told in other words or with other advice.
    Told {
        /// What happened.
        what: String,
        /// What to do.
        advice: Option<String>,
        /// What the device said.
        error: shadowmm_client::Error,
    },
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
            Self::Told { advice, .. } | Self::Failed { advice, .. } => advice.as_deref(),
            Self::Output(_) => None,
        }
    }

    /// Puts `advice` in the place of what the error would advise by itself.
    pub fn with_advice(self, advice: impl Into<String>) -> Self {
        let what = self.to_string();
        let advice = Some(advice.into());
        match self {
            Self::Device(error) | Self::Told { error, .. } => Self::Told {
                what,
                advice,
                error,
            },
            Self::Failed { .. } | Self::Output(_) => Self::Failed { what, advice },
        }
    }

    /// The device's error, of the one of several things that is called `which`.
    pub fn of_one(which: &str, error: shadowmm_client::Error) -> Self {
        Self::Told {
            what: format!("{which}: {error}"),
            advice: error.advice().map(str::to_owned),
            error,
        }
    }

    /// What a program may tell it by: the name of the module's reason, or of the errno where it
    /// gave none; BadLine where it was not asked, as what was to be asked makes no sense.
    pub fn name(&self) -> String {
        match self {
            Self::Device(error) | Self::Told { error, .. } => match error.reason() {
                Some(reason) => reason.name().to_owned(),
                None => format!("{:?}", error.errno()),
            },
            Self::Failed { .. } | Self::Output(_) => "BadLine".to_owned(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::Told { what, .. } | Self::Failed { what, .. } => f.write_str(what),
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
