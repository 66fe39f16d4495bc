//! What stretching a password costs in memory, in a process of its own: the most ever used, and what is left afterwards.
#![cfg(target_os = "linux")]

use weave_crypto::{NetworkId, PasswordKey};

/// The value in bytes of a line of /proc/self/status.
fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let mut lines = status.lines();
    let kib = lines.find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
    kib.expect("the line is there")
        .parse::<u64>()
        .expect("the kernel writes digits")
        * 1_024
}

#[test]
fn stretching_takes_its_64_mib_for_a_moment_and_gives_them_back() {
    let network = NetworkId::from_name("weave");
    let before = status_bytes("VmRSS:");
    let key = PasswordKey::derive(b"correct horse", network).unwrap();
    let (peak, after) = (status_bytes("VmHWM:"), status_bytes("VmRSS:"));
    assert!(
        peak >= before + (60 << 20),
        "{before} before, {peak} at most"
    );
    assert!(peak <= 96_000_000, "{peak} at most");
    assert!(
        after <= before + 1_000_000,
        "{before} before, {after} after"
    );
    // A second one takes the same again, and not more.
    let again = PasswordKey::derive(b"correct horse", network).unwrap();
    assert_eq!(key, again);
    assert!(status_bytes("VmHWM:") <= peak + 1_000_000);
}
