//! The copy of this program that containers are given as their entry point.
//!
//! It lies in the state folder, under one name for all containers and all releases, and not where the program is
//! installed: a bind mount is made anew at each start of the container, and a tool that was moved, or run from a folder
//! of downloads, must not keep containers from starting. Each command that needs it puts its own copy there; what runs
//! keeps the old file, what starts later has the new one, for which the command line of
//! [`wait`](crate::wait::arguments) stays as it is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use weave_router::{Failure, words};

/// The copy's name in the state folder.
pub(crate) const FILE: &str = "weave-wait";

/// The state folder by its whole path (the engine has no idea of the folder that this command runs in), made if it is
/// not there.
///
/// # Errors
/// When it can't be made.
pub(crate) fn folder(state_dir: &Path) -> Result<PathBuf, Failure> {
    let mut make = DirBuilder::new();
    let made = make.recursive(true).mode(0o700).create(state_dir);
    made.and_then(|()| fs::canonicalize(state_dir))
        .map_err(|error| {
            let what = format!("cannot make the state folder {}", state_dir.display());
            Failure::new(what, words(&error), "--state-dir names another")
        })
}

/// Makes sure that the copy is in this folder and of this release, and says where.
///
/// # Errors
/// When it can't be written.
pub(crate) fn put(folder: &Path) -> Result<PathBuf, Failure> {
    put_in(folder, Path::new("/proc/self/exe")).map_err(|error| {
        let what = format!("cannot copy this program to {}", folder.display());
        Failure::new(what, words(&error), "'weave run --no-wait' does without")
    })
}

fn put_in(folder: &Path, program: &Path) -> io::Result<PathBuf> {
    let copy = folder.join(FILE);
    let mut source = File::open(program)?;
    let metadata = source.metadata()?;
    let (bytes, modified) = (metadata.len(), metadata.modified()?);
    if fs::metadata(&copy).is_ok_and(|there| {
        there.is_file() && there.len() == bytes && there.modified().is_ok_and(|at| at == modified)
    }) {
        return Ok(copy);
    }
    // Whole or not at all, and at once: others may be starting containers with it.
    let partial = folder.join(format!("{FILE}.{}", std::process::id()));
    let mut written = || -> io::Result<()> {
        let mut target = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(&partial)?;
        io::copy(&mut source, &mut target)?;
        // Readable for the container's user, whatever the umask says here.
        target.set_permissions(Permissions::from_mode(0o755))?;
        target.set_modified(modified)?;
        target.sync_all()?;
        fs::rename(&partial, &copy)
    };
    let outcome = written();
    if outcome.is_err() {
        let _ = fs::remove_file(&partial);
    }
    outcome.map(|()| copy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_copy_is_put_once_and_again_when_the_program_is_another() {
        let folder = std::env::temp_dir().join(format!("weave-program-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        fs::write(&program, "one").unwrap();

        let copy = put_in(&folder, &program).unwrap();
        let first = fs::metadata(&copy).unwrap();
        assert_eq!(first.permissions().mode() & 0o777, 0o755);
        put_in(&folder, &program).unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().ino(), first.ino());

        fs::write(&program, "another").unwrap();
        let held = File::open(&copy).unwrap();
        assert_eq!(put_in(&folder, &program).unwrap(), copy);
        assert_eq!(fs::read(&copy).unwrap(), b"another");
        // Who has the old one keeps it.
        assert_eq!(held.metadata().unwrap().len(), 3);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);

        fs::remove_file(&copy).unwrap();
        fs::create_dir(&copy).unwrap();
        put_in(&folder, &program).unwrap_err();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }
}
