use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use super::*;

/// A folder below the system's for temporary files, gone with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weave-ledger-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, text: &str) {
        fs::write(self.0.join(FILE), text).unwrap();
    }

    fn refused(&self) -> String {
        let said = Ledger::lock(&self.0).unwrap_err().to_string();
        assert_eq!(Ledger::peek(&self.0).unwrap_err().to_string(), said);
        said.replace(&self.0.display().to_string(), "STATE")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entries() -> Entries {
    Entries {
        bridge: Some("weave".to_owned()),
        made_bridge: true,
        launched: Some(Launched {
            engine: Some(EngineKind::Docker),
            args: vec!["--port".to_owned(), "7000".to_owned()],
        }),
        attachments: vec![
            Attachment {
                of: Subject::Container {
                    engine: EngineKind::Podman,
                    id: "0123".to_owned(),
                    name: "c1".to_owned(),
                },
                mac: "02:00:00:00:00:01".to_owned(),
                addresses: vec!["10.0.1.1/24".to_owned(), "fd00::1/64".to_owned()],
            },
            Attachment {
                of: Subject::Namespace {
                    path: "/run/netns/a".into(),
                },
                mac: "02:00:00:00:00:02".to_owned(),
                addresses: Vec::new(),
            },
            Attachment {
                of: Subject::Process {
                    pid: 7,
                    started: "boot 12".to_owned(),
                },
                mac: "02:00:00:00:00:03".to_owned(),
                addresses: Vec::new(),
            },
        ],
        exposed: vec!["10.0.1.100/24".to_owned()],
        settings: vec![Setting {
            key: "ipv4/ip_forward".to_owned(),
            before: "0".to_owned(),
            set: "1".to_owned(),
        }],
    }
}

#[test]
fn what_is_saved_is_read_and_is_the_owners_alone() {
    let folder = Folder::new();
    let mut ledger = Ledger::lock(&folder.0).unwrap();
    assert_eq!(ledger.entries, Entries::default());
    ledger.entries = entries();
    ledger.save().unwrap();
    drop(ledger);
    assert_eq!(Ledger::peek(&folder.0).unwrap(), entries());
    let mut ledger = Ledger::lock(&folder.0).unwrap();
    assert_eq!(ledger.entries, entries());
    let mode = fs::metadata(folder.0.join(FILE)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!folder.0.join("host.json.new").exists());
    ledger.entries = Entries::default();
    ledger.save().unwrap();
    ledger.save().unwrap();
    drop(ledger);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn a_command_that_does_nothing_leaves_nothing() {
    let folder = Folder::new();
    let state = folder.0.join("lib/weave");
    let ledger = Ledger::lock(&state).unwrap();
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    drop(ledger);
    assert!(!state.exists());
    let mut ledger = Ledger::lock(&state).unwrap();
    ledger.entries = entries();
    ledger.save().unwrap();
    drop(ledger);
    assert!(state.join(FILE).exists());
}

#[test]
fn what_was_there_before_a_failure_is_put_back() {
    let folder = Folder::new();
    let mut ledger = Ledger::lock(&folder.0).unwrap();
    ledger.entries = entries();
    ledger.save().unwrap();
    ledger.put_back(Entries::default());
    assert_eq!(Ledger::peek(&folder.0).unwrap(), Entries::default());
}

#[test]
fn one_command_at_a_time_holds_it() {
    let folder = Folder::new();
    let (done, all_done) = mpsc::channel();
    let state = folder.0.join("state");
    fs::create_dir(&state).unwrap();
    for n in 0..8 {
        let (state, done) = (state.clone(), done.clone());
        std::thread::spawn(move || {
            for _ in 0..10 {
                let mut ledger = Ledger::lock(&state).unwrap();
                let entries = ledger.entries.clone();
                ledger.entries.exposed.push(format!("10.0.0.{n}/24"));
                ledger.save().unwrap();
                assert_eq!(entries, Entries::default(), "another's is seen");
                // And with it the file, and the one that is locked.
                ledger.put_back(entries);
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..8 {
        all_done
            .recv_timeout(Duration::from_secs(60))
            .expect("nobody waits for ever");
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    for (text, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("[]", "it does not say its format"),
        ("{}", "it does not say its format"),
        (r#"{"version":0}"#, "it does not say its format"),
        (
            r#"{"version":1,"made_bridge":3}"#,
            "invalid type: integer `3`, expected a boolean",
        ),
        (
            r#"{"version":1,"exposed":["10.0.0.1"]}"#,
            "\"10.0.0.1\" lacks its prefix length, as in 10.2.1.1/24",
        ),
        (
            r#"{"version":1,"attachments":[{"of":{"kind":"process","pid":1,"started":""},"mac":"02:0:0:0:0:1","addresses":[]}]}"#,
            "\"02:0:0:0:0:1\" is no MAC address",
        ),
    ] {
        folder.write(text);
        assert_eq!(
            folder.refused(),
            format!(
                "cannot read STATE/host.json: it is damaged ({why}); mend it, or move it away and attach the \
                 containers again"
            )
        );
        assert_eq!(fs::read_to_string(folder.0.join(FILE)).unwrap(), text);
    }
}

#[test]
fn a_newer_file_is_refused() {
    let folder = Folder::new();
    folder.write(r#"{"version":2,"anything":true}"#);
    assert_eq!(
        folder.refused(),
        "cannot read STATE/host.json: it is of a newer weave (format 2, this one knows 1); use that version of weave"
    );
}

#[test]
fn every_prefix_and_bit_flip_of_a_file_is_harmless() {
    let folder = Folder::new();
    let mut ledger = Ledger::lock(&folder.0).unwrap();
    ledger.entries = entries();
    let text = ledger.text().unwrap();
    assert_eq!(understood(&text).map(|(entries, _)| entries), Ok(entries()));
    for end in 0..text.len() - 1 {
        let _ = understood(&text[..end]).unwrap_err();
    }
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = understood(&flipped);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = Folder::new();
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let said = Ledger::lock(&file.join("state")).unwrap_err().to_string();
    let expected = format!("cannot use the state folder {}/state: ", file.display());
    assert!(said.starts_with(&expected), "{said}");
    assert!(
        said.ends_with("; name another one with --state-dir"),
        "{said}"
    );
}

#[test]
fn ethernet_addresses_are_read_as_they_are_written() {
    let mac = [0x02, 0xab, 0, 1, 0xff, 9];
    assert_eq!(mac_text(mac), "02:ab:00:01:ff:09");
    assert_eq!(parse_mac(&mac_text(mac)), Some(mac));
    for text in [
        "",
        "02:ab:00:01:ff",
        "02:ab:00:01:ff:09:01",
        "02:ab:00:01:ff:+9",
        "2:ab:00:01:ff:09",
    ] {
        assert_eq!(parse_mac(text), None, "{text}");
    }
}
