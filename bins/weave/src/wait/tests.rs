use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_name_is_looked_up_as_docker_does() {
    let folder = Folder::new("lookup");
    let (first, second) = (folder.0.join("first"), folder.0.join("second"));
    fs::create_dir_all(first.join("prog")).unwrap(); // a folder is no program
    file(&first.join("data"), 0o644);
    file(&second.join("prog"), 0o755);
    let path = format!("{}:/nowhere:{}", first.display(), second.display());
    let path = Some(OsStr::new(&path));

    assert_eq!(look_up("prog".as_ref(), path).unwrap(), second.join("prog"));
    for (name, path) in [("data", path), ("none", path), ("prog", None)] {
        let (step, why) = look_up(name.as_ref(), path).unwrap_err();
        assert_eq!(step, Step::Missing, "{name}");
        assert!(why.starts_with("it is not in PATH ("), "{why}");
    }

    let found = |file: PathBuf| look_up(file.as_os_str(), path).map_err(|(step, _)| step);
    assert_eq!(found(second.join("prog")), Ok(second.join("prog")));
    assert_eq!(found(second.join("none")), Err(Step::Missing));
    assert_eq!(found(second.join("prog/none")), Err(Step::Missing));
    assert_eq!(found(first.join("prog")), Err(Step::Denied));
    assert_eq!(found(first.join("data")), Err(Step::Denied));
}

#[test]
fn signals_that_ask_to_end_do_and_others_do_not() {
    let code = |signal: i32, terminal| exit_code(signal.unsigned_abs(), terminal);
    assert_eq!(code(libc::SIGTERM, true), Some(143));
    assert_eq!(code(libc::SIGINT, true), Some(130));
    // A stop signal of systemd's: SIGRTMIN + 3.
    assert_eq!(code(37, false), Some(165));
    assert_eq!(code(libc::SIGWINCH, true), None);
    assert_eq!(code(libc::SIGWINCH, false), Some(156));
    assert_eq!(code(libc::SIGCHLD, false), None);
    assert_eq!(code(libc::SIGCONT, false), None);
}

#[test]
fn the_host_reads_the_step_from_the_process_name() {
    for step in Step::ALL {
        let name = step.process_name().to_bytes();
        assert!(name.len() <= 15, "{name:?}");
        assert_eq!(Step::of(name), Some(step));
        assert_eq!(Step::of(&[name, b"\n"].concat()), Some(step));
    }
    assert_eq!(Step::of(b".weave-wait\n"), None);
    assert_eq!(step(std::process::id()), None);
}

#[test]
fn the_waiting_is_put_before_a_command_and_taken_off_again() {
    let command = ["sh", "-c", "true"].map(String::from);
    let whole: Vec<String> = std::iter::once(OsString::from(ENTRY))
        .chain(arguments(&command))
        .map(|word| word.into_string().unwrap())
        .collect();
    assert_eq!(without(&whole), command);
    assert_eq!(without(&command), command);
    assert_eq!(without(&whole[..3]), &whole[..3]);

    let cli = WaitCli::try_parse_from(whole).unwrap_err();
    assert_eq!(cli.kind(), clap::error::ErrorKind::UnknownArgument);
    let words = std::iter::once("weave wait".into()).chain(arguments(&command).skip(1));
    let cli = WaitCli::try_parse_from(words).unwrap();
    assert_eq!(cli.command, command.map(OsString::from));
    assert_eq!(cli.seconds, 120);
}

#[test]
fn the_network_is_there_when_the_alias_is() {
    let folder = Folder::new("alias");
    // Not held for real: the test's own signals stay as they are.
    let signals = Signals {
        held: SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_NONBLOCK).unwrap(),
        before: SigSet::thread_get_mask().unwrap(),
    };
    let look = || network(&signals, &folder.0, Duration::from_millis(30)).is_ok();
    assert!(!look());
    fs::create_dir_all(folder.0.join("lo")).unwrap();
    fs::create_dir_all(folder.0.join(DEVICE)).unwrap();
    assert!(!look());
    let alias = folder.0.join(DEVICE).join("ifalias");
    fs::write(&alias, "").unwrap();
    assert!(!look());
    fs::write(&alias, "weave\n").unwrap();
    assert!(look());
}

fn file(path: &Path, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weave-wait-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
