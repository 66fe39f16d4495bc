mod passwords;
mod strangers;

use proptest::prelude::*;

use super::{
    hello::Versions,
    introduction::{Introduction, halves},
    *,
};
use crate::error::Fault;

fn local(seed: u8) -> LinkLocal {
    LinkLocal {
        identity: Arc::new(Identity::from_seed([seed; 32])),
        network: NetworkId::from_name("weave"),
        boot_id: 1_700_000_000 + u64::from(seed),
        passwords: Passwords::none(),
    }
}

/// What both sides said, one piece for each time they took turns: hello, hello, XX 1, XX 2, XX 3.
fn transcript() -> Vec<Vec<u8>> {
    let mut pair = Pair::new(local(1), local(2));
    let mut said = Vec::new();
    while pair.at_listener.is_none() {
        if !pair.to_listener.is_empty() {
            said.push(pair.to_listener.clone());
        }
        pair.deliver_to_listener().unwrap();
        if !pair.to_dialler.is_empty() {
            said.push(pair.to_dialler.clone());
        }
        pair.deliver_to_dialler().unwrap();
    }
    said
}

/// A dialler and a listener, and what is on the wire between them.
struct Pair {
    dialler: LinkHandshake,
    listener: LinkHandshake,
    to_listener: Vec<u8>,
    to_dialler: Vec<u8>,
    at_dialler: Option<Established>,
    at_listener: Option<Established>,
}

impl Pair {
    fn new(dialler: LinkLocal, listener: LinkLocal) -> Self {
        let mut to_listener = Vec::new();
        Self {
            dialler: LinkHandshake::dialler(dialler, [0xd1; 32], &mut to_listener),
            listener: LinkHandshake::listener(listener, [0x15; 32]),
            to_listener,
            to_dialler: Vec::new(),
            at_dialler: None,
            at_listener: None,
        }
    }

    /// Delivers what is on its way to the listener.
    fn deliver_to_listener(&mut self) -> Result<(), HandshakeError> {
        let bytes = mem::take(&mut self.to_listener);
        if !bytes.is_empty() {
            self.at_listener = self.listener.handle_bytes(&bytes, &mut self.to_dialler)?;
        }
        Ok(())
    }

    /// Delivers what is on its way to the dialler.
    fn deliver_to_dialler(&mut self) -> Result<(), HandshakeError> {
        let bytes = mem::take(&mut self.to_dialler);
        if !bytes.is_empty() {
            self.at_dialler = self.dialler.handle_bytes(&bytes, &mut self.to_listener)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), HandshakeError> {
        while !(self.to_listener.is_empty() && self.to_dialler.is_empty()) {
            self.deliver_to_listener()?;
            self.deliver_to_dialler()?;
        }
        Ok(())
    }
}

#[test]
fn two_routers_meet_and_know_each_other() {
    let (a, b) = (local(1), local(2));
    let mut pair = Pair::new(a.clone(), b.clone());
    pair.run().unwrap();
    let (mut at_dialler, mut at_listener) = (pair.at_dialler.unwrap(), pair.at_listener.unwrap());
    assert_eq!(at_dialler.peer, b.identity.peer_id());
    assert_eq!(at_dialler.peer_noise_public, b.identity.noise_public());
    assert_eq!(at_dialler.peer_boot_id, b.boot_id);
    assert_eq!(at_listener.peer, a.identity.peer_id());
    assert_eq!(at_listener.peer_noise_public, a.identity.noise_public());
    assert_eq!(at_listener.peer_boot_id, a.boot_id);
    assert!(at_dialler.rest.is_empty() && at_listener.rest.is_empty());
    let deliver = |from: &mut Established, to: &mut Established| {
        let mut wire = Vec::new();
        from.stream.seal(b"hello", &mut wire).unwrap();
        to.stream.handle_bytes(&wire);
        assert_eq!(to.stream.next_message(), Ok(Some(b"hello".to_vec())));
    };
    deliver(&mut at_dialler, &mut at_listener);
    deliver(&mut at_listener, &mut at_dialler);
}

#[test]
fn the_messages_are_as_long_as_the_bounds_reckon() {
    let lengths: Vec<usize> = transcript().iter().map(Vec::len).collect();
    // XX 2: length, e, s and tag, payload (id, signature, 5 bytes of boot id) and tag. XX 3 has no e.
    assert_eq!(
        lengths,
        [
            46,
            46,
            2 + 32,
            2 + 32 + 48 + (32 + 64 + 5) + 16,
            2 + 48 + (32 + 64 + 5) + 16
        ]
    );
}

#[test]
fn the_messages_may_arrive_byte_by_byte() {
    let mut pair = Pair::new(local(1), local(2));
    while pair.at_listener.is_none() {
        for byte in mem::take(&mut pair.to_listener) {
            assert!(pair.at_listener.is_none());
            pair.at_listener = pair
                .listener
                .handle_bytes(&[byte], &mut pair.to_dialler)
                .unwrap();
        }
        for byte in mem::take(&mut pair.to_dialler) {
            assert!(pair.at_dialler.is_none());
            pair.at_dialler = pair
                .dialler
                .handle_bytes(&[byte], &mut pair.to_listener)
                .unwrap();
        }
    }
    assert!(pair.at_dialler.is_some());
}

#[test]
fn what_follows_the_handshake_in_the_same_bytes_is_handed_on() {
    let mut pair = Pair::new(local(1), local(2));
    while pair.at_dialler.is_none() {
        pair.deliver_to_listener().unwrap();
        pair.deliver_to_dialler().unwrap();
    }
    // The last message is still on its way; the dialler's first frame goes right behind it.
    pair.at_dialler
        .as_mut()
        .unwrap()
        .stream
        .seal(b"early", &mut pair.to_listener)
        .unwrap();
    pair.deliver_to_listener().unwrap();
    let mut at_listener = pair.at_listener.unwrap();
    assert_eq!(
        at_listener.rest.len(),
        5 + SealedStream::FRAME_OVERHEAD_BYTES
    );
    at_listener.stream.handle_bytes(&at_listener.rest);
    assert_eq!(
        at_listener.stream.next_message(),
        Ok(Some(b"early".to_vec()))
    );
}

#[test]
fn a_listener_is_silent_to_strangers() {
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\n", &[0; 100]] {
        let mut listener = LinkHandshake::listener(local(2), [0; 32]);
        let mut out = Vec::new();
        assert_eq!(
            listener.handle_bytes(bytes, &mut out).unwrap_err(),
            HandshakeError::NotWeave
        );
        assert!(out.is_empty());
    }
    let mut stranger = Vec::new();
    let other = LinkLocal {
        network: NetworkId::from_name("other"),
        ..local(1)
    };
    LinkHandshake::dialler(other, [0; 32], &mut stranger);
    let mut listener = LinkHandshake::listener(local(2), [0; 32]);
    let mut out = Vec::new();
    assert_eq!(
        listener.handle_bytes(&stranger, &mut out).unwrap_err(),
        HandshakeError::OtherNetwork
    );
    assert!(out.is_empty());
    let mut listener = LinkHandshake::listener(local(2), [0; 32]);
    assert!(
        listener
            .handle_bytes(&transcript()[0][..45], &mut out)
            .unwrap()
            .is_none()
    );
    assert!(out.is_empty());
}

#[test]
fn a_dialler_names_what_answers() {
    let ours = Hello {
        versions: OUR_VERSIONS,
        network: NetworkId::from_name("weave"),
        passwords: 0,
    };
    let other = NetworkId::from_name("other");
    for (answer, error) in [
        (
            b"HTTP/1.1 400 Bad Request".to_vec(),
            HandshakeError::NotWeave,
        ),
        (
            Hello {
                network: other,
                ..ours
            }
            .emit()
            .to_vec(),
            HandshakeError::OtherNetwork,
        ),
        (
            Hello {
                passwords: 1,
                ..ours
            }
            .emit()
            .to_vec(),
            HandshakeError::PasswordThere,
        ),
        (
            Hello {
                versions: Versions {
                    oldest: 4,
                    newest: 5,
                },
                ..ours
            }
            .emit()
            .to_vec(),
            HandshakeError::Version {
                oldest: 4,
                newest: 5,
            },
        ),
    ] {
        let mut out = Vec::new();
        let mut dialler = LinkHandshake::dialler(local(1), [0; 32], &mut out);
        out.clear();
        assert_eq!(dialler.handle_bytes(&answer, &mut out).unwrap_err(), error);
        assert!(out.is_empty());
    }
}

#[test]
fn a_listener_tells_members_why_it_refuses_them() {
    let ours = Hello {
        versions: OUR_VERSIONS,
        network: NetworkId::from_name("weave"),
        passwords: 0,
    };
    for (hello, error) in [
        (
            Hello {
                passwords: 2,
                ..ours
            },
            HandshakeError::PasswordThere,
        ),
        (
            Hello {
                versions: Versions {
                    oldest: 2,
                    newest: 2,
                },
                ..ours
            },
            HandshakeError::Version {
                oldest: 2,
                newest: 2,
            },
        ),
    ] {
        let mut out = Vec::new();
        let mut listener = LinkHandshake::listener(local(2), [0; 32]);
        assert_eq!(
            listener.handle_bytes(&hello.emit(), &mut out).unwrap_err(),
            error
        );
        assert_eq!(error.fault(), Fault::Incompatible);
        assert_eq!(out, ours.emit(), "the dialler can compare for itself");
    }
}

#[test]
fn dialling_oneself_shows_ones_own_id() {
    let mut pair = Pair::new(local(1), local(1));
    pair.run().unwrap();
    let own = local(1).identity.peer_id();
    assert_eq!(pair.at_dialler.unwrap().peer, own);
    assert_eq!(pair.at_listener.unwrap().peer, own);
}

#[test]
fn no_changed_byte_gets_a_link_up_on_both_sides() {
    let lengths: Vec<usize> = transcript().iter().map(Vec::len).collect();
    for (message, &length) in lengths.iter().enumerate() {
        for at in 0..length {
            let mut pair = Pair::new(local(1), local(2));
            let mut said = 0;
            let mut flip = |bytes: &mut Vec<u8>| {
                if !bytes.is_empty() {
                    if said == message {
                        bytes[at] ^= 1 << (at % 8);
                    }
                    said += 1;
                }
            };
            let failed = loop {
                flip(&mut pair.to_listener);
                if let Err(error) = pair.deliver_to_listener() {
                    break Some(error);
                }
                flip(&mut pair.to_dialler);
                if let Err(error) = pair.deliver_to_dialler() {
                    break Some(error);
                }
                // A greater length has its reader wait.
                if pair.to_listener.is_empty() && pair.to_dialler.is_empty() {
                    break None;
                }
            };
            assert!(pair.at_listener.is_none(), "message {message}, byte {at}");
            assert!(
                pair.at_dialler.is_none() || message == 4,
                "message {message}, byte {at}"
            );
            assert!(
                failed.is_some() || (message >= 2 && at < 2),
                "message {message}, byte {at}"
            );
        }
    }
}

#[test]
fn messages_of_another_handshake_do_not_fit() {
    let old = transcript();
    let mut out = Vec::new();
    // Same routers, fresh seeds: what was recorded is worth nothing.
    let mut listener = LinkHandshake::listener(local(2), [0x77; 32]);
    for message in [&old[0], &old[2]] {
        assert!(listener.handle_bytes(message, &mut out).unwrap().is_none());
    }
    assert_eq!(
        listener.handle_bytes(&old[4], &mut out).unwrap_err(),
        HandshakeError::Noise
    );
    let mut dialler = LinkHandshake::dialler(local(1), [0x77; 32], &mut out);
    assert!(dialler.handle_bytes(&old[1], &mut out).unwrap().is_none());
    assert_eq!(
        dialler.handle_bytes(&old[3], &mut out).unwrap_err(),
        HandshakeError::Noise
    );
}

#[test]
fn what_a_dialler_says_sent_back_to_it_does_not_fit() {
    let mut out = Vec::new();
    let mut dialler = LinkHandshake::dialler(local(1), [1; 32], &mut out);
    let hello = mem::take(&mut out);
    assert!(dialler.handle_bytes(&hello, &mut out).unwrap().is_none());
    let first = mem::take(&mut out);
    assert_eq!(
        dialler.handle_bytes(&first, &mut out).unwrap_err(),
        HandshakeError::Noise
    );
}

/// A dialler that keeps to the protocol but for what the test has it say.
struct Impostor {
    noise: Noise,
    listener: LinkHandshake,
}

impl Impostor {
    /// Gets as far as having to say who it is.
    fn new() -> Self {
        let identity = local(9).identity;
        let hello = Hello {
            versions: OUR_VERSIONS,
            network: NetworkId::from_name("weave"),
            passwords: 0,
        }
        .emit();
        let mut listener = LinkHandshake::listener(local(2), [2; 32]);
        let mut answer = Vec::new();
        listener.handle_bytes(&hello, &mut answer).unwrap();
        let prologue = digest::digest(&digest::SHA256, &[hello.as_slice(), &answer].concat());
        let mut noise = Noise::initiator(&Setup {
            pattern: noise::XX,
            secret: identity.noise_secret(),
            remote: None,
            psk: None,
            prologue: prologue.as_ref(),
            seed: Zeroizing::new([9; 32]),
        })
        .unwrap();
        let mut first = Vec::new();
        write_message(&noise.write(&[]).unwrap(), &mut first).unwrap();
        answer.clear();
        listener.handle_bytes(&first, &mut answer).unwrap();
        noise.read(&answer[2..]).unwrap();
        Self { noise, listener }
    }

    fn says(mut self, payload: &[u8]) -> Result<Option<Established>, HandshakeError> {
        let mut message = Vec::new();
        write_message(&self.noise.write(payload).unwrap(), &mut message).unwrap();
        self.listener.handle_bytes(&message, &mut Vec::new())
    }
}

#[test]
fn nobody_passes_as_another() {
    let introduction = |peer: &LinkLocal, binding: [u8; 64]| {
        let peer = peer.identity.peer_id();
        postcard::to_stdvec(&Introduction {
            peer,
            binding: halves(&binding),
            boot_id: 1,
        })
        .unwrap()
    };
    let (own, victim) = (local(9), local(1));
    let honest = introduction(&own, own.identity.noise_binding());
    let established = Impostor::new().says(&honest).unwrap().unwrap();
    assert_eq!(established.peer, own.identity.peer_id());
    // The victim's name with its own binding, with the impostor's, and the impostor's name with the victim's.
    for payload in [
        introduction(&victim, victim.identity.noise_binding()),
        introduction(&victim, own.identity.noise_binding()),
        introduction(&own, victim.identity.noise_binding()),
    ] {
        assert_eq!(
            Impostor::new().says(&payload).unwrap_err(),
            HandshakeError::BadBinding
        );
    }
    for length in 0..honest.len() {
        let error = Impostor::new().says(&honest[..length]).unwrap_err();
        assert_eq!(error, HandshakeError::Malformed, "{length} bytes");
    }
    let longer = [honest.as_slice(), &[0]].concat();
    assert_eq!(
        Impostor::new().says(&longer).unwrap_err(),
        HandshakeError::Malformed
    );
}

#[test]
fn weak_keys_are_refused_on_both_sides() {
    let weak = [[0, 96].as_slice(), &[0; 96]].concat();
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(2), [2; 32]);
    listener.handle_bytes(&transcript()[0], &mut out).unwrap();
    // As an XX 1: a zero key and no payload.
    let first = [[0, 32].as_slice(), &[0; 32]].concat();
    assert_eq!(
        listener.handle_bytes(&first, &mut out).unwrap_err(),
        HandshakeError::WeakKey
    );
    let mut dialler = LinkHandshake::dialler(local(1), [1; 32], &mut out);
    dialler.handle_bytes(&transcript()[1], &mut out).unwrap();
    assert_eq!(
        dialler.handle_bytes(&weak, &mut out).unwrap_err(),
        HandshakeError::WeakKey
    );
}

#[test]
fn a_first_message_with_a_payload_is_malformed() {
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(2), [2; 32]);
    listener.handle_bytes(&transcript()[0], &mut out).unwrap();
    let first = [[0, 33].as_slice(), &[9; 33]].concat();
    assert_eq!(
        listener.handle_bytes(&first, &mut out).unwrap_err(),
        HandshakeError::Malformed
    );
}

#[test]
fn too_long_a_message_is_refused_at_its_length() {
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(2), [2; 32]);
    listener.handle_bytes(&transcript()[0], &mut out).unwrap();
    let length = u16::try_from(MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes();
    assert_eq!(
        listener.handle_bytes(&length, &mut out).unwrap_err(),
        HandshakeError::TooLong
    );
}

#[test]
fn it_says_the_same_for_ever_once_it_is_over() {
    let mut out = Vec::new();
    let mut listener = LinkHandshake::listener(local(2), [2; 32]);
    for _ in 0..2 {
        assert_eq!(
            listener
                .handle_bytes(b"SSH-2.0-x\r\n", &mut out)
                .unwrap_err(),
            HandshakeError::NotWeave
        );
        assert!(listener.received.is_empty());
    }
    let mut pair = Pair::new(local(1), local(2));
    pair.run().unwrap();
    let error = pair.listener.handle_bytes(&[], &mut out).unwrap_err();
    assert_eq!(error, HandshakeError::Over);
    assert_eq!(error.fault(), Fault::Caller);
}

#[test]
fn debug_shows_no_secret() {
    let pair = Pair::new(local(0xa5), local(2));
    let shown = format!("{:?} {:?}", pair.dialler, pair.listener);
    assert!(shown.contains("dialler, waits for hello"), "{shown}");
    for secret in ["a5a5", "165, 165", "209, 209", "d1d1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_bytes_break_it_or_fill_its_memory(
        // As many good messages, then noise in pieces.
        good in 0..3usize,
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..8),
    ) {
        let said = transcript();
        let mut out = Vec::new();
        let mut listener = LinkHandshake::listener(local(2), [0x15; 32]);
        let mut dialler = LinkHandshake::dialler(local(1), [0xd1; 32], &mut out);
        for message in [0, 2].iter().take(good) {
            listener.handle_bytes(&said[*message], &mut out).unwrap();
        }
        if good > 0 {
            dialler.handle_bytes(&said[1], &mut out).unwrap();
        }
        for piece in pieces {
            prop_assert!(!matches!(listener.handle_bytes(&piece, &mut out), Ok(Some(_))));
            prop_assert!(!matches!(dialler.handle_bytes(&piece, &mut out), Ok(Some(_))));
            prop_assert!(listener.received.len() < 2 + MESSAGE_BYTES_MAX);
            prop_assert!(dialler.received.len() < 2 + MESSAGE_BYTES_MAX);
        }
    }
}
