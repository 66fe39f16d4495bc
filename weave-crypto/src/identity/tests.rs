use proptest::prelude::*;

use super::*;

fn identity(seed: u8) -> Identity {
    Identity::from_seed([seed; 32])
}

#[test]
fn one_seed_is_one_identity() {
    let (a, again, b) = (identity(1), identity(1), identity(2));
    assert_eq!(a.peer_id(), again.peer_id());
    assert_eq!(a.noise_public(), again.noise_public());
    assert_ne!(a.peer_id(), b.peer_id());
    assert_ne!(a.noise_public(), b.noise_public());
    assert_ne!(a.peer_id().as_bytes(), &a.noise_public());
}

#[test]
fn signatures_are_those_of_the_rfc() {
    // RFC 8032, section 7.1, test 1: an empty message.
    let peer: PeerId = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        .parse()
        .unwrap();
    let signature = hex::parse(concat!(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    ));
    assert_eq!(verify(&peer, b"", &signature.unwrap()), Ok(()));
}

#[test]
fn a_signature_fits_one_message_and_one_peer() {
    let (a, b) = (identity(1), identity(2));
    let signature = a.sign(b"message");
    assert_eq!(verify(&a.peer_id(), b"message", &signature), Ok(()));
    assert_eq!(
        verify(&a.peer_id(), b"massage", &signature),
        Err(BadSignature)
    );
    assert_eq!(
        verify(&b.peer_id(), b"message", &signature),
        Err(BadSignature)
    );
    for bit in 0..8 * signature.len() {
        let mut forged = signature;
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verify(&a.peer_id(), b"message", &forged),
            Err(BadSignature),
            "bit {bit}"
        );
    }
}

#[test]
fn bytes_that_are_no_point_verify_nothing() {
    // y = 2 is not on the curve.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(
        verify(&PeerId::from_bytes(bytes), b"", &[0; 64]),
        Err(BadSignature)
    );
    assert_eq!(
        verify(&PeerId::from_bytes([0xff; 32]), b"", &[0xff; 64]),
        Err(BadSignature)
    );
}

#[test]
fn a_binding_is_for_one_key_of_one_peer() {
    let (a, b) = (identity(1), identity(2));
    let binding = a.noise_binding();
    assert_eq!(
        verify_noise_binding(&a.peer_id(), &a.noise_public(), &binding),
        Ok(())
    );
    assert_eq!(
        verify_noise_binding(&a.peer_id(), &b.noise_public(), &binding),
        Err(BadSignature)
    );
    assert_eq!(
        verify_noise_binding(&b.peer_id(), &a.noise_public(), &binding),
        Err(BadSignature)
    );
    let bare = a.sign(&a.noise_public());
    assert_eq!(
        verify_noise_binding(&a.peer_id(), &a.noise_public(), &bare),
        Err(BadSignature),
        "a signature without the prefix is for something else"
    );
}

#[test]
fn a_key_file_comes_back() {
    let text = identity(0xa5).seed_file_text();
    assert_eq!(*text, format!("weave-identity-1 {}\n", "a5".repeat(32)));
    assert_eq!(text.len(), KEY_FILE_BYTES);
    assert_eq!(
        text.capacity(),
        KEY_FILE_BYTES,
        "it never grew, so no copy was left behind"
    );
    assert_eq!(
        Identity::parse(&text).unwrap().peer_id(),
        identity(0xa5).peer_id()
    );
}

#[test]
fn a_key_file_is_read_strictly() {
    let digits = "a5".repeat(32);
    for (text, error) in [
        (String::new(), KeyFileError::NotAKeyFile),
        ("weave-identity".to_owned(), KeyFileError::NotAKeyFile),
        ("weave-identity-1".to_owned(), KeyFileError::NotAKeyFile),
        (
            format!(" weave-identity-1 {digits}\n"),
            KeyFileError::NotAKeyFile,
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n".to_owned(),
            KeyFileError::NotAKeyFile,
        ),
        (
            format!("weave-identity-2 {digits}\n"),
            KeyFileError::Version,
        ),
        (
            format!("weave-identity-01 {digits}\n"),
            KeyFileError::Version,
        ),
        (format!("weave-identity-1 {digits}"), KeyFileError::Damaged),
        (
            format!("weave-identity-1  {digits}\n"),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {digits}\r\n"),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {digits}\n\n"),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {digits}00\n"),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {}\n", &digits[1..]),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {}\n", digits.to_uppercase()),
            KeyFileError::Damaged,
        ),
        (
            format!("weave-identity-1 {}\n", digits.replace('5', "x")),
            KeyFileError::Damaged,
        ),
    ] {
        assert_eq!(Identity::parse(&text).unwrap_err(), error, "{text:?}");
    }
    let text = identity(1).seed_file_text();
    for length in 0..text.len() {
        assert!(Identity::parse(&text[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn debug_shows_no_secret() {
    let identity = identity(0xa5);
    let shown = format!("{identity:?} {identity:#?}");
    assert!(shown.contains("PeerId("), "{shown}");
    assert!(!shown.contains("a5a5") && !shown.contains("165"), "{shown}");
}

#[test]
fn names_and_short_ids_come_from_the_hash() {
    let peer = identity(1).peer_id();
    let hash = ring::digest::digest(&ring::digest::SHA256, peer.as_bytes());
    assert_eq!(peer.short_id().as_bytes(), &hash.as_ref()[..8]);
    for seed in 0..32 {
        let name = identity(seed).peer_id().default_name();
        let bytes: Vec<u8> = name
            .split(':')
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect();
        assert_eq!(name.len(), 17, "{name}");
        assert_eq!(bytes.len(), 6, "{name}");
        assert_eq!(bytes[0] & 3, 2, "locally administered, not a group: {name}");
        assert_eq!(
            bytes[1..],
            identity(seed).peer_id().short_id().as_bytes()[1..6]
        );
    }
}

#[test]
fn network_names_are_taken_as_they_are() {
    let names = ["weave", "Weave", "weave ", "", "weave\0"];
    for (place, a) in names.iter().enumerate() {
        for b in &names[..place] {
            assert_ne!(NetworkId::from_name(a), NetworkId::from_name(b));
        }
    }
    assert_eq!(NetworkId::from_name("weave"), NetworkId::from_name("weave"));
}

#[test]
fn debug_of_an_id_is_short() {
    let bytes = [0xab; 32];
    assert_eq!(
        format!("{:?}", PeerId::from_bytes(bytes)),
        "PeerId(abababab…)"
    );
    assert_eq!(
        format!("{:?}", NetworkId::from_bytes(bytes)),
        "NetworkId(abababab…)"
    );
    assert_eq!(
        format!("{:?}", ShortId::from_bytes([0xab; 8])),
        "ShortId(abababab…)"
    );
    assert_eq!(
        "xy".parse::<ShortId>().unwrap_err().to_string(),
        "not 16 hex digits"
    );
}

proptest! {
    #[test]
    fn ids_come_back_from_text_and_from_the_wire(bytes: [u8; 32]) {
        let peer = PeerId::from_bytes(bytes);
        prop_assert_eq!(peer.to_string().parse(), Ok(peer));
        prop_assert_eq!(peer.to_string().to_uppercase().parse(), Ok(peer));
        let wire = postcard::to_stdvec(&peer).unwrap();
        prop_assert_eq!(&wire, &bytes, "bare bytes");
        prop_assert_eq!(postcard::from_bytes::<PeerId>(&wire), Ok(peer));
        let json = serde_json::to_string(&peer).unwrap();
        prop_assert_eq!(&json, &format!("\"{peer}\""));
        prop_assert_eq!(serde_json::from_str::<PeerId>(&json).unwrap(), peer);
        let short = ShortId::from_bytes(*bytes.first_chunk().unwrap());
        prop_assert_eq!(short.to_string().parse(), Ok(short));
        prop_assert_eq!(postcard::to_stdvec(&short).unwrap(), &bytes[..8]);
    }

    #[test]
    fn no_text_breaks_a_parser(text in ".{0,80}") {
        let _ = text.parse::<PeerId>();
        let _ = Identity::parse(&text);
        let _ = Identity::parse(&format!("weave-identity-1 {text}"));
    }
}
