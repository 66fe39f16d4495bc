//! A whole router and one neighbour that was let in and then says whatever the fuzzer likes.
//!
//! Signatures of records count as good, whoever made them: a fuzzer can make none, and what a router does with strange
//! records is what is looked at here.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use weave_core::{Action, Config, ConnId, MacTable, Router, Traffic, Verifier};
use weave_crypto::{
    Established, Identity, LinkHandshake, LinkLocal, Passwords, PeerId, SealedStream,
};
use weave_mesh::{ORIGINS_MAX, wire};

use crate::{BASE, IDENTITY, NETWORK};

/// Lets a neighbour into a router and has it say what `bytes` tell, step after step:
///
/// ```text
///   0 step: even: time passes, odd: a message
///   1 time: 20 ms × this byte         message: its length, 2 bytes, big-endian, then the message
/// ```
pub fn member(bytes: &[u8]) {
    let mut world = World::new();
    let mut rest = bytes;
    while let Some((step, behind)) = rest.split_first() {
        rest = behind;
        if step % 2 == 0 {
            let Some((steps, behind)) = rest.split_first() else {
                break;
            };
            rest = behind;
            world.wait(Duration::from_millis(20) * u32::from(*steps));
        } else {
            let Some((length, behind)) = rest.split_first_chunk() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
            let (message, behind) = behind.split_at(length);
            rest = behind;
            if message.len() <= SealedStream::MESSAGE_BYTES_MAX {
                world.say(message);
            }
        }
    }
    world.wait(Duration::from_millis(200));
    let router = &mut world.router;
    assert!(
        router.mesh().links().count() <= 1,
        "one neighbour, one link"
    );
    assert!(router.mesh().store().len() <= ORIGINS_MAX);
    let _sentence = router.status(world.now, Traffic::default()).verdict();
}

/// The router that [`member`] talks to: messages of a corpus are addressed to it.
pub fn member_router() -> PeerId {
    OWN.peer_id()
}

struct World {
    now: Instant,
    router: Router,
    stream: SealedStream,
    /// The router closed the stream.
    is_closed: bool,
}

impl World {
    /// A link that stands, welcomes said.
    fn new() -> Self {
        let now = *BASE;
        let mut config = Config::new("fuzz", "fuzz");
        config.mesh.network = *NETWORK;
        let mut router = Router::with_verifier(
            config,
            Arc::clone(&OWN),
            [1; 32],
            now,
            Duration::from_secs(BOOT_ID),
            BOOT_ID,
            Arc::new(MacTable::new(16, now, 1)),
            Arc::new(Credulous),
        );
        router.handle_local_addresses(now, vec![[10, 0, 0, 1].into()]);
        router.handle_opened(now, CONN, REMOTE.parse().expect("a constant"), false);
        let Established { stream, .. } = introduce(&mut router, now);
        let mut world = Self {
            now,
            router,
            stream,
            is_closed: false,
        };
        world.say(&WELCOME);
        assert_eq!(world.router.mesh().links().count(), 1, "the link stands");
        world
    }

    fn say(&mut self, message: &[u8]) {
        if self.is_closed {
            return;
        }
        let mut frame = Vec::new();
        self.stream
            .seal(message, &mut frame)
            .expect("the message fits a frame");
        self.router.handle_bytes(self.now, CONN, &frame);
        self.drain();
    }

    /// Time passes, with every wake-up that the router asks for.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut at_once = 0;
        while let Some((at, _)) = self.router.poll_timeout().filter(|(at, _)| *at <= until) {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(
                at_once < 100,
                "the router asks for the same moment for ever"
            );
            self.now = self.now.max(at);
            self.router.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// All that the router says must be right; what it wants done is refused.
    fn drain(&mut self) {
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::Write { conn: CONN, bytes } => {
                    self.stream.handle_bytes(&bytes);
                    while let Some(message) = self
                        .stream
                        .next_message()
                        .expect("a router seals what it writes")
                    {
                        assert_eq!(
                            wire::decode(&message),
                            Ok(()),
                            "a router says what it reads"
                        );
                    }
                }
                Action::Close { conn: CONN } => self.is_closed = true,
                Action::Dial { conn, .. } => {
                    let refused = weave_core::CloseReason::Refused;
                    self.router.handle_closed(self.now, conn, refused);
                }
                Action::SendPacket { bytes, .. } => {
                    assert!(weave_core::PacketView::new_checked(&bytes).is_ok());
                }
                Action::SendFrame { bytes } => {
                    assert_eq!(bytes.len(), weave_core::LoopFrame::BYTES);
                }
                Action::AwaitDrained { conn } => self.router.handle_drained(self.now, conn),
                Action::Write { .. }
                | Action::TakePacket { .. }
                | Action::Announce { .. }
                | Action::Close { .. }
                | Action::Resolve { .. }
                | Action::StoreBootId { .. }
                | Action::RenewIdentity
                | Action::StorePeers { .. }
                | Action::Pinged { .. } => {}
            }
        }
        let _fib = self.router.poll_fib();
        while self.router.poll_event().is_some() {}
    }
}

/// Runs the handshake against the router.
fn introduce(router: &mut Router, now: Instant) -> Established {
    let local = LinkLocal {
        identity: Arc::clone(&MEMBER),
        network: *NETWORK,
        boot_id: BOOT_ID,
        passwords: Passwords::none(),
    };
    let mut out = Vec::new();
    let mut handshake = LinkHandshake::dialler(local, [9; 32], &mut out);
    let mut established = None;
    for _ in 0..3 {
        router.handle_bytes(now, CONN, &std::mem::take(&mut out));
        while let Some(action) = router.poll_action() {
            let Action::Write { bytes, .. } = action else {
                continue;
            };
            match &mut established {
                None => {
                    established = handshake
                        .handle_bytes(&bytes, &mut out)
                        .expect("an honest handshake");
                }
                Some(Established { stream, .. }) => stream.handle_bytes(&bytes),
            }
        }
    }
    established.expect("three messages make a link")
}

/// Believes everybody.
struct Credulous;

impl Verifier for Credulous {
    fn verify(&self, _: &PeerId, _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

/// Of the two identities, the smaller is the router's: it decides that the stream becomes the link's, and does so at once.
static BOTH: LazyLock<[Arc<Identity>; 2]> = LazyLock::new(|| {
    let mut both = [
        Arc::clone(&IDENTITY),
        Arc::new(Identity::from_seed([2; 32])),
    ];
    both.sort_by_key(|identity| identity.peer_id());
    both
});
static OWN: LazyLock<Arc<Identity>> = LazyLock::new(|| Arc::clone(&BOTH[0]));
static MEMBER: LazyLock<Arc<Identity>> = LazyLock::new(|| Arc::clone(&BOTH[1]));

/// welcome_v4 of weave-mesh/tests/vectors/control.txt.
const WELCOME: [u8; 24] =
    *b"\x00linktg\x00\xc0\x00\x02\x07\x80\x80\x03\x88\xef\x99\xab\xc5\xe8\x8c\x91\x11";
const CONN: ConnId = ConnId(1);
const REMOTE: &str = "10.0.0.2:49152";
const BOOT_ID: u64 = 1_700_000_000;
