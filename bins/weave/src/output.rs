//! What the tool prints: to stdout, in colour only where somebody looks at it.

use std::io::{self, IsTerminal, Write};

use weave_router::{Failure, words};

/// Standard output, and whether it is a terminal that shows colours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    terminal: bool,
    colour: bool,
}

impl Output {
    /// Looks at what stdout is and at `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            terminal,
            colour: terminal && !refused,
        }
    }

    /// The paint that suits it.
    pub(crate) fn paint(self) -> Paint {
        Paint {
            colour: self.colour,
        }
    }

    /// Prints `text`, and a line end where it lacks one.
    ///
    /// # Errors
    /// When stdout takes no more: the disk is full, or the reader went away ([`Failure::reader_gone`]).
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{}\n", text.strip_suffix('\n').unwrap_or(text)))
    }

    /// Prints `text` in place of what stands on the terminal; below it where stdout is none.
    ///
    /// # Errors
    /// As for [`Output::line`].
    pub(crate) fn redraw(self, text: &str) -> Result<(), Failure> {
        // To the top left, each line cleared to its end, and all below the last one.
        if self.terminal {
            let body = text.trim_end().replace('\n', "\x1b[K\n");
            return self.write(&format!("\x1b[H{body}\x1b[K\n\x1b[J"));
        }
        self.line(text)
    }

    /// Clears the terminal, if it is one, for [`Output::redraw`].
    ///
    /// # Errors
    /// As for [`Output::line`].
    pub(crate) fn clear(self) -> Result<(), Failure> {
        if self.terminal {
            return self.write("\x1b[2J\x1b[H");
        }
        Ok(())
    }

    fn write(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
            Err(error) => Err(Failure::new("cannot print", words(&error), "")),
        }
    }
}

/// Wraps text in colours, or leaves it as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    /// Whether to.
    pub(crate) colour: bool,
}

impl Paint {
    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// All is well.
    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("1;32", text)
    }

    /// Somebody should look.
    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
