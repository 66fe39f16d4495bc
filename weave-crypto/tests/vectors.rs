//! What goes on the wire and into the key file, byte for byte, as the files in `tests/vectors` have it.
//!
//! They are frozen with the first release: a difference then means that routers of the two versions don't understand each
//! other. Each line is `name = hex digits`, except where a text is meant as such. A test that fails prints the whole file as
//! it would be now.

use std::{fmt::Write as _, sync::Arc};

use weave_crypto::{
    Established, HandshakeError, Identity, LinkHandshake, LinkLocal, NetworkId, PasswordKey,
    Passwords, SealedStream, Suite, TunnelInitiation, TunnelKeys, TunnelLocal, respond,
};

/// A vector file in the making.
struct Vectors(String);

impl Vectors {
    fn new(about: &str) -> Self {
        Self(about.lines().map(|line| format!("# {line}\n")).collect())
    }

    fn hex(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        let digits = bytes
            .as_ref()
            .iter()
            .fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").expect("writing to a string does not fail");
                digits
            });
        self.text(name, &digits);
    }

    fn text(&mut self, name: &str, text: &str) {
        writeln!(self.0, "{name} = {text}").expect("writing to a string does not fail");
    }

    fn check(self, stored: &str) {
        assert!(
            self.0 == stored,
            "the vectors differ; now they are:\n{}",
            self.0
        );
    }
}

/// 0, 1, 2, … from `first` on: a seed that is told from others at sight.
fn seed(first: u8) -> [u8; 32] {
    let mut next = first..;
    std::array::from_fn(|_| next.next().expect("no seed begins above e0"))
}

fn a() -> Arc<Identity> {
    Arc::new(Identity::from_seed(seed(0x00)))
}

fn b() -> Arc<Identity> {
    Arc::new(Identity::from_seed(seed(0x40)))
}

#[test]
fn identities() {
    let mut vectors =
        Vectors::new("Two identities from their seeds, and the id of the network \"weave\".");
    vectors.hex("network_id", NetworkId::from_name("weave").as_bytes());
    for (name, seed, identity) in [("a", seed(0x00), a()), ("b", seed(0x40), b())] {
        let mut hex = |what: &str, bytes: &[u8]| vectors.hex(&format!("{name}_{what}"), bytes);
        hex("seed", &seed);
        hex("peer_id", identity.peer_id().as_bytes());
        hex("short_id", identity.peer_id().short_id().as_bytes());
        hex("noise_public", &identity.noise_public());
        hex("noise_binding", &identity.noise_binding());
        hex("signature_of_message", &identity.sign(b"message"));
        vectors.text(
            &format!("{name}_default_name"),
            &identity.peer_id().default_name(),
        );
        vectors.text(
            &format!("{name}_key_file"),
            identity.seed_file_text().trim_end(),
        );
    }
    vectors.check(include_str!("vectors/identity.txt"));
}

#[test]
fn a_link() {
    let mut vectors = Vectors::new(
        "A link from a to b (identity.txt) in the network \"weave\", boot ids 1000 and 2000, handshake seeds 80.. and c0..,\n\
         then one message each way on the sealed stream, and one more from a.",
    );
    let network = NetworkId::from_name("weave");
    let mut wire = Vec::new();
    let local = LinkLocal {
        identity: a(),
        network,
        boot_id: 1_000,
        passwords: Passwords::none(),
    };
    let mut dialler = LinkHandshake::dialler(local, seed(0x80), &mut wire);
    let mut listener = LinkHandshake::listener(
        LinkLocal {
            identity: b(),
            network,
            boot_id: 2_000,
            passwords: Passwords::none(),
        },
        seed(0xc0),
    );
    let mut step =
        |side: &mut LinkHandshake, name: &str, wire: &mut Vec<u8>| -> Option<Established> {
            vectors.hex(name, &*wire);
            let bytes = std::mem::take(wire);
            side.handle_bytes(&bytes, wire).unwrap()
        };
    assert!(step(&mut listener, "dialler_hello", &mut wire).is_none());
    assert!(step(&mut dialler, "listener_hello", &mut wire).is_none());
    assert!(step(&mut listener, "xx_1", &mut wire).is_none());
    let at_a = step(&mut dialler, "xx_2", &mut wire).unwrap();
    let at_b = step(&mut listener, "xx_3", &mut wire).unwrap();
    let (mut a, mut b) = (at_a.stream, at_b.stream);
    let mut send = |name: &str, from: &mut SealedStream, to: &mut SealedStream, message: &[u8]| {
        let mut wire = Vec::new();
        from.seal(message, &mut wire).unwrap();
        vectors.hex(name, &wire);
        to.handle_bytes(&wire);
        assert_eq!(to.next_message().unwrap().unwrap(), message);
    };
    send("frame_hello_from_a", &mut a, &mut b, b"hello");
    send("frame_hello_from_b", &mut b, &mut a, b"hello");
    send("frame_empty_from_a", &mut a, &mut b, b"");
    vectors.check(include_str!("vectors/link.txt"));
}

#[test]
fn links_with_passwords() {
    let mut vectors = Vectors::new(
        "Links as in link.txt with passwords, stretched: first \"correct horse\" on both sides; then a, whose newest is\n\
         \"battery staple\" and whose older one is \"correct horse\", dials b, which has \"correct horse\" alone; last a, with\n\
         \"battery staple\" alone, dials b, and is refused.",
    );
    let network = NetworkId::from_name("weave");
    let derive = |password: &str| {
        PasswordKey::derive(password.as_bytes(), network).expect("there is memory")
    };
    let (staple, horse) = (derive("battery staple"), derive("correct horse"));
    for (case, of_a) in [
        ("one", Passwords::one(horse.clone())),
        ("two", Passwords::two(staple.clone(), horse.clone())),
        ("wrong", Passwords::one(staple)),
    ] {
        let mut wire = Vec::new();
        let local = |identity, boot_id, passwords| LinkLocal {
            identity,
            network,
            boot_id,
            passwords,
        };
        let mut dialler = LinkHandshake::dialler(local(a(), 1_000, of_a), seed(0x80), &mut wire);
        let of_b = Passwords::one(horse.clone());
        let mut listener = LinkHandshake::listener(local(b(), 2_000, of_b), seed(0xc0));
        let mut at_a = None;
        for name in [
            "dialler_hello",
            "listener_hello_and_elements",
            "proof",
            "answer",
            "xx_1",
            "xx_2",
            "xx_3",
        ] {
            vectors.hex(&format!("{case}_{name}"), &wire);
            let bytes = std::mem::take(&mut wire);
            let to_listener = ["dialler_hello", "proof", "xx_1", "xx_3"].contains(&name);
            let side = if to_listener {
                &mut listener
            } else {
                &mut dialler
            };
            match side.handle_bytes(&bytes, &mut wire) {
                Ok(None) => {}
                Ok(Some(established)) if to_listener => assert_eq!(established.password, Some(0)),
                Ok(Some(established)) => at_a = Some(established),
                Err(error) => {
                    assert_eq!((case, error), ("wrong", HandshakeError::WrongPassword));
                    if !to_listener {
                        break;
                    }
                }
            }
        }
        if let Some(mut at_a) = at_a {
            at_a.stream.seal(b"hello", &mut wire).unwrap();
            vectors.hex(&format!("{case}_frame_hello_from_a"), &wire);
            assert_eq!(at_a.password, Some(usize::from(case == "two")));
        }
    }
    vectors.check(include_str!("vectors/link_password.txt"));
}

#[test]
fn a_tunnel() {
    let mut vectors = Vectors::new(
        "Tunnels from a to b (identity.txt) in the network \"weave\", boot ids 1000 and 2000, handshake seeds 80.. and c0..,\n\
         receiver indices 0000aaaa and 0000bbbb, and the first packet from a: header \"header\", body \"body\", then the tag.",
    );
    let network = NetworkId::from_name("weave");
    let local_a = TunnelLocal {
        identity: a(),
        network,
        boot_id: 1_000,
        aes: true,
    };
    let local_b = TunnelLocal {
        identity: b(),
        network,
        boot_id: 2_000,
        aes: true,
    };
    let (id_a, id_b) = (local_a.identity.peer_id(), local_b.identity.peer_id());
    let (public_a, public_b) = (
        local_a.identity.noise_public(),
        local_b.identity.noise_public(),
    );
    for (name, suite) in [
        ("aes_256_gcm", Suite::Aes256Gcm),
        ("chacha20_poly1305", Suite::ChaCha20Poly1305),
    ] {
        let (initiation, first) =
            TunnelInitiation::start(&local_a, id_b, &public_b, 2_000, suite, 0xaaaa, seed(0x80))
                .unwrap();
        vectors.hex(&format!("{name}_message_1"), &first);
        let response =
            respond(&local_b, id_a, &public_a, 1_000, &first, 0xbbbb, seed(0xc0)).unwrap();
        vectors.hex(&format!("{name}_message_2"), &response.message);
        let keys = initiation.finish(&response.message).unwrap();
        vectors.hex(&format!("{name}_packet_1"), sealed(&keys, 1));
    }
    vectors.check(include_str!("vectors/tunnel.txt"));
}

#[test]
fn sealed_packets() {
    let mut vectors = Vectors::new(
        "Packets under the keys of TunnelKeys::pair, sealed by its first half: header \"header\", body \"body\", then the tag,\n\
         with the first, a middle and the last counter.",
    );
    vectors.hex("secret", seed(0x00));
    for (name, suite) in [
        ("aes_256_gcm", Suite::Aes256Gcm),
        ("chacha20_poly1305", Suite::ChaCha20Poly1305),
    ] {
        let (a, b) = TunnelKeys::pair(seed(0x00), suite, 1, 2);
        for counter in [1, 0x0102_0304_0506, TunnelKeys::COUNTER_MAX] {
            let mut packet = sealed(&a, counter);
            vectors.hex(&format!("{name}_{counter:012x}"), &packet);
            assert_eq!(b.open(counter, b"header", &mut packet).unwrap(), b"body");
        }
    }
    vectors.check(include_str!("vectors/packet.txt"));
}

fn sealed(keys: &TunnelKeys, counter: u64) -> Vec<u8> {
    let mut packet = b"body".to_vec();
    let tag = keys
        .seal(counter, b"header", &mut packet)
        .expect("each test has a counter of a packet");
    packet.extend_from_slice(&tag);
    packet
}
