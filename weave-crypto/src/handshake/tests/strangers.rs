//! What a stranger can find out: as dialler, as listener, and in the middle, it tries everything it saw, with the exponents that
//! it chose itself, against a hundred passwords, the true one among them. Only one that it had settled with beforehand, by the
//! element it sent, may ever be confirmed.
//!
//! The stranger reckons SPAKE2 by itself here, in the curve's own terms, not with the code under test. The same tests run
//! against routers whose shared key is the stretched password itself, and there they find the password.

use std::collections::BTreeSet;

use curve25519_dalek::{
    EdwardsPoint, Scalar, constants::ED25519_BASEPOINT_POINT, edwards::CompressedEdwardsY,
};
use spake2::{Ed25519Group, Group};

use super::{passwords::local_with, *};
use crate::admission::{PasswordKey, SharedKeys, Side, weakened};

/// The letter of the network's password; the candidates are 100 letters with it among them.
const TRUE: u8 = b'a';
const CANDIDATES: std::ops::Range<u8> = 50..150;
const WRONG: u8 = b'b';

fn key(candidate: u8) -> PasswordKey {
    PasswordKey::from_bytes([candidate; 32])
}

fn scalar(candidate: u8) -> Scalar {
    Ed25519Group::hash_to_scalar(key(candidate).as_bytes())
}

fn point(bytes: &[u8]) -> EdwardsPoint {
    CompressedEdwardsY(bytes.try_into().unwrap())
        .decompress()
        .unwrap()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    digest::digest(&digest::SHA256, &parts.concat())
        .as_ref()
        .try_into()
        .unwrap()
}

/// What a stranger sends as an element, and what it keeps of it.
#[derive(Copy, Clone)]
struct Element {
    exponent: Scalar,
    /// Blinds like a router with this password.
    settled: Option<u8>,
}

impl Element {
    fn settled(password: u8) -> Self {
        Self {
            exponent: Scalar::from_bytes_mod_order([0x5a; 32]),
            settled: Some(password),
        }
    }

    /// No password behind it at all: an element as plain Diffie-Hellman has it.
    fn unblinded() -> Self {
        Self {
            settled: None,
            ..Self::settled(0)
        }
    }

    fn bytes(&self, side: Side) -> [u8; 32] {
        let blinding = match side {
            Side::Dialler => Ed25519Group::const_m(),
            Side::Listener => Ed25519Group::const_n(),
        };
        let plain = ED25519_BASEPOINT_POINT * self.exponent;
        match self.settled {
            Some(password) => plain + blinding * scalar(password),
            None => plain,
        }
        .compress()
        .0
    }
}

/// One tag that a stranger saw.
struct Seen {
    instance: usize,
    dialler_element: [u8; 32],
    listener_element: [u8; 32],
    what: Tag,
}

enum Tag {
    /// Of the exchange: whose it is, the hash of all before it, and the tag.
    Confirmation(Side, [u8; 32], [u8; 32]),
    /// Of the Noise handshake: the prologue, and the first message with its tag.
    Noise([u8; 32], Vec<u8>),
}

impl Seen {
    /// Whether `key` as shared key makes this tag.
    fn is_made_by(&self, key: [u8; 32]) -> bool {
        let mut keys = vec![[0; 32]; self.instance];
        keys.push(key);
        let keys = SharedKeys::new(&keys);
        match &self.what {
            Tag::Confirmation(side, said, tag) => keys.confirms(*side, self.instance, said, tag),
            Tag::Noise(prologue, message) => {
                let psk = keys.noise_psk(self.instance, prologue).unwrap();
                let responder = Noise::responder(&Setup {
                    pattern: noise::XX_PSK,
                    secret: &[7; 32],
                    remote: None,
                    psk: Some(&psk),
                    prologue,
                    seed: Zeroizing::new([7; 32]),
                });
                responder.unwrap().read(message).is_ok()
            }
        }
    }

    /// Every shared key that a stranger with these exponents can reckon for a password.
    fn keys(&self, exponents: &[Scalar], candidate: u8) -> Vec<[u8; 32]> {
        let (m, n) = (Ed25519Group::const_m(), Ed25519Group::const_n());
        let number = [self.instance as u8];
        let network = local(1).network;
        let id = |role: &[u8]| sha256(&[role, &number, network.as_bytes()]);
        let mut keys = vec![*key(candidate).as_bytes()];
        for exponent in exponents {
            for (element, blinding) in [(&self.listener_element, n), (&self.dialler_element, m)] {
                let shared = (point(element) - blinding * scalar(candidate)) * exponent;
                keys.push(sha256(&[
                    &sha256(&[key(candidate).as_bytes()]),
                    &id(b"weave dialler 1\0"),
                    &id(b"weave listener 1\0"),
                    &self.dialler_element,
                    &self.listener_element,
                    shared.compress().as_bytes(),
                ]));
            }
        }
        keys
    }
}

/// The passwords that what was seen confirms.
fn confirmed(seen: &[Seen], exponents: &[Scalar]) -> BTreeSet<u8> {
    CANDIDATES
        .filter(|&candidate| {
            seen.iter().any(|seen| {
                let keys = seen.keys(exponents, candidate);
                keys.into_iter().any(|key| seen.is_made_by(key))
            })
        })
        .collect()
}

fn honest_dialler() -> (LinkHandshake, Vec<u8>) {
    let mut out = Vec::new();
    let local = local_with(1, std::str::from_utf8(&[TRUE]).unwrap());
    (LinkHandshake::dialler(local, [0xd1; 32], &mut out), out)
}

fn honest_listener() -> LinkHandshake {
    LinkHandshake::listener(
        local_with(2, std::str::from_utf8(&[TRUE]).unwrap()),
        [0x15; 32],
    )
}

fn stranger_hello(passwords: usize) -> Vec<u8> {
    Hello {
        versions: OUR_VERSIONS,
        network: local(1).network,
        passwords: passwords as u8,
    }
    .emit()
    .to_vec()
}

fn with_length(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(message, &mut out).unwrap();
    out
}

fn elements(of: &[Element], side: Side) -> Vec<u8> {
    of.iter().flat_map(|element| element.bytes(side)).collect()
}

/// The dialler's tags in its message of `instances` elements and tags; `before` is all that was said before it.
fn dialler_tags(before: &[u8], message: &[u8], instances: usize, listener: &[u8]) -> Vec<Seen> {
    let (elements, tags) = message[2..].split_at(32 * instances);
    let said = sha256(&[before, &message[..2], elements]);
    (0..instances)
        .map(|instance| {
            let at = 32 * instance..32 * (instance + 1);
            Seen {
                instance,
                dialler_element: elements[at.clone()].try_into().unwrap(),
                listener_element: listener[at.clone()].try_into().unwrap(),
                what: Tag::Confirmation(Side::Dialler, said, tags[at].try_into().unwrap()),
            }
        })
        .collect()
}

/// A stranger dials, with these elements and the tags that fit them. Returns what it saw.
fn as_dialler(own: &[Element]) -> Vec<Seen> {
    let mut listener = honest_listener();
    let mut transcript = stranger_hello(own.len());
    let mut answer = Vec::new();
    listener.handle_bytes(&transcript, &mut answer).unwrap();
    let theirs = answer[Hello::BYTES + 2..].to_vec();
    transcript.append(&mut answer);

    let mine = elements(own, Side::Dialler);
    let length = ((mine.len() + 32 * own.len()) as u16).to_be_bytes();
    let before_tags = sha256(&[&transcript, &length, &mine]);
    let mut message = [length.as_slice(), &mine].concat();
    let seen = |instance: usize, what| Seen {
        instance,
        dialler_element: mine[32 * instance..][..32].try_into().unwrap(),
        listener_element: theirs[32 * instance..][..32].try_into().unwrap(),
        what,
    };
    for (instance, element) in own.iter().enumerate() {
        let mut keys = vec![[0; 32]; instance];
        // The last key is the one by its own exponent on the listener's element.
        let unused = Tag::Confirmation(Side::Dialler, [0; 32], [0; 32]);
        let password = element.settled.unwrap_or(WRONG);
        keys.push(seen(instance, unused).keys(&[element.exponent], password)[1]);
        let tag = SharedKeys::new(&keys).tag(Side::Dialler, instance, &before_tags);
        message.extend_from_slice(&tag.unwrap());
    }
    let result = listener.handle_bytes(&message, &mut answer);
    transcript.extend_from_slice(&message);
    match result {
        Err(error) => {
            assert_eq!(error, HandshakeError::WrongPassword);
            assert_eq!(
                answer,
                [0, 1, 255],
                "no tag, and nothing about the instance"
            );
            Vec::new()
        }
        Ok(_) => {
            let said = sha256(&[&transcript, &answer[..3]]);
            let tag = answer[3..].try_into().unwrap();
            let what = Tag::Confirmation(Side::Listener, said, tag);
            vec![seen(usize::from(answer[2]), what)]
        }
    }
}

/// A stranger listens, and answers with these elements. Returns what it saw.
fn as_listener(own: &[Element]) -> Vec<Seen> {
    let (mut dialler, mut transcript) = honest_dialler();
    let mine = elements(own, Side::Listener);
    let said = [stranger_hello(own.len()), with_length(&mine)].concat();
    let mut message = Vec::new();
    dialler.handle_bytes(&said, &mut message).unwrap();
    transcript.extend_from_slice(&said);
    dialler_tags(&transcript, &message, own.len(), &mine)
}

/// A stranger passes on what two members say. Returns what it saw.
fn in_the_middle() -> Vec<Seen> {
    let (mut dialler, mut to_listener) = honest_dialler();
    let mut listener = honest_listener();
    let mut transcript = Vec::new();
    let mut pass = |to: &mut LinkHandshake, bytes: Vec<u8>| {
        transcript.extend_from_slice(&bytes);
        let mut answer = Vec::new();
        to.handle_bytes(&bytes, &mut answer).unwrap();
        (answer, transcript.clone())
    };
    let (answer, _) = pass(&mut listener, mem::take(&mut to_listener));
    let listener_elements = answer[Hello::BYTES + 2..].to_vec();
    let (proof, before) = pass(&mut dialler, answer);
    let mut seen = dialler_tags(&before, &proof, 1, &listener_elements);
    let (answer, before) = pass(&mut listener, proof);
    let also = |what| Seen { what, ..seen[0] };
    let listener_tag = also(Tag::Confirmation(
        Side::Listener,
        sha256(&[&before, &answer[..3]]),
        answer[3..].try_into().unwrap(),
    ));
    let (xx, before) = pass(&mut dialler, answer);
    let noise = also(Tag::Noise(sha256(&[&before]), xx[2..].to_vec()));
    seen.extend([listener_tag, noise]);
    seen
}

/// A stranger puts an element of its own in the place of each member's. Returns what it saw.
fn between_two(own: Element) -> Vec<Seen> {
    let mut seen = as_listener(&[own]);
    seen.extend(as_dialler(&[own]));
    seen
}

/// Runs every role; the error names the one in which more was confirmed than the stranger had settled with.
fn strangers_find_out_nothing() -> Result<(), &'static str> {
    let exponent = Element::unblinded().exponent;
    let check = |role, seen: &[Seen], own: &[Element]| {
        let settled: BTreeSet<u8> = own.iter().filter_map(|element| element.settled).collect();
        let found = confirmed(seen, &[exponent, Scalar::ONE, Scalar::ZERO]);
        if found.is_subset(&settled) {
            Ok(found)
        } else {
            Err(role)
        }
    };
    for guess in CANDIDATES.filter(|&guess| guess != TRUE).step_by(33) {
        for own in [
            vec![Element::settled(guess)],
            vec![Element::unblinded()],
            vec![Element::settled(guess), Element::settled(WRONG)],
        ] {
            check("dialler", &as_dialler(&own), &own)?;
            check("listener", &as_listener(&own), &own)?;
        }
        let own = Element::settled(guess);
        check("between two", &between_two(own), &[own])?;
    }
    check("in the middle", &in_the_middle(), &[])?;
    Ok(())
}

#[test]
fn a_stranger_confirms_only_what_it_settled_with() {
    assert_eq!(strangers_find_out_nothing(), Ok(()));
}

#[test]
fn a_stranger_that_guessed_right_can_tell() {
    // Not what is wanted, but what is unavoidable: and it shows that the stranger here knows how to look.
    let right = [Element::settled(TRUE)];
    let also_right = [Element::settled(WRONG), Element::settled(TRUE)];
    let exponent = [right[0].exponent];
    for own in [right.as_slice(), &also_right] {
        assert_eq!(confirmed(&as_dialler(own), &exponent), [TRUE].into());
        assert_eq!(confirmed(&as_listener(own), &exponent), [TRUE].into());
    }
    // The dialler sees nothing but a refusal when it guessed wrong.
    assert!(as_dialler(&[Element::settled(WRONG)]).is_empty());
}

#[test]
fn without_the_exchange_the_same_stranger_finds_the_password() {
    weakened::with(&key(TRUE), || {
        assert_eq!(strangers_find_out_nothing(), Err("listener"));
        for seen in [
            as_listener(&[Element::settled(WRONG)]),
            as_listener(&[Element::unblinded()]),
            between_two(Element::settled(WRONG)),
            in_the_middle(),
        ] {
            assert_eq!(confirmed(&seen, &[]), [TRUE].into());
        }
        // Each kind of tag by itself is enough.
        let seen = in_the_middle();
        assert_eq!(seen.len(), 3);
        for tag in seen {
            assert_eq!(confirmed(&[tag], &[]), [TRUE].into());
        }
    });
}
