//! The password on its way to the router: by a file in the state folder that only root can read, never by arguments or
//! environment, which `docker inspect` and the process list show.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use weave_router::{Failure, Secret, read_file, words};
use zeroize::Zeroizing;

use super::LaunchArgs;
use crate::ledger::warn;
use crate::undo::Undo;

/// The passwords that were given, one or two; none where none was.
///
/// # Errors
/// Two places have one, or what is there cannot be one.
pub(super) fn given(args: &LaunchArgs) -> Result<Vec<Secret>, Failure> {
    let unusable = |place: &str, why: String| {
        let remedy = "weave genkey prints one; it is the same on all hosts";
        Failure::usage(format!("cannot use the password of {place}"), why, remedy)
    };
    if let Some(path) = &args.password_file {
        return read_file(path);
    }
    if let Some(secret) = &args.password {
        let secret = Secret::line(secret.text()).map_err(|why| unusable("--password", why))?;
        warn(
            "--password: whoever is on this host sees it in the process list while this command runs; \
             --password-file keeps it",
        );
        return Ok(vec![secret]);
    }
    match (env::var_os(FILE_VARIABLE), env::var_os(TEXT_VARIABLE)) {
        (Some(_), Some(_)) => Err(Failure::usage(
            format!("{FILE_VARIABLE} and {TEXT_VARIABLE} are both set"),
            "only one of them can hold the password",
            format!("unset {TEXT_VARIABLE}"),
        )),
        (Some(path), None) => read_file(Path::new(&path)),
        (None, Some(text)) => {
            let bytes = Zeroizing::new(text.into_encoded_bytes());
            let text = str::from_utf8(&bytes)
                .map_err(|_| unusable(TEXT_VARIABLE, "it is not text".to_owned()))?;
            let secret = Secret::line(text).map_err(|why| unusable(TEXT_VARIABLE, why))?;
            Ok(vec![secret])
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Writes the file of the state folder, and gives its path; without a password, removes the one of an earlier launch.
///
/// # Errors
/// When it can't be written.
pub(super) fn keep(
    state_dir: &Path,
    secrets: &[Secret],
    undo: &mut Undo<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let path = state_dir.join(FILE);
    let cannot = |error: io::Error| {
        Failure::new(
            format!("cannot write {}", path.display()),
            words(&error),
            "",
        )
    };
    let before = match fs::read(&path) {
        Ok(bytes) => Some(Zeroizing::new(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(error)),
    };
    let text = (!secrets.is_empty()).then(|| {
        let mut text = Zeroizing::new(String::with_capacity(TEXT_BYTES));
        for secret in secrets {
            text.push_str(secret.text());
            text.push('\n');
        }
        text
    });
    let after = text.as_ref().map(|text| text.as_bytes());
    if after.is_none() && before.is_none() {
        return Ok(None);
    }
    put(&path, after).map_err(cannot)?;
    if after.is_none() {
        warn(
            "no password was given: that of the last launch is forgotten, and anyone who reaches the port can join",
        );
    }
    let place = path.clone();
    undo.push(async move {
        put(&place, before.as_ref().map(|bytes| bytes.as_slice())).map_err(|error| {
            Failure::new(
                format!("cannot put {} back", place.display()),
                words(&error),
                "",
            )
        })
    });
    Ok(after.is_some().then_some(path))
}

/// Makes the file hold this, whole, or not be there.
fn put(path: &Path, content: Option<&[u8]>) -> io::Result<()> {
    let Some(content) = content else {
        return fs::remove_file(path);
    };
    let hidden = path.with_extension("new");
    let _ = fs::remove_file(&hidden);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&hidden)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written
        .and_then(|()| fs::rename(&hidden, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&hidden);
        })
}

/// The file's name in the state folder.
pub(crate) const FILE: &str = "password";
const FILE_VARIABLE: &str = "WEAVE_PASSWORD_FILE";
const TEXT_VARIABLE: &str = "WEAVE_PASSWORD";
/// Two passwords of words; longer ones grow it.
const TEXT_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_file_is_roots_alone_and_what_stood_there_comes_back() {
        let folder = env::temp_dir().join(format!("weave-password-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join(FILE);
        let (one, two) = (Secret::new("one"), Secret::new("two"));

        let mut undo = Undo::new();
        assert_eq!(keep(&folder, &[], &mut undo).unwrap(), None);
        assert_eq!(
            keep(&folder, &[one], &mut undo).unwrap().as_ref(),
            Some(&path)
        );
        undo.keep();
        assert_eq!(fs::read(&path).unwrap(), b"one\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let mut undo = Undo::new();
        keep(&folder, &[two.clone(), Secret::new("old")], &mut undo).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\nold\n");
        undo.back().await;
        assert_eq!(fs::read(&path).unwrap(), b"one\n");

        // A launch without a password joins a network without one.
        let mut undo = Undo::new();
        assert_eq!(keep(&folder, &[], &mut undo).unwrap(), None);
        assert!(!path.exists());
        undo.back().await;
        assert_eq!(fs::read(&path).unwrap(), b"one\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
