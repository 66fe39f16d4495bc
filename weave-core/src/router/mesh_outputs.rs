//! What the mesh below wants done, and what it says has happened.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::{Action, Event, Router, STORE_PEERS_AFTER, first_flood_sequence};
use crate::packet::{Kind, seal_packet};
use crate::timer::Timer;

impl Router {
    pub(super) fn drain_mesh(&mut self, now: Instant) {
        self.take_mesh_outputs(now);
        self.send_waiting_echoes(now);
        // Echoes may go down streams.
        self.take_mesh_outputs(now);
        // Set-ups that have not begun, and answers that keep coming late, set the time anew.
        self.timers.set(Timer::Tunnels, self.tunnels.next_timeout());
        self.timers
            .set(Timer::Meetings, self.meetings.next_timeout());
    }

    fn take_mesh_outputs(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.mesh.poll_event() {
                self.handle_mesh_event(now, event);
            }
            let Some(action) = self.mesh.poll_action() else {
                break;
            };
            self.handle_mesh_action(action);
        }
    }

    fn handle_mesh_action(&mut self, action: weave_mesh::Action) {
        match action {
            weave_mesh::Action::Resolve { target } => {
                self.actions.push_back(Action::Resolve { target })
            }
            weave_mesh::Action::Dial { conn, remote } => {
                self.actions.push_back(Action::Dial { conn, remote });
            }
            weave_mesh::Action::Write { conn, bytes } => {
                self.actions.push_back(Action::Write { conn, bytes });
            }
            weave_mesh::Action::AwaitDrained { conn } => {
                self.actions.push_back(Action::AwaitDrained { conn });
            }
            weave_mesh::Action::Close { conn } => self.actions.push_back(Action::Close { conn }),
            weave_mesh::Action::Probe {
                peer,
                remote,
                bytes,
            } => {
                let sealed = self
                    .tunnels
                    .sealing(&peer)
                    .and_then(|keys| seal_packet(keys, Kind::Probe, None, &bytes).ok());
                if let Some(bytes) = sealed {
                    self.actions.push_back(Action::SendPacket { remote, bytes });
                }
            }
        }
    }

    fn handle_mesh_event(&mut self, now: Instant, event: weave_mesh::Event) {
        match event {
            weave_mesh::Event::LinkUp {
                peer,
                dialled,
                boot_id,
                ..
            } => {
                self.end_tunnel_of_older_boot(now, peer, boot_id);
                self.history.link_up(&peer);
                self.sites.assign(now, peer);
                self.routes_are_stale(now);
                self.timers
                    .set_earlier(Timer::StorePeers, now + STORE_PEERS_AFTER);
                if self.tunnels.sealing(&peer).is_some() {
                    self.mesh.handle_tunnel(now, peer, true);
                } else if dialled {
                    self.begin_tunnel(now, peer);
                }
                let event = Event::LinkUp {
                    name: self.peer_name(&peer),
                    peer,
                };
                self.push_event(event);
            }
            weave_mesh::Event::LinkChanged { .. } => {
                self.routes_are_stale(now);
            }
            weave_mesh::Event::LinkDown { peer, reason } => {
                self.routes_are_stale(now);
                self.history.link_down(now, peer, reason.to_string());
                let event = Event::LinkDown {
                    name: self.peer_name(&peer),
                    peer,
                    reason: reason.to_string(),
                };
                self.push_event(event);
            }
            weave_mesh::Event::DirectUp { peer } => self.direct_is_up(now, peer),
            weave_mesh::Event::DirectChanged { .. } => self.fib_is_stale = true,
            weave_mesh::Event::DirectDown {
                peer,
                reason,
                stood_for,
            } => self.direct_is_down(now, peer, stood_for, reason),
            weave_mesh::Event::Records { changed } => {
                self.end_tunnels_of_older_boots(now, &changed);
                self.routes_are_stale(now);
                self.begin_awaited_tunnels(now);
            }
            weave_mesh::Event::Packet { packet, .. } => {
                self.actions.push_back(Action::TakePacket { packet });
            }
            weave_mesh::Event::Message { via, message } => self.handle_routed(now, via, message),
            weave_mesh::Event::BootIdRaised { boot_id } => {
                self.tunnels.handle_boot(boot_id);
                self.flood_sequence = Arc::new(AtomicU64::new(first_flood_sequence(boot_id)));
                self.fib_is_stale = true;
                self.actions.push_back(Action::StoreBootId { boot_id });
                let event = if std::mem::take(&mut self.has_jumped) {
                    Event::ClockJumped
                } else {
                    Event::BootIdRaised { boot_id }
                };
                self.push_event(event);
            }
            weave_mesh::Event::LinkMoved { peer } => {
                self.routes_are_stale(now);
                let event = Event::LinkMoved {
                    name: self.peer_name(&peer),
                    peer,
                };
                self.push_event(event);
            }
            weave_mesh::Event::ConnectFailed {
                target,
                remote,
                reason,
            } => {
                if let Some(remote) = remote {
                    self.history.dial_failed(now, remote, reason.to_string());
                }
                let to = match (target, remote) {
                    (Some(target), _) => target.to_string(),
                    (None, Some(remote)) => remote.to_string(),
                    (None, None) => "a peer".to_owned(),
                };
                let is_refusal = reason.is_refusal();
                let reason = reason.to_string();
                if !is_refusal || self.refused.may_say(now, &reason).is_some() {
                    self.push_event(Event::ConnectFailed { to, reason });
                }
            }
            weave_mesh::Event::CloneMet { clone } => {
                let keeps = clone.keeps;
                self.push_event(Event::CloneMet { keeps });
            }
            weave_mesh::Event::IdentityLost => self.actions.push_back(Action::RenewIdentity),
            weave_mesh::Event::Refused {
                remote,
                peer,
                reason,
            } => self.note_refused(now, remote.ip(), peer, reason),
            weave_mesh::Event::RecordsRefused { suspect } => {
                let sentence = suspect.sentence(|peer| self.peer_name(peer));
                self.push_event(Event::RecordsRefused { sentence });
            }
            weave_mesh::Event::ConnectedToSelf { remote } => {
                self.push_event(Event::ConnectedToSelf { remote });
            }
            // The mesh may learn to tell more before this crate does.
            _ => self.refuse("mesh_event_unknown"),
        }
    }
}
