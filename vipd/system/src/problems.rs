//! Errors of steps that are all to be tried.

use anyhow::{Result, anyhow};

/// Collects what went wrong where the rest is to be done all the same.
#[derive(Debug, Default)]
pub struct Problems(Vec<anyhow::Error>);

impl Problems {
    /// Keeps the error, if there is one.
    pub fn note(&mut self, result: Result<()>) {
        self.0.extend(result.err());
    }

    /// One error that names them all.
    pub fn into_result(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => {
                let all: Vec<String> = self.0.iter().map(|error| format!("{error:#}")).collect();
                Err(anyhow!(all.join("; ")))
            }
        }
    }
}
