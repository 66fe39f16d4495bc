use super::*;

#[test]
fn two_routers_meet_and_talk() {
    let local = |seed, boot_id| LinkLocal {
        identity: Arc::new(Identity::from_seed([seed; 32])),
        network: NetworkId::from_name("weave"),
        boot_id,
    };
    let (a, b) = (local(1, 10), local(2, 20));
    let mut to_listener = Vec::new();
    let mut dialler = LinkHandshake::dialler(a.clone(), [3; 32], &mut to_listener);
    let mut listener = LinkHandshake::listener(b.clone(), [4; 32]);
    let mut to_dialler = Vec::new();
    let (mut at_dialler, mut at_listener) = (None, None);
    while at_listener.is_none() {
        at_listener = listener
            .handle_bytes(&mem::take(&mut to_listener), &mut to_dialler)
            .unwrap();
        if at_dialler.is_none() {
            at_dialler = dialler
                .handle_bytes(&mem::take(&mut to_dialler), &mut to_listener)
                .unwrap();
        }
    }
    let (mut at_dialler, mut at_listener) = (at_dialler.unwrap(), at_listener.unwrap());
    assert_eq!(at_dialler.peer, b.identity.peer_id());
    assert_eq!(at_listener.peer, a.identity.peer_id());
    let mut wire = Vec::new();
    at_dialler.stream.seal(b"hello", &mut wire).unwrap();
    at_listener.stream.handle_bytes(&wire);
    assert_eq!(
        at_listener.stream.next_message().unwrap().unwrap(),
        b"hello"
    );
}
