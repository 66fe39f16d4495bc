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
