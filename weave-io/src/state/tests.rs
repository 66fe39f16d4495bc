use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn an_identity_that_is_renewed_is_kept_aside_for_its_owner_alone() {
    let folder = Folder::new();
    let state = StateDir::open(&folder.0).unwrap();
    let former = state.identity().unwrap().peer_id();
    let renewed = state.renew_identity().unwrap().peer_id();
    assert_ne!(renewed, former);
    assert_eq!(state.identity().unwrap().peer_id(), renewed);
    let aside = fs::read_to_string(folder.0.join("identity.bak")).unwrap();
    assert_eq!(Identity::parse(&aside).unwrap().peer_id(), former);
    for name in ["identity", "identity.bak"] {
        assert_eq!(mode(&folder.0.join(name)).unwrap(), 0o600);
    }
}

#[test]
fn the_first_start_makes_an_identity_that_later_starts_keep() {
    let folder = Folder::new();
    let first = folder.open().identity().unwrap().peer_id();
    let again = folder.open().identity().unwrap().peer_id();
    assert_eq!(first, again);
    assert_eq!(mode(&folder.0).unwrap(), 0o700);
    assert_eq!(mode(&folder.0.join("identity")).unwrap(), 0o600);
    assert_ne!(Folder::new().open().identity().unwrap().peer_id(), first);
}

#[test]
fn a_first_start_that_came_to_nothing_leaves_no_folder_and_a_later_one_keeps_it() {
    let folder = Folder::new();
    let state = folder.open();
    state.identity().unwrap();
    state.next_boot_id(Duration::ZERO).unwrap();
    state.discard_if_new();
    assert!(!folder.0.exists());

    let first = folder.open().identity().unwrap().peer_id();
    folder.open().discard_if_new();
    assert_eq!(folder.open().identity().unwrap().peer_id(), first);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let folder = Folder::new();
    let state = folder.open();
    state.identity().unwrap();
    chmod(&folder.0.join("identity"), 0o640);
    let error = state.identity().unwrap_err();
    assert!(matches!(error, StateError::KeyExposed { mode: 0o640, .. }));
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn a_damaged_key_is_never_replaced_silently() {
    let folder = Folder::new();
    let state = folder.open();
    fs::write(folder.0.join("identity"), "weave-identity-1 00").unwrap();
    chmod(&folder.0.join("identity"), 0o600);
    let error = state.identity().unwrap_err();
    assert!(matches!(error, StateError::BadKey { .. }), "{error}");
    assert!(error.to_string().contains("identity is damaged"));
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = Folder::new();
    drop(folder.open());
    chmod(&folder.0, 0o770);
    let error = StateDir::open(&folder.0).unwrap_err();
    assert!(matches!(error, StateError::FolderOpen { mode: 0o770, .. }));
}

#[test]
fn two_routers_cannot_share_a_folder() {
    let folder = Folder::new();
    let first = folder.open();
    assert!(matches!(
        StateDir::open(&folder.0),
        Err(StateError::InUse(_))
    ));
    drop(first);
    folder.open();
}

#[test]
fn boot_ids_grow_with_the_clock_and_without() {
    let folder = Folder::new();
    let state = folder.open();
    let start = |seconds| state.next_boot_id(Duration::from_secs(seconds)).unwrap();
    assert_eq!(start(1_000), 1_000);
    assert_eq!(start(1_000), 1_001);
    assert_eq!(start(10), 1_002, "the clock was set back");
    assert_eq!(start(2_000), 2_000);
    state.store_boot_id(5_000).unwrap();
    assert_eq!(start(2_001), 5_001);
}

#[test]
fn damaged_files_are_named_with_what_to_do() {
    let folder = Folder::new();
    let state = folder.open();
    for text in [&b"twelve"[..], b"", b"1 2", b"\xff", b"-1"] {
        fs::write(folder.0.join("boot-id"), text).unwrap();
        let error = state.next_boot_id(Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("boot-id is damaged"), "{error}");
        assert!(error.contains("delete it"), "{error}");
    }
    fs::write(folder.0.join("peers"), "198.18.0.1:6783\nsomewhere\n").unwrap();
    let error = state.peers().unwrap_err().to_string();
    assert!(error.contains("\"somewhere\""), "{error}");
    fs::write(folder.0.join("peers"), vec![b'\n'; FILE_BYTES_MAX + 1]).unwrap();
    assert!(matches!(state.peers(), Err(StateError::Damaged { .. })));
}

#[test]
fn peers_come_back_in_order_and_bounded() {
    let folder = Folder::new();
    let state = folder.open();
    assert_eq!(state.peers().unwrap(), []);
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
    let mut peers: Vec<SocketAddr> = vec![longest.parse().unwrap(); 300];
    peers[0] = "198.18.0.1:6783".parse().unwrap();
    state.store_peers(&peers).unwrap();
    assert_eq!(state.peers().unwrap(), peers[..StateDir::PEERS_MAX]);
}

#[test]
fn a_crash_while_writing_leaves_the_old_file_and_does_not_block_the_next() {
    let folder = Folder::new();
    let state = folder.open();
    state.store_boot_id(7).unwrap();
    fs::write(folder.0.join("boot-id.new"), "torn").unwrap();
    assert_eq!(state.next_boot_id(Duration::ZERO).unwrap(), 8);
    assert!(!folder.0.join("boot-id.new").exists());
}

/// A folder for one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weave-state-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> StateDir {
        StateDir::open(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that never opened it has none to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
