//! Pairs of virtual Ethernet devices: the cable between a container and the bridge.

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::error::refused;
use super::link::{check_device_name, raw_fd, taken};
use super::{Error, NetNs, Netlink};

impl Netlink {
    /// Makes a pair of devices, `device` here and `peer` in `peer_namespace` (here too without
    /// one). Both are switched off, and neither has ever been elsewhere, so the other namespace
    /// never sees a name or an address of this one.
    ///
    /// The end here is for a bridge and gets [`Netlink::disable_ipv6_autoconf`].
    ///
    /// # Errors
    /// [`Error::DeviceExists`] if `device` or `peer` is taken, [`Error::BadDeviceName`] or
    /// [`Error::Refused`].
    pub fn create_veth(
        &self,
        device: &str,
        peer: &str,
        peer_namespace: Option<&NetNs>,
    ) -> Result<(), Error> {
        let peer = peer.to_owned();
        let peer_namespace = peer_namespace.cloned();
        self.on(device, move |worker, device| {
            check_device_name(device)?;
            check_device_name(&peer)?;
            let mut other = LinkUnspec::new_with_name(&peer);
            if let Some(namespace) = &peer_namespace {
                other = other.setns_by_fd(raw_fd(namespace));
            }
            let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
                .name(device)
                .set_info_data(InfoData::Veth(InfoVeth::Peer(other.build())))
                .build();
            if worker.find_link(device)?.is_some() {
                return Err(Error::DeviceExists {
                    device: device.to_owned(),
                });
            }
            worker
                .wait(worker.handle.link().add(message).execute())
                .map_err(refused("create veth", device))
                .map_err(|error| taken(error, &peer))?;
            worker
                .disable_ipv6_autoconf(device)
                .inspect_err(|_| worker.discard(device))
        })
    }
}
