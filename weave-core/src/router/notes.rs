//! Notes between two routers: short messages sealed in their tunnel, sent the way that their frames go.

use std::time::Instant;

use weave_crypto::PeerId;
use weave_mesh::Carrier;

use super::{Action, Router};
use crate::packet::{Envelope, Kind, Note, TTL_START, seal_packet};

impl Router {
    pub(super) fn handle_note(&mut self, now: Instant, from: PeerId, note: Note) {
        match note {
            Note::Echo { token } => self.handle_echo(now, from, token),
            Note::EchoAnswer { token } => self.handle_echo_answer(now, from, token),
            // The data plane has done what there is to do.
            Note::NotHere { .. } | Note::Closing | Note::Confirm => {}
        }
    }

    /// Seals a note in the tunnel with a router, and sends it the way that frames for it go. False when there is no
    /// tunnel or no way, or the way leads over a link that carries nothing yet.
    pub(super) fn send_note(&mut self, now: Instant, to: &PeerId, note: Note) -> bool {
        let sealed = self.next_hop(to).and_then(|next| {
            let link = self.mesh.link(&next)?;
            let is_on_stream = link.carrier() == Some(Carrier::Tcp);
            let remote = link.udp_remote().filter(|_| !is_on_stream);
            if !is_on_stream && remote.is_none() {
                return None;
            }
            let envelope = if next == *to {
                None
            } else {
                Some(Envelope {
                    ttl: TTL_START,
                    tag: link.tag_out()?,
                    destination: to.short_id(),
                })
            };
            let mut body = [0; Note::BYTES_MAX];
            let length = note.emit(&mut body);
            let keys = self.tunnels.sealing(to)?;
            let bytes = seal_packet(keys, Kind::Note, envelope, &body[..length]).ok()?;
            Some((next, remote, bytes))
        });
        let Some((next, remote, bytes)) = sealed else {
            return false;
        };
        match remote {
            Some(remote) => self.actions.push_back(Action::SendPacket { remote, bytes }),
            None => self.mesh.send_packet(now, next, now, bytes),
        }
        true
    }
}
