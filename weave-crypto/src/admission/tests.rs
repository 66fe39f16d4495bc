use super::*;

fn network() -> NetworkId {
    NetworkId::from_name("weave")
}

fn key(byte: u8) -> PasswordKey {
    PasswordKey::from_bytes([byte; 32])
}

#[test]
fn a_password_gives_one_key_in_each_network() {
    let derived = PasswordKey::derive(b"correct horse", network()).unwrap();
    // From Python's `cryptography`: Argon2id(salt=sha256(b"weave network 1\0weave"), length=32, iterations=3, lanes=1,
    // memory_cost=65536).derive(b"correct horse").
    assert_eq!(derived, expected());
    let elsewhere = PasswordKey::derive(b"correct horse", NetworkId::from_name("other")).unwrap();
    assert_ne!(derived, elsewhere);
    let other = PasswordKey::derive(b"correct horse ", network()).unwrap();
    assert_ne!(derived, other);
}

#[test]
fn passwords_that_are_none_are_refused() {
    assert_eq!(
        PasswordKey::derive(b"", network()),
        Err(PasswordError::Empty)
    );
    let long = vec![b'x'; PasswordKey::PASSWORD_BYTES_MAX + 1];
    assert_eq!(
        PasswordKey::derive(&long, network()),
        Err(PasswordError::TooLong)
    );
}

#[test]
fn two_equal_passwords_are_one() {
    assert_eq!(Passwords::two(key(1), key(1)), Passwords::one(key(1)));
    assert_eq!(Passwords::two(key(1), key(2)).len(), 2);
    assert_eq!(Passwords::one(key(1)).len(), 1);
    assert!(Passwords::none().is_empty());
    assert_ne!(
        Passwords::two(key(1), key(2)),
        Passwords::two(key(2), key(1))
    );
}

#[test]
fn nothing_shows_a_password() {
    let shown = format!("{:?} {:?}", key(0xab), Passwords::two(key(0xab), key(0xcd)));
    assert_eq!(shown, "PasswordKey(..) Passwords(2)");
}

/// The key schedule, as `tests/vectors/admission.txt` has it; `tests/vectors.rs` says what holds for these files.
#[test]
fn the_keys_are_those_of_the_vectors() {
    let mut vectors = String::from(
        "# The keys of a password in the network \"weave\": stretched; SPAKE2's elements with the seeds 80.. and c0.. in instance 1;\n\
         # then the tags and Noise's pre-shared key for a transcript whose hash is 20..\n",
    );
    let mut add = |name: &str, bytes: &[u8]| {
        vectors.push_str(&format!("{name} = "));
        crate::hex::write(bytes, &mut vectors).unwrap();
        vectors.push('\n');
    };
    let seed = |first: u8| std::array::from_fn(|at| first + at as u8);
    let horse = PasswordKey::derive(b"correct horse", network()).unwrap();
    add("password", b"correct horse");
    add("password_key", horse.as_bytes());
    // Instance 1 on both sides has the older of two.
    let passwords = Passwords::two(key(1), horse);
    let start = |side, first| Exchange::start(side, network(), &passwords, 2, &seed(first));
    let dialler = start(Side::Dialler, 0x80);
    let listener = start(Side::Listener, 0xc0);
    let (x, y) = (dialler.elements().to_vec(), listener.elements().to_vec());
    add("dialler_element", &x[ELEMENT_BYTES..]);
    add("listener_element", &y[ELEMENT_BYTES..]);
    let at_dialler = dialler.finish(&y).unwrap();
    let at_listener = listener.finish(&x).unwrap();
    let said: [u8; 32] = seed(0x20);
    for (name, side) in [
        ("dialler_tag", Side::Dialler),
        ("listener_tag", Side::Listener),
    ] {
        let tag = at_dialler.tag(side, 1, &said).unwrap();
        assert!(at_listener.confirms(side, 1, &said, &tag));
        add(name, &tag);
    }
    let psk = at_dialler.noise_psk(1, &said).unwrap();
    assert_eq!(at_listener.noise_psk(1, &said).unwrap(), psk);
    add("noise_psk", psk.as_ref());
    let stored = include_str!("../../tests/vectors/admission.txt");
    assert!(
        vectors == stored,
        "the vectors differ; now they are:\n{vectors}"
    );
}

#[test]
fn a_clone_shares_the_keys() {
    let passwords = Passwords::one(key(1));
    assert!(Arc::ptr_eq(&passwords.0, &passwords.clone().0));
}

fn expected() -> PasswordKey {
    PasswordKey::from_bytes(
        crate::hex::parse("31058338055c84214601dcfafb20ec667daa556df6a16b4ee55d4117153c92aa")
            .expect("64 digits"),
    )
}
