//! Where all hosts of a run live: mounts that only this process and its children see, with the files of every host in
//! memory. The kernel takes them back when the last of these processes ends.
//!
//! Control groups are the one thing that outlives its processes. They bear this process's number, and the next run
//! removes those of a run that was killed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, unshare};

/// What all hosts share: the tool under test, and the content of the containers' image.
pub(super) struct Room(());

impl Room {
    /// Moves this process into mounts of its own, and makes the folder; nothing at all without root, where no test runs.
    ///
    /// Call it while the process has one thread.
    pub(super) fn enter() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return None;
        }
        sweep();
        run("mount", &["--make-rprivate", "/"]);
        // Names of namespaces are files and mounts here.
        fs::create_dir_all("/run/netns").unwrap();
        run("mount", &["-t", "tmpfs", "weave-test", "/run/netns"]);
        let folder = folder();
        fs::create_dir_all(&folder).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "weave-test", &folder.display().to_string()],
        );
        Some(Self(()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let folder = folder();
        run("umount", &["--lazy", &folder.display().to_string()]);
        let _ = fs::remove_dir(&folder);
    }
}

/// Begins the name of everything that outlives a killed run: this process's own.
pub(super) fn prefix() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// The folder that holds all of a run's files.
pub(super) fn folder() -> PathBuf {
    env::temp_dir().join(prefix())
}

/// A folder with the tool under test, as it would be installed.
pub(super) fn tool_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let bin = folder().join("bin");
        fs::create_dir(&bin).unwrap();
        let tool = bin.join("weave");
        fs::copy(env!("CARGO_BIN_EXE_weave"), &tool).unwrap();
        if cfg!(debug_assertions) {
            // Of a build for tests, debug information would be most of the image that it makes of itself.
            run("strip", &[&tool.display().to_string()]);
        }
        bin
    })
}

/// A tar file with busybox, a link to it for each of its commands, and `idle`, which does nothing until it is told to
/// stop: the content of the image `bb`.
pub(super) fn busybox_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let tar = folder().join("bb.tar");
        let bin = folder().join("bb/bin");
        fs::create_dir_all(&bin).unwrap();
        let busybox = program("busybox");
        fs::copy(&busybox, bin.join("busybox")).unwrap();
        let applets = Command::new(&busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines() {
            if applet != "busybox" {
                std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
            }
        }
        let idle = bin.join("idle");
        fs::write(&idle, IDLE).unwrap();
        fs::set_permissions(&idle, fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder().join("bb").display().to_string();
        run(
            "tar",
            &["-C", &root, "-cf", &tar.display().to_string(), "."],
        );
        tar
    })
}

/// The files that no test can do without.
pub(super) fn needed() -> Vec<String> {
    let mut files = vec!["/dev/net/tun".to_owned()];
    files.extend(
        [
            "dockerd", "docker", "podman", "busybox", "iptables", "nsenter",
        ]
        .map(program),
    );
    files
}

/// Where a program is; just its name if it is nowhere.
fn program(name: &str) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.exists())
        .map_or_else(|| name.to_owned(), |file| file.display().to_string())
}

/// Control groups whose name begins so, those inside them too, innermost first.
pub(crate) fn cgroups(prefix: &str) -> Vec<PathBuf> {
    /// A hierarchy of version 1 has a folder of its own, the one of version 2 may have none.
    fn named(folder: &Path, prefix: &str, depth: u32, found: &mut Vec<PathBuf>) {
        for folder in folders(folder) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(prefix) {
                inside(&folder, found);
            } else if depth > 0 {
                named(&folder, prefix, depth - 1, found);
            }
        }
    }
    fn inside(folder: &Path, found: &mut Vec<PathBuf>) {
        for folder in folders(folder) {
            inside(&folder, found);
        }
        found.push(folder.to_owned());
    }
    let mut found = Vec::new();
    named(Path::new("/sys/fs/cgroup"), prefix, 1, &mut found);
    found
}

/// Removes the control groups of what runs no more.
pub(super) fn remove_cgroups(prefix: &str) {
    for folder in cgroups(prefix) {
        let _ = fs::remove_dir(folder);
    }
}

/// Removes what runs that were killed have left: control groups, and empty folders.
pub(crate) fn sweep() {
    let orphan = |name: &str| {
        let pid = name.strip_prefix(PREFIX)?.split('-').next()?;
        let pid: u32 = pid.parse().ok()?;
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    for folder in cgroups(PREFIX) {
        if folder
            .iter()
            .any(|part| orphan(&part.to_string_lossy()).is_some())
        {
            let _ = fs::remove_dir(folder);
        }
    }
    for folder in folders(&env::temp_dir()) {
        if orphan(&folder.file_name().unwrap_or_default().to_string_lossy()).is_some() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What is left of this run's hosts: processes, mounts, namespaces, control groups.
pub(super) fn left_behind() -> Vec<String> {
    let prefix = format!("{}-", prefix());
    let mut left = processes_of(&prefix);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&prefix))
            .map(str::to_owned),
    );
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    left.extend(
        names
            .map(|entry| entry.path().display().to_string())
            .filter(|name| name.contains(&prefix)),
    );
    left.extend(
        cgroups(&prefix)
            .iter()
            .map(|path| path.display().to_string()),
    );
    left
}

/// Processes of hosts whose names begin so: they have it in their environment, or a container's in their control group.
pub(crate) fn processes_of(prefix: &str) -> Vec<String> {
    let marker = format!("{HOST_VARIABLE}={prefix}").into_bytes();
    let mut found = Vec::new();
    for process in folders(Path::new("/proc")) {
        let read = |file: &str| fs::read(process.join(file)).unwrap_or_default();
        let environment = read("environ");
        let is_marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable.starts_with(&marker));
        let is_contained = String::from_utf8_lossy(&read("cgroup")).contains(&format!("/{prefix}"));
        if is_marked || is_contained {
            let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            found.push(format!("{} {command}", process.display()));
        }
    }
    found
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The first process of a container is stopped by no signal that it does not handle, and engines wait ten seconds then.
const IDLE: &str = "#!/bin/sh\ntrap exit TERM\nsleep 100000 &\nwait\n";
/// Begins the name of everything that outlives a killed run.
const PREFIX: &str = "wve";
/// In the environment of each process of a host: the host's name, with the prefix.
pub(super) const HOST_VARIABLE: &str = "ENGINES_HOST";
