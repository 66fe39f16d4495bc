//! The confirmation of new keys: a sealed note, the first packet that the initiator seals with them.

use weave_crypto::TunnelKeys;

use crate::packet::{Kind, Note, PacketView, SEALED_HEADER_BYTES, seal_packet};

/// A sealed note that says "confirm", made with new keys.
pub(super) fn confirmation(keys: &TunnelKeys) -> Option<Vec<u8>> {
    let mut note = [0; Note::BYTES_MAX];
    let len = Note::Confirm.emit(&mut note);
    seal_packet(keys, Kind::Note, None, &note[..len]).ok()
}

/// Whether `packet` is a genuine note sealed with the other side of `keys`.
pub(super) fn confirms(keys: &TunnelKeys, packet: &[u8]) -> bool {
    let Ok(view) = PacketView::new_checked(packet) else {
        return false;
    };
    let header = view.sealed();
    if view.envelope().is_some()
        || header.kind != Kind::Note
        || header.receiver != keys.local_index()
    {
        return false;
    }
    let (aad, body) = packet.split_at(SEALED_HEADER_BYTES);
    let mut body = body.to_vec();
    let genuine = keys
        .open(header.counter, aad, &mut body)
        .is_ok_and(|note| Note::parse(note) == Ok(Note::Confirm));
    let mut fresh = false;
    if genuine {
        keys.accept(&[header.counter], |_, verdict| fresh = verdict.is_ok());
    }
    fresh
}
