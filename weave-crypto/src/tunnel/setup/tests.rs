use proptest::prelude::*;

use super::*;

fn local(seed: u8) -> TunnelLocal {
    TunnelLocal {
        identity: Arc::new(Identity::from_seed([seed; 32])),
        network: NetworkId::from_name("weave"),
        boot_id: 100 + u64::from(seed),
        aes: true,
    }
}

fn start(from: &TunnelLocal, to: &TunnelLocal, suite: Suite) -> (TunnelInitiation, Vec<u8>) {
    let (peer, public) = (to.identity.peer_id(), to.identity.noise_public());
    TunnelInitiation::start(from, peer, &public, to.boot_id, suite, 0xaaaa, [3; 32]).unwrap()
}

fn answer(
    local: &TunnelLocal,
    from: &TunnelLocal,
    message: &[u8],
) -> Result<TunnelResponse, TunnelError> {
    let (peer, public) = (from.identity.peer_id(), from.identity.noise_public());
    respond(local, peer, &public, from.boot_id, message, 0xbbbb, [4; 32])
}

fn opens(from: &TunnelKeys, to: &TunnelKeys) -> bool {
    let counter = from.reserve(1).unwrap();
    let mut body = b"body".to_vec();
    let tag = from.seal(counter, b"header", &mut body).unwrap();
    body.extend_from_slice(&tag);
    to.open(counter, b"header", &mut body).is_ok()
}

#[test]
fn two_messages_make_a_tunnel_with_either_suite() {
    let (a, b) = (local(1), local(2));
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let (initiation, first) = start(&a, &b, suite);
        assert_eq!(initiation.local_index(), 0xaaaa);
        assert_eq!(first.len(), INITIATION_BYTES);
        assert_eq!(initiation_boot_ids(&first), Some((a.boot_id, b.boot_id)));
        let response = answer(&b, &a, &first).unwrap();
        assert_eq!(response.message.len(), RESPONSE_BYTES);
        assert_eq!(response_index(&response.message), Some(0xaaaa));
        let ours = initiation.finish(&response.message).unwrap();
        let theirs = response.keys;
        assert_eq!((ours.suite(), theirs.suite()), (suite, suite));
        assert_eq!((ours.local_index(), ours.remote_index()), (0xaaaa, 0xbbbb));
        assert_eq!(
            (theirs.local_index(), theirs.remote_index()),
            (0xbbbb, 0xaaaa)
        );
        assert!(ours.is_confirmed());
        assert!(!theirs.is_confirmed());
        assert!(opens(&ours, &theirs));
        assert!(opens(&theirs, &ours));
        theirs.accept(&[1], |_, verdict| assert_eq!(verdict, Ok(())));
        assert!(theirs.is_confirmed());
    }
}

#[test]
fn a_repeated_first_message_gets_keys_of_its_own() {
    let (a, b) = (local(1), local(2));
    let (initiation, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let earlier = answer(&b, &a, &first).unwrap();
    let (peer, public) = (a.identity.peer_id(), a.identity.noise_public());
    let later = respond(&b, peer, &public, a.boot_id, &first, 0xcccc, [5; 32]).unwrap();
    let ours = initiation.finish(&later.message).unwrap();
    assert_eq!(ours.remote_index(), 0xcccc);
    assert!(opens(&ours, &later.keys));
    assert!(!opens(&ours, &earlier.keys));
}

#[test]
fn a_restart_on_either_side_is_named() {
    let (a, b) = (local(1), local(2));
    let restarted = |local: &TunnelLocal| TunnelLocal {
        boot_id: local.boot_id + 1,
        ..local.clone()
    };
    let (_, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let stale = |theirs, ours| TunnelError::StaleBoot { theirs, ours };
    assert_eq!(
        answer(&restarted(&b), &a, &first).unwrap_err(),
        stale(false, true)
    );
    assert_eq!(
        answer(&b, &restarted(&a), &first).unwrap_err(),
        stale(true, false)
    );
    assert_eq!(
        answer(&restarted(&b), &restarted(&a), &first).unwrap_err(),
        stale(true, true)
    );
    assert_eq!(stale(true, true).fault(), Fault::Stale);
    // Made to look current: the prologue holds what they were.
    let mut changed = first;
    changed[15] += 1;
    assert_eq!(
        answer(&restarted(&b), &a, &changed).unwrap_err(),
        TunnelError::Noise
    );
}

#[test]
fn both_routers_and_the_network_are_part_of_it() {
    let (a, b, c) = (local(1), local(2), local(3));
    let (_, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let same_boot = |local: &TunnelLocal, boot_id| TunnelLocal {
        boot_id,
        ..local.clone()
    };
    // To another, from another, in another network.
    assert_eq!(
        answer(&same_boot(&c, b.boot_id), &a, &first).unwrap_err(),
        TunnelError::Noise
    );
    assert_eq!(
        answer(&b, &same_boot(&c, a.boot_id), &first).unwrap_err(),
        TunnelError::Noise
    );
    let elsewhere = TunnelLocal {
        network: NetworkId::from_name("other"),
        ..b.clone()
    };
    assert_eq!(
        answer(&elsewhere, &a, &first).unwrap_err(),
        TunnelError::Noise
    );
}

#[test]
fn the_key_has_to_be_the_one_in_the_record() {
    let (a, b, c) = (local(1), local(2), local(3));
    let (_, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let (peer, other) = (a.identity.peer_id(), c.identity.noise_public());
    let error = respond(&b, peer, &other, a.boot_id, &first, 1, [4; 32]).unwrap_err();
    assert_eq!(error, TunnelError::OtherKey);
    assert_eq!(error.fault(), Fault::Peer);
}

#[test]
fn a_suite_that_one_side_lacks_is_refused_there() {
    let (a, b) = (local(1), local(2));
    let without = |local: &TunnelLocal| TunnelLocal {
        aes: false,
        ..local.clone()
    };
    let (_, first) = start(&a, &b, Suite::Aes256Gcm);
    assert_eq!(
        answer(&without(&b), &a, &first).unwrap_err(),
        TunnelError::Suite
    );
    let (peer, public) = (b.identity.peer_id(), b.identity.noise_public());
    let refused = TunnelInitiation::start(
        &without(&a),
        peer,
        &public,
        b.boot_id,
        Suite::Aes256Gcm,
        1,
        [3; 32],
    );
    assert_eq!(refused.unwrap_err(), TunnelError::Suite);
    let (_, first) = start(&without(&a), &without(&b), Suite::ChaCha20Poly1305);
    assert!(answer(&without(&b), &a, &first).is_ok());
}

#[test]
fn an_answer_to_an_earlier_initiation_is_told_apart() {
    let (a, b) = (local(1), local(2));
    let (_, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let late = answer(&b, &a, &first).unwrap().message;
    let (peer, public) = (b.identity.peer_id(), b.identity.noise_public());
    let (next, _) = TunnelInitiation::start(
        &a,
        peer,
        &public,
        b.boot_id,
        Suite::ChaCha20Poly1305,
        0xaaab,
        [6; 32],
    )
    .unwrap();
    assert_ne!(response_index(&late), Some(next.local_index()));
    assert_eq!(
        next.finish(&late).unwrap_err(),
        TunnelError::OtherInitiation
    );
}

#[test]
fn weak_keys_are_refused_on_both_sides() {
    let (a, b) = (local(1), local(2));
    let refused = TunnelInitiation::start(
        &a,
        b.identity.peer_id(),
        &[0; 32],
        b.boot_id,
        Suite::ChaCha20Poly1305,
        1,
        [3; 32],
    );
    assert_eq!(refused.unwrap_err(), TunnelError::WeakKey);
    let (initiation, mut first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let mut second = answer(&b, &a, &first).unwrap().message;
    first[16..48].fill(0);
    assert_eq!(answer(&b, &a, &first).unwrap_err(), TunnelError::WeakKey);
    second[4..36].fill(0);
    assert_eq!(
        initiation.finish(&second).unwrap_err(),
        TunnelError::WeakKey
    );
}

#[test]
fn every_prefix_and_every_changed_byte_is_refused() {
    let (a, b) = (local(1), local(2));
    let (_, first) = start(&a, &b, Suite::ChaCha20Poly1305);
    let second = answer(&b, &a, &first).unwrap().message;
    for length in 0..first.len() {
        assert_eq!(
            answer(&b, &a, &first[..length]).unwrap_err(),
            TunnelError::Length
        );
    }
    assert_eq!(
        answer(&b, &a, &[first.as_slice(), &[0]].concat()).unwrap_err(),
        TunnelError::Length
    );
    for at in 0..first.len() {
        let mut forged = first.clone();
        forged[at] ^= 1 << (at % 8);
        let error = answer(&b, &a, &forged).unwrap_err();
        assert_eq!(
            matches!(error, TunnelError::StaleBoot { .. }),
            at < 16,
            "byte {at}: {error:?}"
        );
        assert!(
            at < 16 || error == TunnelError::Noise,
            "byte {at}: {error:?}"
        );
    }
    let finish = |message: &[u8]| start(&a, &b, Suite::ChaCha20Poly1305).0.finish(message);
    assert!(finish(&second).is_ok());
    for length in 0..second.len() {
        assert_eq!(finish(&second[..length]).unwrap_err(), TunnelError::Length);
    }
    assert_eq!(
        finish(&[second.as_slice(), &[0]].concat()).unwrap_err(),
        TunnelError::Length
    );
    for at in 0..second.len() {
        let mut forged = second.clone();
        forged[at] ^= 1 << (at % 8);
        let want = if at < 4 {
            TunnelError::OtherInitiation
        } else {
            TunnelError::Noise
        };
        assert_eq!(finish(&forged).unwrap_err(), want, "byte {at}");
    }
}

#[test]
fn a_suite_of_a_later_version_is_named_so() {
    let (a, b) = (local(1), local(2));
    let boot_ids = (a.boot_id, b.boot_id);
    let mut noise = Noise::initiator(&Setup {
        pattern: noise::IK,
        secret: a.identity.noise_secret(),
        remote: Some(&b.identity.noise_public()),
        psk: None,
        prologue: &prologue(
            a.network,
            a.identity.peer_id(),
            b.identity.peer_id(),
            boot_ids,
        ),
        seed: Zeroizing::new([3; 32]),
    })
    .unwrap();
    let sealed = noise.write(&[3, 0, 0, 0, 1]).unwrap();
    let message = [
        boot_ids.0.to_be_bytes().as_slice(),
        &boot_ids.1.to_be_bytes(),
        &sealed,
    ]
    .concat();
    assert_eq!(answer(&b, &a, &message).unwrap_err(), TunnelError::Suite);
}

#[test]
fn debug_shows_no_secret() {
    let (a, b) = (local(0xa5), local(2));
    let (initiation, first) = start(&a, &b, Suite::Aes256Gcm);
    let shown = format!(
        "{a:?} {initiation:?} {:?}",
        answer(&b, &a, &first).unwrap().keys
    );
    assert!(!shown.contains("165") && !shown.contains("a5a5"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), first: bool) {
        let (a, b) = (local(1), local(2));
        // Past the boot ids, so that the rest is read as well.
        let message = [a.boot_id.to_be_bytes().as_slice(), &b.boot_id.to_be_bytes(), &bytes].concat();
        let answered = answer(&b, &a, if first { &message } else { &bytes });
        prop_assert!(answered.is_err());
        let (initiation, _) = start(&a, &b, Suite::ChaCha20Poly1305);
        let message = [0xaaaa_u32.to_be_bytes().as_slice(), &bytes].concat();
        let finished = initiation.finish(if first { &message } else { &bytes });
        prop_assert!(finished.is_err());
        let _ = (initiation_boot_ids(&bytes), response_index(&bytes));
    }
}
