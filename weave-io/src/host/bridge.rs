//! The bridge of the host's containers, and the router's port on it.

use std::pin::pin;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{
    BridgeMulticastRouterType, BridgePortState, BridgeStpState, InfoBridgePort, InfoPortData,
    LinkAttribute, LinkInfo,
};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder};

use super::error::refused;
use super::link::{Link, taken};
use super::netlink::Worker;
use super::{Error, Netlink};

/// Whether something had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was made now.
    Created,
    /// It was there already; its settings are as asked for now.
    Existed,
}

impl Netlink {
    /// Makes sure there is a bridge of this name, switched on, with our settings:
    ///
    /// * no spanning tree and no forward delay: loops are our protocol's business, and a
    ///   container's first frame must not wait 15 s;
    /// * the Ethernet address `mac`, or the one it has, pinned: else it changes with every port
    ///   that comes or goes, and with it the host's address in every container's ARP table;
    /// * multicast snooping on: a group's frames go to the containers that joined it, and to the
    ///   router's port;
    /// * no IPv6 of the kernel's own ([`Netlink::disable_ipv6_autoconf`]).
    ///
    /// # Errors
    /// [`Error::NotABridge`] if the name is taken by another kind of device,
    /// [`Error::BadDeviceName`] or [`Error::Refused`].
    pub fn ensure_bridge(&self, bridge: &str, mac: Option<[u8; 6]>) -> Result<Ensured, Error> {
        self.on(bridge, move |worker, bridge| {
            worker.ensure_bridge(bridge, mac)
        })
    }

    /// Whether [`Netlink::ensure_bridge`] could have this name: a bridge has it, or nothing has. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NotABridge`], [`Error::BadDeviceName`] or [`Error::Refused`].
    pub fn check_bridge(&self, bridge: &str) -> Result<(), Error> {
        match self.find_link(bridge)? {
            Some(link) if !is_bridge(&link) => Err(Error::NotABridge {
                device: bridge.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Attaches a device to a bridge. It leaves the bridge it was attached to before, if any.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NotABridge`] or [`Error::Refused`].
    pub fn attach(&self, bridge: &str, port: &str) -> Result<(), Error> {
        let bridge = bridge.to_owned();
        self.on(port, move |worker, port| {
            let controller = worker.bridge(&bridge)?;
            worker.change("attach", port, |change| change.controller(controller.index))
        })
    }

    /// Takes a device off its bridge, if it is on one.
    ///
    /// # Errors
    /// [`Error::NoDevice`] or [`Error::Refused`].
    pub fn detach(&self, port: &str) -> Result<(), Error> {
        self.on(port, |worker, port| {
            worker.change("detach", port, LinkMessageBuilder::nocontroller)
        })
    }

    /// Whether the bridge the device is attached to forwards its frames. Without spanning tree that is so as soon as
    /// the kernel has noticed that both ends of the cable are up, within a second or so; frames until then are lost.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NotAPort`] or [`Error::Refused`].
    pub fn port_forwards(&self, port: &str) -> Result<bool, Error> {
        self.on(port, |worker, port| {
            let forwards = worker.port_state(port)? == Some(BridgePortState::Forwarding);
            Ok(forwards)
        })
    }

    /// Names of the devices attached to a bridge, by index.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NotABridge`] or [`Error::Refused`].
    pub fn bridge_ports(&self, bridge: &str) -> Result<Vec<String>, Error> {
        self.on(bridge, |worker, bridge| {
            let controller = worker.bridge(bridge)?.index;
            let links = worker.links()?;
            Ok(links
                .into_iter()
                .filter(|link| link.controller == Some(controller))
                .map(|link| link.name)
                .collect())
        })
    }

    /// Sets up the router's TAP, already attached to the bridge, and switches it on:
    ///
    /// * its MTU, 65,521 for super-frames (65,535 less the Ethernet header): the bridge drops a
    ///   larger frame without a word;
    /// * multicast router: all groups' frames go to it, for who joined elsewhere is not this
    ///   bridge's to know;
    /// * no hairpin: a frame from the router never goes back to it;
    /// * no IPv6 of the kernel's own ([`Netlink::disable_ipv6_autoconf`]), which would enter the
    ///   overlay from every host.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NotAPort`] or [`Error::Refused`].
    pub fn configure_tap_port(&self, port: &str, mtu_bytes: u32) -> Result<(), Error> {
        self.on(port, move |worker, port| {
            let link = worker.link(port)?;
            if link.controller.is_none() {
                return Err(Error::NotAPort {
                    device: port.to_owned(),
                });
            }
            worker.set_mtu(port, mtu_bytes)?;
            let settings = LinkBridgePort::new(link.index)
                .mcast_router(BridgeMulticastRouterType::Permanent)
                .hairpin(false)
                .build();
            worker
                .send_change(settings)
                .map_err(refused("set the bridge port", port))?;
            match worker.disable_ipv6_autoconf(port) {
                // In a container kernel settings can't be written. This one does not matter on a bridge's port:
                // the bridge takes every frame before the port's own stack sees a router advertisement.
                Err(Error::Refused { reason, .. }) if reason.is_read_only() => {}
                done => done?,
            }
            worker.set_up(port)
        })
    }
}

impl Worker {
    fn ensure_bridge(&self, bridge: &str, mac: Option<[u8; 6]>) -> Result<Ensured, Error> {
        let ensured = match self.find_link(bridge)? {
            Some(link) if is_bridge(&link) => Ensured::Existed,
            Some(_) => {
                return Err(Error::NotABridge {
                    device: bridge.to_owned(),
                });
            }
            None => {
                let message = LinkMessageBuilder::<LinkBridge>::new(bridge).build();
                let created = self
                    .wait(self.handle.link().add(message).execute())
                    .map_err(refused("create bridge", bridge))
                    .map_err(|error| taken(error, bridge));
                match created {
                    Ok(()) => Ensured::Created,
                    // Another program made it in the same moment.
                    Err(Error::DeviceExists { .. })
                        if self.find_link(bridge)?.as_ref().is_some_and(is_bridge) =>
                    {
                        Ensured::Existed
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let configured = self.configure_bridge(bridge, mac);
        if configured.is_err() && ensured == Ensured::Created {
            self.discard(bridge);
        }
        configured.map(|()| ensured)
    }

    fn port_state(&self, port: &str) -> Result<Option<BridgePortState>, Error> {
        let index = self.link(port)?.index;
        let request = self.handle.link().get().match_index(index).execute();
        let answer = self
            .wait(async { pin!(request).try_next().await })
            .map_err(refused("look up", port))?;
        let attributes = answer.map(|message| message.attributes).unwrap_or_default();
        let infos = attributes.into_iter().find_map(|attribute| {
            let LinkAttribute::LinkInfo(infos) = attribute else {
                return None;
            };
            Some(infos)
        });
        let settings = infos.into_iter().flatten().find_map(|info| {
            let LinkInfo::PortData(InfoPortData::BridgePort(settings)) = info else {
                return None;
            };
            Some(settings)
        });
        let settings = settings.ok_or_else(|| Error::NotAPort {
            device: port.to_owned(),
        })?;
        Ok(settings.into_iter().find_map(|setting| {
            let InfoBridgePort::State(state) = setting else {
                return None;
            };
            Some(state)
        }))
    }

    fn configure_bridge(&self, bridge: &str, mac: Option<[u8; 6]>) -> Result<(), Error> {
        let link = self.bridge(bridge)?;
        // Setting the address it has still pins it.
        if let Some(mac) = mac.or(link.mac) {
            self.set_mac(bridge, mac)?;
        }
        // A forward delay of 0 is allowed only without spanning tree, and the kernel takes the
        // delay first from one message.
        for settings in [
            LinkMessageBuilder::<LinkBridge>::new(bridge).stp_state(BridgeStpState::Disabled),
            LinkMessageBuilder::<LinkBridge>::new(bridge)
                .forward_delay(0)
                .mcast_snooping(true),
        ] {
            self.send_change(settings.index(link.index).build())
                .map_err(refused("set bridge", bridge))?;
        }
        self.disable_ipv6_autoconf(bridge)?;
        self.set_up(bridge)
    }

    fn bridge(&self, bridge: &str) -> Result<Link, Error> {
        let link = self.link(bridge)?;
        if is_bridge(&link) {
            Ok(link)
        } else {
            Err(Error::NotABridge {
                device: bridge.to_owned(),
            })
        }
    }
}

fn is_bridge(link: &Link) -> bool {
    link.kind.as_deref() == Some("bridge")
}
