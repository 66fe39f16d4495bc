use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn parsed(texts: &[&str]) -> Result<Vec<Cidr>, String> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    parse("cannot attach c1", &texts).map_err(|failure| failure.to_string())
}

#[test]
fn addresses_are_read_once_each() {
    assert_eq!(
        parsed(&["10.2.1.1/24", "fd00::1/64", "10.2.1.1/24"]),
        Ok(vec![cidr("10.2.1.1/24"), cidr("fd00::1/64")])
    );
    assert_eq!(
        parsed(&["10.2.1.1/24", "10.2.1.1/16"]),
        Err(
            "cannot attach c1: 10.2.1.1/24 and 10.2.1.1/16 are one address; give it once"
                .to_owned()
        )
    );
    assert_eq!(
        parsed(&["10.2.1.1"]),
        Err("cannot attach c1: \"10.2.1.1\" lacks its prefix length, as in 10.2.1.1/24".to_owned())
    );
}

#[test]
fn what_no_container_can_have_is_said() {
    for (address, why) in [
        ("10.2.1.0/24", "is the network itself: take 10.2.1.1"),
        ("10.2.1.255/24", "is the broadcast address of 10.2.1.0/24"),
        (
            "10.2.1.1/0",
            "takes in every address there is: give the length of its network",
        ),
        ("0.0.0.1/24", "is no station's address"),
        ("127.0.0.1/8", "is a loopback address"),
        ("224.0.0.5/24", "is a multicast address"),
        ("255.255.255.255/32", "is reserved"),
        (
            "fd00::/64",
            "is the anycast address of the routers of fd00::/64",
        ),
        ("::/64", "is no station's address"),
        ("::1/128", "is a loopback address"),
        ("ff02::5/64", "is a multicast address"),
        (
            "fe80::5/64",
            "is a link-local address, which the container makes itself",
        ),
    ] {
        assert_eq!(unfit(cidr(address)).as_deref(), Some(why), "{address}");
    }
    for address in [
        "10.2.1.0/31",
        "10.2.1.1/31",
        "10.2.1.255/32",
        "10.2.1.0/16",
        "10.2.1.255/16",
        "fd00::/127",
        "fd00::/128",
        "fd00::ffff/64",
    ] {
        assert_eq!(unfit(cidr(address)), None, "{address}");
    }
}

#[test]
fn what_the_container_has_elsewhere_stays_usable() {
    let eth0 = [own("eth0", "172.17.0.2/16")];
    let routes = [Route {
        device: Some("eth0".to_owned()),
        ..Route::default_via("172.17.0.1".parse().unwrap())
    }];
    let said = |address: &str| obstacle(cidr(address), &eth0, &routes);
    assert_eq!(said("10.2.1.1/24"), None);
    assert_eq!(said("fd00::1/64"), None);
    let refusal = |address: &str| match said(address) {
        Some(Obstacle::Refusal(why, _)) => why,
        other => panic!("{address}: {other:?}"),
    };
    assert_eq!(
        refusal("172.17.0.2/24"),
        "its interface eth0 has 172.17.0.2 already"
    );
    assert_eq!(
        refusal("172.17.9.9/16"),
        "its interface eth0 is on the network 172.17.0.0/16 already"
    );
    assert_eq!(
        refusal("172.17.0.9/24"),
        "172.17.0.0/24 holds 172.17.0.1, by which its interface eth0 reaches 0.0.0.0/0"
    );
    let warning = |address: &str| match said(address) {
        Some(Obstacle::Warning(text)) => text,
        other => panic!("{address}: {other:?}"),
    };
    assert_eq!(
        warning("172.17.9.9/24"),
        "172.17.9.0/24 and 172.17.0.0/16, which its interface eth0 is on, overlap: what is in both is reached by ethwe"
    );
    assert_eq!(
        warning("172.16.0.1/12"),
        "172.16.0.0/12 and 172.17.0.0/16, which its interface eth0 is on, overlap: what is in both is reached by eth0"
    );
}

fn own(device: &str, address: &str) -> Own {
    Own {
        device: device.to_owned(),
        cidr: cidr(address),
    }
}
