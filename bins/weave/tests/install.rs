//! `scripts/release` and `install.sh`: what is in a release folder, and that it is installed whole or not at all.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "../../weave-router/tests/support/folder.rs"]
mod folder;

use folder::Folder;

#[test]
fn a_release_holds_everything_and_installs_into_a_folder_and_out_of_it() {
    let folder = Folder::new("release");
    let programs = folder.0.join("programs");
    fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_weave"), programs.join("weave")).unwrap();
    program(&programs.join("weave-router"), "exit 0");
    let made = Command::new(root().join("scripts/release"))
        .arg("--to")
        .arg(&folder.0)
        .arg("--programs")
        .arg(&programs)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let release = PathBuf::from(text(&made.stdout).lines().next().unwrap());
    let name = release.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with(concat!("weave-", env!("CARGO_PKG_VERSION"), "-")),
        "{name}"
    );
    let sums = fs::read_to_string(release.join("SHA256SUMS")).unwrap();
    for file in [
        "ARCH",
        "LICENSE",
        "bin/weave",
        "bin/weave-router",
        "completions/_weave",
        "completions/weave-router.fish",
        "completions/weave.bash",
        "image/weave.tar",
        "install.sh",
        "man/weave-launch.1",
        "man/weave-router.1",
        "man/weave-setup.1",
        "systemd/weave.service",
    ] {
        assert!(
            sums.contains(&format!("  {file}\n")),
            "{file} is not in\n{sums}"
        );
    }

    let dest = folder.0.join("dest");
    let output = install(&release, &dest, "/usr", &[]);
    assert!(output.status.success(), "{output:?}");
    let files = files(&dest);
    for (file, mode) in [
        ("usr/bin/weave", 0o755),
        ("usr/share/man/man1/weave-run.1", 0o644),
        ("usr/share/bash-completion/completions/weave", 0o644),
        ("usr/share/zsh/site-functions/_weave-router", 0o644),
        ("usr/share/fish/vendor_completions.d/weave.fish", 0o644),
        ("usr/share/doc/weave/LICENSE", 0o644),
        ("usr/lib/systemd/system/weave.service", 0o644),
    ] {
        assert_eq!(files.get(file).map(|found| found.0), Some(mode), "{file}");
    }
    let unit = &files["usr/lib/systemd/system/weave.service"].1;
    assert!(
        text(unit).contains("\nExecStart=/usr/bin/weave router"),
        "{}",
        text(unit)
    );

    let output = install(&release, &dest, "/usr", &["--uninstall"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(self::files(&dest), BTreeMap::new());
}

#[test]
fn a_damaged_release_is_refused_and_nothing_changes() {
    let folder = Folder::new("install-damaged");
    let release = small_release(&folder.0.join("release"), "old");
    let dest = folder.0.join("dest");
    assert!(install(&release, &dest, "/usr/local", &[]).status.success());
    let before = files(&dest);
    assert_eq!(
        text(&before["usr/local/bin/weave"].1),
        "#!/bin/sh\necho old\n"
    );

    let sums = release.join("SHA256SUMS");
    let listed = || fs::read_to_string(&sums).unwrap();
    let damages: [(&str, &dyn Fn(), &str); 6] = [
        (
            "a changed file",
            &|| program(&release.join("bin/weave"), "echo evil"),
            "checksums differ (bin/weave ",
        ),
        (
            "a missing file",
            &|| fs::remove_file(release.join("LICENSE")).unwrap(),
            "checksums differ (LICENSE ",
        ),
        ("no sums", &|| fs::write(&sums, "").unwrap(), "is empty"),
        (
            "noise",
            &|| fs::write(&sums, "x\n").unwrap(),
            "no list of checksums",
        ),
        (
            "a path that leads out",
            &|| fs::write(&sums, format!("{}{}  ../evil\n", listed(), "0".repeat(64))).unwrap(),
            "no list of checksums",
        ),
        (
            "no program",
            &|| {
                let listed = listed();
                let rest = listed
                    .lines()
                    .filter(|line| !line.contains("bin/weave-router"));
                let rest: String = rest.map(|line| format!("{line}\n")).collect();
                fs::write(&sums, rest).unwrap();
            },
            "does not list bin/weave-router",
        ),
    ];
    for (name, damage, wanted) in damages {
        let release = small_release(&release, "new");
        damage();
        let output = install(&release, &dest, "/usr/local", &[]);
        refused(&output, wanted, name);
        assert_eq!(files(&dest), before, "{name}");
    }
    // The sums are right, and not the ones that were asked for.
    let release = small_release(&release, "new");
    let output = install(&release, &dest, "/usr/local", &["--sum", &"0".repeat(64)]);
    refused(&output, "not the one that was asked for", "--sum");
    fs::write(release.join("ARCH"), "sparc\n").unwrap();
    sign(&release);
    let output = Command::new("sh")
        .arg(release.join("install.sh"))
        .env("PREFIX", &dest)
        .output()
        .unwrap();
    refused(&output, "this release is for sparc", "ARCH");
    assert_eq!(files(&dest), before);
}

#[test]
fn what_cannot_be_written_whole_is_not_written_at_all() {
    let folder = Folder::new("install-full");
    let release = small_release(&folder.0.join("release"), "new");
    let dest = folder.0.join("dest");
    // A file where a folder has to be: found when half of it is there.
    fs::create_dir_all(dest.join("usr/local/share")).unwrap();
    fs::write(dest.join("usr/local/share/man"), "mine").unwrap();
    let before = files(&dest);
    let output = install(&release, &dest, "/usr/local", &[]);
    refused(&output, "nothing is installed", "a file in the way");
    assert_eq!(files(&dest), before);

    let output = install(&release, &folder.0.join("dest2"), "relative", &[]);
    refused(&output, "not an absolute path", "PREFIX");
    let output = install(&release, &folder.0.join("dest 3"), "/usr", &[]);
    refused(&output, "letters, digits", "DESTDIR");
    let output = install(&release, &folder.0.join("dest4"), "/usr", &["--uninstall"]);
    refused(&output, "nothing is installed below", "--uninstall");
    let output = install(&release, &dest, "/usr", &["--frm", "x"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let folder = Folder::new("install-dry");
    let release = small_release(&folder.0.join("release"), "new");
    let dest = folder.0.join("dest");
    let output = install(&release, &dest, "/usr/local", &["--dry-run"]);
    assert!(output.status.success(), "{output:?}");
    let line = format!(
        "would install bin/weave as {}/usr/local/bin/weave (mode 755)\n",
        dest.display()
    );
    assert!(text(&output.stdout).contains(&line), "{output:?}");
    assert!(!dest.exists());

    assert!(install(&release, &dest, "/usr/local", &[]).status.success());
    let before = files(&dest);
    let output = install(&release, &dest, "/usr/local", &["--uninstall", "--dry-run"]);
    let line = format!("would remove {}/usr/local/bin/weave\n", dest.display());
    assert!(text(&output.stdout).contains(&line), "{output:?}");
    assert_eq!(files(&dest), before);
}

#[test]
fn a_newer_release_takes_the_place_of_the_older_from_a_url_too() {
    let folder = Folder::new("install-url");
    let old = small_release(&folder.0.join("old"), "old");
    fs::write(old.join("man/weave-gone.1"), "").unwrap();
    sign(&old);
    let dest = folder.0.join("dest");
    assert!(install(&old, &dest, "/usr/local", &[]).status.success());
    let gone = "usr/local/share/man/man1/weave-gone.1";
    assert!(files(&dest).contains_key(gone));
    // Somebody else's file beside them.
    fs::write(dest.join("usr/local/bin/other"), "").unwrap();

    let new = small_release(&folder.0.join("new"), "new");
    let url = format!("file://{}", new.display());
    let output = install(&old, &dest, "/usr/local", &["--from", &url]);
    assert!(output.status.success(), "{output:?}");
    let there = files(&dest);
    assert_eq!(
        text(&there["usr/local/bin/weave"].1),
        "#!/bin/sh\necho new\n"
    );
    assert!(!there.contains_key(gone), "what a release has no more goes");

    // A web server, as far as curl and wget tell: each once.
    for (name, output_flag) in [("curl", "--output"), ("wget", "-O")] {
        let programs = folder.0.join(name);
        fs::create_dir(&programs).unwrap();
        for tool in [
            "sh",
            "sed",
            "grep",
            "cat",
            "cp",
            "mv",
            "rm",
            "rmdir",
            "mkdir",
            "mktemp",
            "chmod",
            "dirname",
            "uname",
            "sha256sum",
            "tr",
            "tail",
            "id",
        ] {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {tool}")])
                .output()
                .unwrap();
            std::os::unix::fs::symlink(text(&found.stdout).trim(), programs.join(tool)).unwrap();
        }
        let script = format!(
            "while [ $# -gt 1 ]; do [ \"$1\" != {output_flag} ] || to=$2; shift; done\n\
             cp \"{}/${{1#https://example.org/weave/}}\" \"$to\"",
            new.display()
        );
        program(&programs.join(name), &script);
        let dest = folder.0.join(format!("dest-{name}"));
        let output = Command::new("sh")
            .arg(old.join("install.sh"))
            .args(["--from", "https://example.org/weave/"])
            .env("PATH", &programs)
            .env("DESTDIR", &dest)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            text(&files(&dest)["usr/local/bin/weave"].1),
            "#!/bin/sh\necho new\n"
        );
    }
    for (url, wanted) in [
        ("http://example.org", "--from takes https:// and file://"),
        (
            "file:///nonexistent",
            "cannot fetch file:///nonexistent/SHA256SUMS: ",
        ),
    ] {
        refused(
            &install(&old, &dest, "/usr/local", &["--from", url]),
            wanted,
            url,
        );
    }
    let output = install(&old, &dest, "/usr/local", &["--uninstall"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        files(&dest).keys().collect::<Vec<_>>(),
        ["usr/local/bin/other"]
    );
}

/// A release folder of small files, whose tool prints `says`.
fn small_release(folder: &Path, says: &str) -> PathBuf {
    let _ = fs::remove_dir_all(folder);
    for below in ["bin", "man", "completions", "systemd"] {
        fs::create_dir_all(folder.join(below)).unwrap();
    }
    program(&folder.join("bin/weave"), &format!("echo {says}"));
    program(&folder.join("bin/weave-router"), "exit 0");
    fs::write(folder.join("man/weave.1"), ".TH weave 1\n").unwrap();
    fs::write(folder.join("completions/weave.bash"), "").unwrap();
    fs::write(
        folder.join("systemd/weave.service"),
        "ExecStart=/usr/local/bin/weave router\n",
    )
    .unwrap();
    fs::write(folder.join("LICENSE"), "").unwrap();
    let machine = Command::new("uname").arg("-m").output().unwrap();
    fs::write(folder.join("ARCH"), machine.stdout).unwrap();
    fs::copy(root().join("install.sh"), folder.join("install.sh")).unwrap();
    sign(folder);
    folder.to_owned()
}

/// Writes the folder's checksums.
fn sign(folder: &Path) {
    let _ = fs::remove_file(folder.join("SHA256SUMS"));
    let names: Vec<String> = files(folder).into_keys().collect();
    let sums = Command::new("sha256sum")
        .args(names)
        .current_dir(folder)
        .output()
        .unwrap();
    fs::write(folder.join("SHA256SUMS"), sums.stdout).unwrap();
}

fn install(release: &Path, dest: &Path, prefix: &str, args: &[&str]) -> Output {
    Command::new("sh")
        .arg(release.join("install.sh"))
        .args(args)
        .env("DESTDIR", dest)
        .env("PREFIX", prefix)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn refused(output: &Output, wanted: &str, name: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
    assert!(
        said.contains("install.sh: ") && said.contains(wanted),
        "{name}: {said}"
    );
}

/// Every file below a folder, its mode and content.
fn files(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(place) = waiting.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.insert(name, (mode, fs::read(&path).unwrap()));
        }
    }
    found
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
