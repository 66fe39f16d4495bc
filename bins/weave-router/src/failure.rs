//! What the programs say when they give up: one line, and an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use nix::errno::Errno;

/// A reason to give up: what happened, why, and what to do about it, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    why: String,
    remedy: String,
    code: u8,
}

impl Failure {
    /// Something went wrong: exit code 1.
    pub fn new(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
            code: 1,
        }
    }

    /// The command line asks for what cannot be: exit code 2.
    pub fn usage(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code: 2,
            ..Self::new(what, why, remedy)
        }
    }

    /// Whoever read stdout went away, as in `weave status | head`: a reason to stop, though not to complain, and
    /// exit code 0.
    pub fn reader_gone() -> Self {
        Self {
            code: 0,
            ..Self::new("nobody reads the output any more", "", "")
        }
    }

    /// The same with an exit code of its own, for a command that stands for another program.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// 2 for a command line that asks for what cannot be, 0 for a reader that went away, 1 for everything else, unless
    /// [`Failure::with_code`] gave another.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Whether it is worth a line on stderr.
    pub fn is_worth_saying(&self) -> bool {
        self.code != 0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(": ", &self.why), ("; ", &self.remedy)];
        f.write_str(&one_line(&self.what))?;
        for (separator, part) in parts {
            if !part.is_empty() {
                write!(f, "{separator}{}", one_line(part))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// The system's reason in words, without its number: `address already in use`.
pub fn words(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = Errno::from_raw(number).desc();
    let mut letters = text.chars();
    match letters.next() {
        // "Operation not permitted" begins a sentence, here it ends one; "I/O error" stays.
        Some(first) if !text.starts_with("I/O") => {
            format!("{}{}", first.to_lowercase(), letters.as_str())
        }
        _ => text.to_owned(),
    }
}

/// Whether clap's "error" is an answer to `--help` or `--version`, for stdout.
pub fn is_answer(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// What clap found wrong with a command line, in one line that says where the help is.
///
/// Clap spreads it over several, with a usage summary below.
pub fn usage_line(program: &str, error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let mut line = String::new();
    for part in rendered
        .lines()
        .map(str::trim)
        .take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"))
    {
        let part = part.strip_prefix("error: ").unwrap_or(part);
        if part.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push_str(if part.starts_with("tip:") || part.starts_with('[') {
                "; "
            } else {
                " "
            });
        }
        line.push_str(part.strip_prefix("tip: ").unwrap_or(part));
    }
    format!("{line}; '{program} --help' lists what there is")
}

/// Line ends and other control characters of a text as spaces.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_what_why_and_what_to_do() {
        let failure = Failure::new("cannot open\nit", "there is none", "make one");
        assert_eq!(
            failure.to_string(),
            "cannot open it: there is none; make one"
        );
        assert_eq!(Failure::usage("no", "", "").to_string(), "no");
    }

    #[test]
    fn a_reader_that_went_away_is_not_complained_of() {
        assert!(!Failure::reader_gone().is_worth_saying());
        assert!(Failure::new("a", "b", "c").is_worth_saying());
        assert!(Failure::usage("a", "b", "c").is_worth_saying());
    }

    #[test]
    fn the_systems_reason_comes_without_its_number() {
        let error = io::Error::from_raw_os_error(Errno::EADDRINUSE as i32);
        assert_eq!(words(&error), "address already in use");
        let error = io::Error::from_raw_os_error(Errno::EIO as i32);
        assert_eq!(words(&error), "I/O error");
        assert_eq!(words(&io::Error::other("its own words")), "its own words");
    }
}
