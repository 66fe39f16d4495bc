//! What each fuzz target does with its bytes, as plain functions, so that an ordinary test replays the corpora
//! (`cargo test -p weave-fuzz`) and libFuzzer grows them; docs/testing.md has the command lines.
//!
//! | target | its bytes are |
//! | --- | --- |
//! | [`packets`] | a datagram from anybody; and the body of one that a neighbour sealed |
//! | [`control`] | what a stranger or a neighbour says on a stream |
//! | [`records`] | a signed record |
//! | [`texts`] | key files, targets and identifiers, as people and files give them |
//! | [`member`] | what a router that was let in says, message after message, to a whole router |
//! | [`scenarios`] | the choices that make a scenario of the simulator: routers, NAT boxes, faults |
//!
//! Each checks more than "no panic": what parses must come out as it went in, what is not genuine must leave no trace,
//! and what a router says must be right itself.
#![forbid(unsafe_code)]

mod forwarder;
mod member;

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use weave_core::{Entries, FloodHeader, Note, PacketView};
use weave_crypto::{
    Identity, LinkHandshake, LinkLocal, NetworkId, PasswordKey, Passwords, PeerId, ShortId,
};
use weave_io::sim::{Scenario, run};
use weave_mesh::wire::{self, WireError};
use weave_mesh::{DirectVerifier, PROBE_BYTES, Probe, Record, SEQUENCE_BITS, Target};

pub use member::{member, member_router};

/// Data packets: the outer layers as they are read, the same bytes through a forwarder, and as a body through its inner
/// decoders.
pub fn packets(bytes: &[u8]) {
    if let Ok(view) = PacketView::new_checked(bytes) {
        let sealed_at = view.sealed_at();
        if let Some(envelope) = view.envelope() {
            assert_eq!(
                envelope.emit(),
                bytes[..sealed_at],
                "an envelope emits what it parsed"
            );
        }
        let header = view.sealed();
        assert_eq!(
            header.emit(),
            bytes[sealed_at..][..12],
            "a sealed header emits what it parsed"
        );
        assert!(
            sealed_at + 12 + 16 <= bytes.len(),
            "header and tag are there"
        );
    }
    if let Ok((flood, rest)) = FloodHeader::parse(bytes) {
        assert_eq!(
            flood.emit(),
            bytes[..16],
            "a flood header emits what it parsed"
        );
        entries(rest);
    }
    entries(bytes);
    if let Ok(note) = Note::parse(bytes) {
        let mut emitted = [0; Note::BYTES_MAX];
        let length = note.emit(&mut emitted);
        assert_eq!(&emitted[..length], bytes, "a note emits what it parsed");
    }
    forwarder::strangers_datagrams(bytes);
    forwarder::sealed_bodies(bytes);
}

fn entries(body: &[u8]) {
    let mut at = 0;
    for entry in Entries::new(body) {
        let Ok(entry) = entry else { break };
        let mut head = [0; 8];
        let head_bytes = entry.header.emit(entry.bytes.len(), &mut head);
        assert_eq!(
            head[..head_bytes],
            body[at..][..head_bytes],
            "an entry emits what it parsed"
        );
        at += head_bytes;
        assert_eq!(entry.bytes, &body[at..][..entry.bytes.len()], "in order");
        at += entry.bytes.len();
    }
}

/// What a stranger, or a neighbour, sends on a stream: handshake bytes, control messages, probes.
pub fn control(bytes: &[u8]) {
    let decoded = wire::decode(bytes);
    assert_eq!(
        decoded == Err(WireError::TooLong),
        bytes.len() > wire::MESSAGE_BYTES_MAX,
        "the bound on messages holds"
    );
    if let Ok(probe) = Probe::parse(bytes) {
        let mut emitted = [0; PROBE_BYTES];
        probe.emit(&mut emitted);
        assert_eq!(
            Probe::parse(&emitted),
            Ok(probe),
            "a probe parses as it was emitted"
        );
    }
    let key = |byte| PasswordKey::from_bytes([byte; 32]);
    for passwords in [
        Passwords::none(),
        Passwords::one(key(1)),
        Passwords::two(key(1), key(2)),
    ] {
        handshakes(bytes, &passwords);
    }
}

fn handshakes(bytes: &[u8], passwords: &Passwords) {
    let local = || LinkLocal {
        identity: Arc::clone(&IDENTITY),
        network: *NETWORK,
        boot_id: 1,
        passwords: passwords.clone(),
    };
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(), [2; 32]);
    if let Ok(Some(_)) = listener.handle_bytes(bytes, &mut out) {
        panic!("a handshake ended well without the other side's key");
    }
    out.clear();
    let mut dialler = LinkHandshake::dialler(local(), [3; 32], &mut out);
    if let Ok(Some(_)) = dialler.handle_bytes(bytes, &mut out) {
        panic!("a handshake ended well without the other side's key");
    }
}

/// Signed records. None of the corpus is signed for the network here.
pub fn records(bytes: &[u8]) {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    assert_eq!(
        &record.bytes()[..],
        bytes,
        "a record keeps the bytes that were signed"
    );
    assert!(
        !record.verify(&NETWORK, &DirectVerifier),
        "nobody signed that"
    );
    let count = record.seq() & ((1 << SEQUENCE_BITS) - 1);
    let signed = Record::sign(&IDENTITY, &NETWORK, count, record.body().clone())
        .expect("what was read within the bounds can be said");
    assert_eq!(signed.seq(), record.seq(), "sequence numbers are kept");
    let parsed = Record::parse(signed.bytes()).expect("what is said can be read");
    assert_eq!(
        parsed.body(),
        record.body(),
        "a body is read as it was said"
    );
}

/// What people and files give as text.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(identity) = Identity::parse(text) {
        assert_eq!(
            *identity.seed_file_text(),
            text,
            "a key file has one form only"
        );
    }
    if let Ok(target) = text.parse::<Target>() {
        assert_eq!(
            target.to_string().parse(),
            Ok(target),
            "a target is read as it is shown"
        );
    }
    let lower = text.to_ascii_lowercase();
    if let Ok(id) = text.parse::<PeerId>() {
        assert_eq!(id.to_string(), lower, "an id is shown as it was read");
    }
    if let Ok(id) = text.parse::<ShortId>() {
        assert_eq!(id.to_string(), lower, "an id is shown as it was read");
    }
    if let Ok(id) = text.parse::<NetworkId>() {
        assert_eq!(id.to_string(), lower, "an id is shown as it was read");
    }
}

/// Whole routers in the simulator, under faults, with every checker looking on.
///
/// # Panics
/// With the scenario as text, for `weave-io/tests/seeds`, when a checker finds something.
pub fn scenarios(bytes: &[u8]) {
    let scenario = Scenario::from_choices(bytes, SCENARIO_ROUTERS_MAX);
    if let Err(failure) = run(&scenario) {
        panic!("{failure}");
    }
}

/// Most faults show among a few routers, and a run's time grows with the square.
const SCENARIO_ROUTERS_MAX: usize = 5;
/// The router under attack.
static IDENTITY: LazyLock<Arc<Identity>> = LazyLock::new(|| Arc::new(Identity::from_seed([1; 32])));
/// Its network. No vector, and so no input of a corpus, is of it.
static NETWORK: LazyLock<NetworkId> = LazyLock::new(|| NetworkId::from_name("fuzz"));
/// When everything begins.
#[allow(clippy::disallowed_methods, reason = "a test's base instant")]
static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
