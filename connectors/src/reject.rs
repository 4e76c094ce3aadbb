//! Refusals: a code, what was found, and a remedy.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shown::visible;

/// A refusal by name: it becomes a row of the table `rejects`, never the end of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
pub struct Reject {
    /// The hazard's name, in capitals: `MISSING_SLICE`, `TRUNCATED`, …
    pub code: String,
    /// What was expected and what was found, without patient data.
    pub message: String,
    /// What the user can do about it.
    pub hint: String,
}

impl Reject {
    /// A refusal with its remedy. What a file said is quoted in some messages: characters that would act on a terminal
    /// are shown as escapes.
    pub fn new(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: visible(message.into()), hint: visible(hint.into()) }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}
