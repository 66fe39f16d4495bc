//! The network's password: where it comes from, what is wrong with it, and how it is changed while the router runs.
//!
//! It is looked for in this order, and the first place that has it counts: `--password-file` or `--password`;
//! WEAVE_PASSWORD_FILE or WEAVE_PASSWORD; the file `passwords` of the state folder, where `weave password add` puts it.
//! Text of it stands in memory that is wiped, and only until it is stretched.

mod door;
mod text;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weave_crypto::{NetworkId, PasswordError, PasswordKey};
use weave_io::StateDir;
use zeroize::Zeroizing;

pub(crate) use door::{Door, Listed, Refused};
pub use text::Secret;

use crate::{Failure, Options, words};

/// Where the passwords of a running router come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file that the user named.
    File { path: PathBuf, by: &'static str },
    /// The command line or the environment.
    Text { by: &'static str },
    /// The state folder, where it is kept when it is changed.
    State,
}

impl Source {
    /// What was given at the start; nothing leaves the state folder.
    ///
    /// `variable` looks into the environment.
    ///
    /// # Errors
    /// Two of a kind were given, or one that is empty.
    fn given(
        options: &Options,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Option<Secret>), Failure> {
        if let Some(path) = &options.password_file {
            let path = path.clone();
            return Ok((
                Self::File {
                    path,
                    by: FILE_FLAG,
                },
                None,
            ));
        }
        if let Some(secret) = &options.password {
            return Ok((Self::Text { by: TEXT_FLAG }, Some(secret.clone())));
        }
        match (variable(FILE_VARIABLE), variable(TEXT_VARIABLE)) {
            (Some(_), Some(_)) => Err(Failure::usage(
                format!("{FILE_VARIABLE} and {TEXT_VARIABLE} are both set"),
                "only one of them can hold the password",
                format!("unset {TEXT_VARIABLE}"),
            )),
            (Some(path), None) => {
                let path = PathBuf::from(path);
                let by = FILE_VARIABLE;
                Ok((Self::File { path, by }, None))
            }
            (None, Some(text)) => {
                let bytes = Zeroizing::new(text.into_encoded_bytes());
                let secret = str::from_utf8(&bytes).map(Secret::new).map_err(|_| {
                    Failure::usage(format!("cannot use {TEXT_VARIABLE}"), "it is not text", "")
                })?;
                Ok((Self::Text { by: TEXT_VARIABLE }, Some(secret)))
            }
            (None, None) => Ok((Self::State, None)),
        }
    }

    /// Where a password comes from, as `weave password list` says it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Text { by } => (*by).to_owned(),
            Self::State => "weave password add".to_owned(),
        }
    }
}

/// The passwords in force at the start, the newest first, and where they come from.
///
/// Stretches each, 100 to 300 ms and 64 MiB at a time, one after the other.
///
/// # Errors
/// What is wrong with what was given, and what to do.
pub(crate) fn at_start(
    options: &Options,
    state: &StateDir,
    network: NetworkId,
) -> Result<(Source, Vec<PasswordKey>), Failure> {
    let (source, secret) = Source::given(options, |name| std::env::var_os(name))?;
    let (name, secrets) = match (&source, secret) {
        (Source::Text { by }, Some(secret)) => {
            let line = Secret::line(secret.text()).map_err(|why| unusable(by, why))?;
            ((*by).to_owned(), vec![line])
        }
        (Source::File { path, .. }, _) => (path.display().to_string(), read_file(path)?),
        (Source::Text { .. } | Source::State, _) => {
            let Some(text) = state.passwords().map_err(|error| {
                Failure::new("cannot use the passwords kept", error.to_string(), "")
            })?
            else {
                return Ok((source, Vec::new()));
            };
            let path = state.passwords_path().display().to_string();
            let secrets = Secret::lines(&text).map_err(|why| unusable(&path, why))?;
            (path, secrets)
        }
    };
    let stretched = secrets.iter().map(|secret| secret.stretch(network));
    let keys = stretched
        .collect::<Result<_, PasswordError>>()
        .map_err(|error| unusable(&name, error.to_string()))?;
    if source == (Source::Text { by: TEXT_FLAG }) {
        tracing::warn!(
            "{TEXT_FLAG}: whoever is on this host sees the password in the process list; {FILE_FLAG} keeps it"
        );
    }
    if secrets.iter().any(Secret::is_weak) {
        tracing::warn!("{WEAK}");
    }
    Ok((source, keys))
}

/// Reads the one or two passwords of a file, the newest first.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn read_file(path: &Path) -> Result<Vec<Secret>, Failure> {
    let named = path.display().to_string();
    let cannot = |error: io::Error| unusable(&named, words(&error));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    let mode = metadata.mode() & 0o777;
    if metadata.is_dir() {
        return Err(unusable(&named, "it is a folder"));
    }
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            format!("cannot use the password file {named}"),
            format!("others may read or change it (mode {mode:03o})"),
            format!("chmod 600 {named}"),
        ));
    }
    let text = read(file).map_err(cannot)?;
    Secret::lines(&text).map_err(|why| unusable(&named, why))
}

/// Reads text of passwords from a pipe or a file, to its end.
///
/// # Errors
/// When it cannot be read, is longer than two passwords can be, or is not text.
pub fn read(source: impl Read) -> io::Result<Zeroizing<String>> {
    // At its full size from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_BYTES_MAX + 1));
    source
        .take(TEXT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(io::Error::other("it is longer than two passwords can be"));
    }
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::other("it is not text in UTF-8")),
    }
}

fn unusable(name: &str, why: impl Into<String>) -> Failure {
    Failure::new(
        format!("cannot use the password of {name}"),
        why,
        "weave genkey prints one; it is the same on all hosts",
    )
}

/// What to say of a password that could be guessed by trying.
pub(crate) const WEAK: &str = "the password is short, or of few kinds of characters: whoever records a connection cannot try \
    guesses, but whoever reaches the port can, one a second; weave genkey prints one that nobody guesses";

const FILE_FLAG: &str = "--password-file";
const TEXT_FLAG: &str = "--password";
const FILE_VARIABLE: &str = "WEAVE_PASSWORD_FILE";
const TEXT_VARIABLE: &str = "WEAVE_PASSWORD";

/// Two passwords and their line ends.
const TEXT_BYTES_MAX: usize = 2 * (PasswordKey::PASSWORD_BYTES_MAX + 2);

#[cfg(test)]
mod tests;
