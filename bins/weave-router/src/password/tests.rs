use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

use super::*;

#[test]
fn a_file_holds_one_password_a_line_and_a_last_line_end_is_no_part_of_it() {
    for (text, wanted) in [
        ("a", &["a"][..]),
        ("a\n", &["a"]),
        ("a\r\n", &["a"]),
        (" a b \n", &[" a b "]),
        ("new\nold\n", &["new", "old"]),
        ("new\r\nold", &["new", "old"]),
    ] {
        let lines = Secret::lines(text).unwrap();
        let lines: Vec<&str> = lines.iter().map(Secret::text).collect();
        assert_eq!(lines, wanted, "{text:?}");
    }
    for (text, wanted) in [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("\r\n", "it is empty"),
        ("a\n\n", "one of its lines is empty"),
        ("\na", "one of its lines is empty"),
        ("a\nb\nc", "it has 3 lines"),
    ] {
        let why = Secret::lines(text).unwrap_err();
        assert!(why.starts_with(wanted), "{text:?}: {why}");
    }
    assert!(Secret::line("a\nb").unwrap_err().contains("two lines"));
}

#[test]
fn flags_come_before_variables_and_two_of_a_kind_are_refused() {
    let nothing = |_: &str| None;
    let both = |name: &str| Some(OsString::from(format!("of {name}")));
    let only = |wanted: &'static str| move |name: &str| (name == wanted).then(|| "it".into());
    let file = |path: &str, by| Source::File {
        path: path.into(),
        by,
    };

    let given = |flags: &[&str], variable: &dyn Fn(&str) -> Option<OsString>| {
        Source::given(&options(flags), variable)
    };
    let (source, secret) = given(&["--password-file", "f"], &both).unwrap();
    assert_eq!((source, secret), (file("f", FILE_FLAG), None));
    let (source, secret) = given(&["--password", "p"], &both).unwrap();
    assert_eq!(source, Source::Text { by: TEXT_FLAG });
    assert_eq!(secret, Some(Secret::new("p")));
    let (source, _) = given(&[], &only(FILE_VARIABLE)).unwrap();
    assert_eq!(source, file("it", FILE_VARIABLE));
    let (source, secret) = given(&[], &only(TEXT_VARIABLE)).unwrap();
    assert_eq!(source, Source::Text { by: TEXT_VARIABLE });
    assert_eq!(secret, Some(Secret::new("it")));
    assert_eq!(given(&[], &nothing).unwrap(), (Source::State, None));
    let line = given(&[], &both).unwrap_err().to_string();
    assert!(line.contains("both set"), "{line}");
    let twice = [
        "weave-router",
        "--password",
        "hunter2",
        "--password-file",
        "f",
    ];
    let error = Options::try_parse_from(twice).unwrap_err().to_string();
    assert!(error.contains("cannot be used with"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn a_password_is_in_no_description_of_the_options() {
    let options = options(&["--password", "hunter2"]);
    assert!(!format!("{options:?}").contains("hunter2"), "{options:?}");
    let json = serde_json::to_string(&options).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
}

#[test]
fn a_file_that_others_may_read_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let path = folder.0.join("password");
    fs::write(&path, "correct horse\n").unwrap();
    for mode in [0o644, 0o640, 0o602, 0o604] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let line = read_file(&path).unwrap_err().to_string();
        assert!(line.contains("others may read or change it"), "{line}");
        assert!(
            line.contains(&format!("chmod 600 {}", path.display())),
            "{line}"
        );
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read_file(&path).unwrap(), [Secret::new("correct horse")]);
    }
    let missing = folder.0.join("nothing");
    let line = read_file(&missing).unwrap_err().to_string();
    assert!(line.contains("no such file"), "{line}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
    let line = read_file(&path).unwrap_err().to_string();
    assert!(line.contains("longer than two"), "{line}");
    fs::write(&path, b"\xff\xfe").unwrap();
    let line = read_file(&path).unwrap_err().to_string();
    assert!(line.contains("not text"), "{line}");
}

#[test]
fn a_password_that_could_be_guessed_is_known_by_its_length_and_kinds() {
    for weak in ["a", "hunter2", "correct", "123456789012", "Tr0ub4dor"] {
        assert!(Secret::new(weak).is_weak(), "{weak}");
    }
    for strong in [
        "correct horse battery",
        "xK9#mQ2$vL7!",
        "000000000000000000000000",
    ] {
        assert!(!Secret::new(strong).is_weak(), "{strong}");
    }
}

#[tokio::test]
async fn the_list_tells_how_many_since_when_and_what_the_next_start_needs() {
    let folder = Folder::new();
    let state = Arc::new(StateDir::open(&folder.0.join("state")).unwrap());
    let network = NetworkId::from_name("test");
    let key = |byte: u8| PasswordKey::from_bytes([byte; 32]);
    #[allow(clippy::disallowed_methods, reason = "a test's base instant")]
    let start = Instant::now();
    let listed = async |source: &Source, keys: &[PasswordKey]| {
        let door = Door::new(network, Arc::clone(&state), source.clone(), keys, start);
        let later = start + Duration::from_secs(7);
        serde_json::to_value(door.list(later).await).unwrap()
    };
    let none = listed(&Source::State, &[]).await;
    assert_eq!(none["passwords"], serde_json::json!([]));
    let open = "there is no password: whoever reaches the port can join";
    assert_eq!(none["next_start"], open);
    let file = Source::File {
        path: "/etc/weave/password".into(),
        by: FILE_FLAG,
    };
    let two = listed(&file, &[key(1), key(2)]).await;
    assert_eq!(two["passwords"][0]["rank"], "newest");
    assert_eq!(two["passwords"][1]["rank"], "older");
    assert_eq!(two["passwords"][1]["age_s"], 7);
    assert_eq!(two["passwords"][1]["from"], "/etc/weave/password");
    let again = "the next start reads /etc/weave/password (--password-file) again";
    assert_eq!(two["next_start"], again);
    // Two lines that are the same are one password.
    let one = listed(&file, &[key(1), key(1)]).await;
    assert_eq!(one["passwords"].as_array().unwrap().len(), 1);
}

#[test]
fn passwords_kept_are_found_at_the_next_start_and_only_if_none_is_given() {
    let folder = Folder::new();
    let state = StateDir::open(&folder.0.join("state")).unwrap();
    let network = NetworkId::from_name("test");
    let (source, keys) = at_start(&options(&[]), &state, network).unwrap();
    assert_eq!((source, keys), (Source::State, vec![]));
    state
        .store_passwords(&["new of them", "old of them"])
        .unwrap();
    let (source, keys) = at_start(&options(&[]), &state, network).unwrap();
    assert_eq!((source, keys.len()), (Source::State, 2));
    let new = Secret::new("new of them").stretch(network).unwrap();
    assert_eq!(keys[0], new);
    let given = options(&["--password", "another"]);
    let (source, keys) = at_start(&given, &state, network).unwrap();
    assert_eq!((source, keys.len()), (Source::Text { by: TEXT_FLAG }, 1));
    assert_ne!(keys[0], new);
    let path = state.passwords_path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let line = at_start(&options(&[]), &state, network)
        .unwrap_err()
        .to_string();
    assert!(line.contains("chmod 600"), "{line}");
}

fn options(flags: &[&str]) -> Options {
    let line = std::iter::once("weave-router").chain(flags.iter().copied());
    Options::try_parse_from(line).unwrap()
}

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weave-password-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
