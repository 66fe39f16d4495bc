//! What each fuzz target does with its bytes, as plain functions, so that an ordinary test replays the corpora
//! (`cargo test -p weave-fuzz`) and libFuzzer grows them:
//!
//! ```text
//! cargo install cargo-fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --features libfuzzer packets -- -max_total_time=60
//! ```
//!
//! Each target checks more than "no panic": what parses must emit the same bytes again.

use std::sync::Arc;

use weave_core::{Entries, FloodHeader, Note, PacketView};
use weave_crypto::{Identity, LinkHandshake, LinkLocal, NetworkId};
use weave_mesh::{Probe, Record};

/// Data headers: envelope and sealed header of a datagram; flood header and entries of an opened body; notes.
pub fn packets(bytes: &[u8]) {
    if let Ok(view) = PacketView::new_checked(bytes) {
        let sealed_at = view.sealed_at();
        if let Some(envelope) = view.envelope() {
            assert_eq!(envelope.emit()[1..], bytes[1..sealed_at], "an envelope emits what it parsed");
        }
        assert!(sealed_at + 12 + 16 <= bytes.len(), "header and tag are there");
        let _ = view.kind();
    }
    if let Ok((flood, rest)) = FloodHeader::parse(bytes) {
        assert_eq!(flood.emit()[..15], bytes[..15], "a flood header emits what it parsed");
        entries(rest);
    }
    entries(bytes);
    let _ = Note::parse(bytes);
}

fn entries(body: &[u8]) {
    let mut frame_bytes = 0;
    for entry in Entries::new(body) {
        let Ok(entry) = entry else { break };
        frame_bytes += entry.bytes.len();
    }
    assert!(frame_bytes <= body.len(), "entries do not overlap");
}

/// What a neighbour, or a stranger, sends on a stream: handshake bytes, control messages, probes.
pub fn control(bytes: &[u8]) {
    let _ = weave_mesh::decode(bytes);
    if let Ok(probe) = Probe::parse(bytes) {
        let mut emitted = [0; weave_mesh::PROBE_BYTES];
        probe.emit(&mut emitted);
        assert_eq!(Probe::parse(&emitted), Ok(probe), "a probe parses as it was emitted");
    }
    let local = || LinkLocal {
        identity: Arc::new(Identity::from_seed([1; 32])),
        network: NetworkId::from_name("fuzz"),
        boot_id: 1,
    };
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(), [2; 32]);
    if let Ok(Some(_)) = listener.handle_bytes(bytes, &mut out) {
        panic!("a handshake finished without the other side's key");
    }
    out.clear();
    let mut dialler = LinkHandshake::dialler(local(), [3; 32], &mut out);
    if let Ok(Some(_)) = dialler.handle_bytes(bytes, &mut out) {
        panic!("a handshake finished without the other side's key");
    }
}

/// Signed records.
pub fn records(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else { return };
    assert_eq!(&record.bytes()[..], bytes, "a record keeps the bytes that were signed");
    let genuine =
        record.verify(&NetworkId::from_name("fuzz"), &weave_mesh::DirectVerifier);
    let own = Identity::from_seed([1; 32]).peer_id();
    assert!(!genuine || record.origin() == own, "only the fuzzer's own identity can have signed");
}
