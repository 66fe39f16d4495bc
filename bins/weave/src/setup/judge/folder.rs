//! The state folder: whose it is, whose it was, and whether there is room.

use super::{Check, NEEDS_ROOT, missing, named, note, ok};
use crate::setup::facts::{Content, Facts, Folder, Rights};

pub(super) fn state_folder(facts: &Facts) -> Check {
    const NAME: &str = "state";
    let path = facts.state.path.display();
    let folder = match &facts.state.content {
        Content::Nothing => return ok(NAME, format!("{path} is not there yet, and will be made")),
        Content::NoFolder => {
            return missing(
                NAME,
                format!("{path} is no folder"),
                format!("mv {path} {path}.old"),
            );
        }
        Content::Closed(why) if facts.rights != Rights::Root => {
            return note(NAME, format!("{path}: {why}; {NEEDS_ROOT}"));
        }
        Content::Closed(why) => {
            return missing(
                NAME,
                format!("{path} can't be read: {why}"),
                format!("chown root {path} && chmod 700 {path}"),
            );
        }
        Content::Folder(folder) => folder,
    };
    if folder.owner != 0 {
        return missing(
            NAME,
            format!("{path} belongs to user {}", folder.owner),
            format!("chown -R root {path}"),
        );
    }
    if folder.mode & 0o022 != 0 {
        return missing(
            NAME,
            format!("{path} may be changed by others (mode {:03o})", folder.mode),
            format!("chmod 700 {path}"),
        );
    }
    if !folder.exposed.is_empty() {
        let files: Vec<String> = folder
            .exposed
            .iter()
            .map(|name| format!("{path}/{name}"))
            .collect();
        let files = files.join(" ");
        return missing(
            NAME,
            format!("others may read {files}: if they have, a new identity or password is due"),
            format!("chmod 600 {files}"),
        );
    }
    if let Some(program) = &folder.held_by {
        return missing(
            NAME,
            format!(
                "{} uses {path} and does not answer at this socket: two routers can't share a folder",
                named(program)
            ),
            format!(
                "kill {}, or name its socket (--control) or another folder (--state-dir)",
                program.pid
            ),
        );
    }
    ok(NAME, format!("{path}, mode {:03o}", folder.mode))
}

/// A copied state folder makes two routers with one identity.
pub(super) fn identity(facts: &Facts) -> Check {
    const NAME: &str = "identity";
    let path = facts.state.path.display();
    let Content::Folder(Folder {
        identity,
        former_identity,
        same_machine,
        ..
    }) = &facts.state.content
    else {
        return ok(NAME, "made at the first start");
    };
    match (identity, same_machine) {
        (false, _) => ok(NAME, "made at the first start"),
        (true, Some(false)) => note(
            NAME,
            format!(
                "{path} was made on another machine: if that one runs weave too, the two have one identity, and the \
                 later takes a new one; if this is the copy, delete it before launch"
            ),
        )
        .with(format!("weave stop; rm -r {path}")),
        (true, _) if *former_identity => note(
            NAME,
            format!(
                "another router had this one's, so it took a new one; the former is kept in {path}/identity.bak"
            ),
        ),
        (true, Some(true)) => ok(NAME, "made on this machine"),
        (true, None) => ok(
            NAME,
            "there; on which machine it was made is not known, and routers notice copies within seconds",
        ),
    }
}

/// Room for the state folder's files and the router's image.
const DISK_BYTES_MIN: u64 = 32 << 20;
/// Each write makes a file beside the old one.
const DISK_FILES_MIN: u64 = 64;

pub(super) fn disk(facts: &Facts) -> Check {
    let path = facts.state.path.display();
    let disk = facts.disk;
    if disk.read_only {
        return missing(
            "disk",
            format!("{path} is on a disk that can only be read"),
            "weave launch --state-dir DIR, with a folder on one that can be written, or mount -o remount,rw",
        );
    }
    if disk.free_files.is_some_and(|files| files < DISK_FILES_MIN) {
        return missing(
            "disk",
            format!("the disk of {path} takes no more files"),
            format!("df -i {path}"),
        );
    }
    match disk.free_bytes {
        Some(bytes) if bytes < DISK_BYTES_MIN => missing(
            "disk",
            format!(
                "{} MB are free for {path} and the router's image takes {} MB",
                bytes >> 20,
                DISK_BYTES_MIN >> 20
            ),
            format!("df -h {path}; docker image prune"),
        ),
        Some(bytes) => ok("disk", format!("{} MB free", bytes >> 20)),
        None => note("disk", format!("how much is free for {path} can't be told")),
    }
}
