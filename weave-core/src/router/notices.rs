//! What the data plane hints at and stamps, and what its port says of the stations behind it.

use std::time::Instant;

use super::{Event, Router};
use crate::fib::Heard;
use crate::{Notice, PortChange, Site};

impl Router {
    /// A hint from the data plane.
    pub fn handle_notice(&mut self, now: Instant, notice: Notice) {
        match notice {
            Notice::Probe {
                site,
                remote,
                probe,
            } => {
                if let Some(peer) = self.sites.peer(site) {
                    self.mesh.handle_probe(now, peer, remote, &probe);
                }
            }
            Notice::Confirmed { index } => {
                let outcome = self.tunnels.handle_confirmed(now, index);
                self.apply_tunnel_outcome(now, None, outcome);
            }
            Notice::Active { site } => {
                if let Some(peer) = self.sites.peer(site) {
                    self.mesh.handle_activity(now, peer);
                    self.want_direct(now, peer);
                }
            }
            Notice::Floods { site } => {
                if let Some(peer) = self.sites.peer(site) {
                    self.handle_flood(peer);
                }
            }
            Notice::NoTunnel { site } => {
                if let Some(peer) = self.sites.peer(site) {
                    self.begin_tunnel(now, peer);
                }
            }
            Notice::MacMoved { mac, from, to } => {
                let event = Event::MacMoved {
                    mac,
                    from: self.site_name(from),
                    to: self.site_name(to),
                };
                self.push_event(event);
                if from.is_local() || to.is_local() {
                    self.send_loop_frame_soon(now);
                }
            }
            Notice::PortFloods => self.send_loop_frame_soon(now),
            Notice::LoopFrame(frame) => self.handle_loop_frame(now, &frame),
            Notice::MacDamped { mac, at, seen } => {
                let event = Event::MacDamped {
                    mac,
                    at: self.site_name(at),
                    seen: self.site_name(seen),
                };
                self.push_event(event);
            }
            Notice::TooBig { neighbour } => {
                if let Some(peer) = self.sites.peer(neighbour) {
                    self.mesh.handle_too_big(now, peer);
                }
            }
            Notice::Note { site, note } => {
                if let Some(peer) = self.sites.peer(site) {
                    self.handle_note(now, peer, note);
                }
            }
            Notice::UnknownReceiver { .. } => {}
        }
        self.drain_mesh(now);
    }

    /// What the bridge that the local port is on tells of its stations, where it tells.
    pub fn handle_port_changes(&mut self, now: Instant, changes: &[PortChange]) {
        for change in changes {
            match change {
                // What a port that is kept shut sees may be anywhere.
                PortChange::Here(mac) if !self.is_port_blocked() => {
                    self.macs.learn(now, *mac, Site::LOCAL);
                }
                PortChange::Here(_) => {}
                PortChange::Gone(mac) => {
                    self.macs.forget_at(*mac, Site::LOCAL);
                }
                PortChange::Joined => self.send_loop_frame_soon(now),
                PortChange::Left => self.doubt_segment(now),
            }
        }
        self.drain_mesh(now);
    }

    /// What the data plane stamped, before deadlines are judged by it. A notice of it may have been lost.
    pub(super) fn look_at_stamps(&mut self, now: Instant) {
        let due = self.mesh.due_links(now);
        let mut active = Vec::new();
        let mut flooding = Vec::new();
        for (peer, known) in self.sites.iter() {
            let heard = &known.heard;
            if heard.floods(self.epoch, now) && !self.flood_children.contains_key(&peer) {
                flooding.push(peer);
            }
            // A link that is not due is not judged.
            if !due.contains(&peer) && self.mesh.link(&peer).is_some() {
                continue;
            }
            if let Some(at) = heard.last(self.epoch) {
                self.mesh.handle_heard(now, peer, at);
            }
            if let Some(at) = heard.last_unicast(self.epoch)
                && now.saturating_duration_since(at) < Heard::ACTIVE_FOR
            {
                self.mesh.handle_activity(now, peer);
                active.push(peer);
            }
        }
        for peer in active {
            self.want_direct(now, peer);
        }
        for peer in flooding {
            self.handle_flood(peer);
        }
    }
}
