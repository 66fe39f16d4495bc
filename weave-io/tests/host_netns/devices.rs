//! Devices of any kind.

use weave_io::host::{Error, Netlink, ScopedNetNs};

use super::unique_name;

pub(super) fn devices_are_looked_up_changed_and_removed() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    assert_eq!(host.link("v0").unwrap().alias, None);
    host.set_alias("v0", "for the test").unwrap();
    assert_eq!(
        host.link("v0").unwrap().alias.as_deref(),
        Some("for the test")
    );
    host.set_alias("v0", "").unwrap();
    assert_eq!(host.link("v0").unwrap().alias, None);
    assert_eq!(
        host.create_veth("v0", "v2", None),
        Err(Error::DeviceExists {
            device: "v0".to_owned()
        })
    );
    assert_eq!(
        host.create_veth("v2", "v1", None),
        Err(Error::DeviceExists {
            device: "v1".to_owned()
        })
    );
    let names: Vec<_> = host
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect();
    assert!(
        names.ends_with(&["v1".to_owned(), "v0".to_owned()]) && names[0] == "lo",
        "{names:?}"
    );

    host.rename("v1", "eth0").unwrap();
    assert_eq!(
        host.rename("eth0", "v0"),
        Err(Error::DeviceExists {
            device: "v0".to_owned()
        })
    );
    host.set_mtu("eth0", 1390).unwrap();
    host.set_mac("eth0", [2, 0, 0, 0, 0, 9]).unwrap();
    host.set_up("eth0").unwrap();
    let end = host.link("eth0").unwrap();
    assert_eq!(
        (end.mtu_bytes, end.mac, end.up, end.carrier),
        (1390, Some([2, 0, 0, 0, 0, 9]), true, false)
    );
    assert_eq!(end.peer, Some(host.link("v0").unwrap().index));
    host.set_up("v0").unwrap();
    assert!(host.link("eth0").unwrap().carrier);
    host.set_down("eth0").unwrap();
    assert!(!host.link("eth0").unwrap().up);

    assert_eq!(host.find_link("v1").unwrap(), None);
    assert_eq!(
        host.link("v1"),
        Err(Error::NoDevice {
            device: "v1".to_owned()
        })
    );
    assert!(host.delete_link("eth0").unwrap());
    assert!(
        !host.delete_link("v0").unwrap(),
        "the other end is gone, too"
    );
    let error = host.delete_link("lo").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot remove lo: operation not supported"
    );
}

pub(super) fn a_device_moves_to_another_namespace() {
    let (here, there) = (
        ScopedNetNs::create(&unique_name()).unwrap(),
        ScopedNetNs::create(&unique_name()).unwrap(),
    );
    let host = Netlink::open_in(&here).unwrap();
    host.create_veth("v0", "v1", None).unwrap();
    host.move_to("v1", &there).unwrap();
    assert_eq!(host.find_link("v1").unwrap(), None);
    assert!(
        Netlink::open_in(&there)
            .unwrap()
            .find_link("v1")
            .unwrap()
            .is_some()
    );
}
