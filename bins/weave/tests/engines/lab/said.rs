//! What a command said, and how it ended.

use std::fmt;
use std::process::Output;
use std::time::Duration;

/// A command that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Where it ran and what was typed.
    pub(crate) line: String,
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// How long it ran.
    pub(crate) took: Duration,
}

impl Said {
    pub(super) fn new(line: String, output: &Output, took: Duration) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            line,
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            took,
        }
    }

    /// It did what it was told, or the test fails with all that it said.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// It refused, with this exit code, and in one line on stderr that begins as every message of the tool does.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(self.stderr.starts_with("weave: "), "{self}");
        assert_eq!(self.stderr.lines().count(), 1, "{self}");
        assert!(!self.stderr.contains("os error"), "{self}");
        self
    }

    /// What it printed, once it did what it was told; a container's id, say.
    #[track_caller]
    pub(crate) fn id(self) -> String {
        self.ok().stdout.trim().to_owned()
    }

    /// It ended with success.
    pub(crate) fn is_ok(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("exit {code}"));
        write!(
            formatter,
            "{}\n{code} after {:?}; stdout:\n{}\nstderr:\n{}",
            self.line, self.took, self.stdout, self.stderr
        )
    }
}
