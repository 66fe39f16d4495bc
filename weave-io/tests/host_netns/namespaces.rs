//! Namespaces, and the handle on one.

use std::process::{Command, Stdio};

use weave_io::host::{Error, NetNs, Netlink, ScopedNetNs};

use super::{RemoveByName, own_namespace, unique_name};

pub(super) fn a_namespace_is_made_found_and_removed() {
    let name = unique_name();
    let made = NetNs::create(&name).unwrap();
    let guard = RemoveByName(name.clone());
    assert!(matches!(
        NetNs::create(&name),
        Err(Error::NamespaceExists { .. })
    ));
    let listed = Command::new("ip").args(["netns", "list"]).output();
    if let Ok(listed) = listed {
        assert!(
            String::from_utf8_lossy(&listed.stdout).contains(&name),
            "`ip netns` doesn't know {name}"
        );
    }

    let inside = made.run(own_namespace).unwrap();
    assert_ne!(inside, own_namespace(), "the work runs elsewhere");
    assert_eq!(
        NetNs::open(&name).unwrap().run(own_namespace).unwrap(),
        inside
    );
    assert_eq!(
        NetNs::from_path(made.path())
            .unwrap()
            .run(own_namespace)
            .unwrap(),
        inside
    );
    assert_eq!(
        NetNs::from_pid(std::process::id())
            .unwrap()
            .run(own_namespace)
            .unwrap(),
        own_namespace()
    );

    made.clone().remove().unwrap();
    made.clone().remove().unwrap();
    assert!(matches!(NetNs::open(&name), Err(Error::NoNamespace { .. })));
    assert_eq!(
        made.run(own_namespace).unwrap(),
        inside,
        "an open handle keeps the namespace"
    );
    drop(guard);
}

pub(super) fn a_namespace_in_scope_goes_when_the_scope_fails() {
    let name = unique_name();
    let failed = std::thread::spawn({
        let name = name.clone();
        move || {
            let scoped = ScopedNetNs::create(&name).unwrap();
            let panicked: () = scoped.run(|| panic!("on purpose")).unwrap();
            panicked
        }
    })
    .join();
    assert!(failed.is_err(), "the panic went on in the caller");
    assert!(matches!(NetNs::open(&name), Err(Error::NoNamespace { .. })));
}

pub(super) fn a_programs_children_inherit_the_namespace() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "readlink /proc/self/ns/net"])
        .stdout(Stdio::piped());
    let output = namespace
        .spawn(&mut command)
        .unwrap()
        .wait_with_output()
        .unwrap();
    let expected = namespace.run(own_namespace).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);

    let error = namespace
        .spawn(&mut Command::new("/no/such/program"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot start /no/such/program: no such file or directory"
    );
}

pub(super) fn settings_belong_to_their_namespace() {
    let (one, other) = (
        ScopedNetNs::create(&unique_name()).unwrap(),
        ScopedNetNs::create(&unique_name()).unwrap(),
    );
    let (one, other) = (
        Netlink::open_in(&one).unwrap(),
        Netlink::open_in(&other).unwrap(),
    );
    let before = Netlink::open()
        .unwrap()
        .setting("ipv4/ip_default_ttl")
        .unwrap();
    for ttl in ["33", "34"] {
        one.set_setting("ipv4/ip_default_ttl", ttl).unwrap();
        assert_eq!(one.setting("ipv4/ip_default_ttl").unwrap(), ttl);
        one.set_setting("ipv4/ip_default_ttl", ttl).unwrap();
    }
    assert_eq!(other.setting("ipv4/ip_default_ttl").unwrap(), "64");
    assert_eq!(
        Netlink::open()
            .unwrap()
            .setting("ipv4/ip_default_ttl")
            .unwrap(),
        before
    );

    let error = one.set_setting("ipv4/ip_default_ttl", "none").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot set the kernel setting ipv4/ip_default_ttl: invalid argument"
    );
    let error = one.setting("ipv4/no_such_setting").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the kernel setting ipv4/no_such_setting: no such file or directory"
    );
}

pub(super) fn a_handle_works_inside_an_async_runtime_and_from_many_threads() {
    let namespace = ScopedNetNs::create(&unique_name()).unwrap();
    let host = Netlink::open_in(&namespace).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let host = &host;
            scope.spawn(move || {
                host.create_veth(&format!("a{n}"), &format!("b{n}"), None)
                    .unwrap()
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async move {
        assert_eq!(
            host.links()
                .unwrap()
                .iter()
                .filter(|link| link.kind.as_deref() == Some("veth"))
                .count(),
            8
        );
        drop(host);
    });
}
