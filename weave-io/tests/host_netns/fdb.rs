//! What a bridge tells of its stations.

use std::time::{Duration, Instant};

use weave_core::{EthernetAddress, PortChange};
use weave_io::host::{FdbWatch, Netlink, ScopedNetNs};

use super::{ip, unique_name};

pub(super) fn stations_of_a_bridge_are_noticed_as_they_come_and_go() {
    let lab = Lab::new();
    lab.watch(async |watch| {
        lab.port("p1");
        until(watch, PortChange::Joined).await;
        lab.station("p1", 1);
        until(watch, PortChange::Here(mac(1))).await;
        // One at our own port lives elsewhere; one that is deleted by hand may be there all the same.
        lab.station("own", 2);
        lab.bridge(&["fdb", "del", &text(1), "dev", "p1", "master", "dynamic"]);
        lab.station("p1", 3);
        let told = until(watch, PortChange::Here(mac(3))).await;
        assert_eq!(told, [PortChange::Here(mac(3))]);

        // Its container is killed.
        assert!(lab.host.delete_link("p1").unwrap());
        let mut told = until(watch, PortChange::Gone(mac(3))).await;
        if !told.contains(&PortChange::Gone(mac(1))) {
            told = until(watch, PortChange::Gone(mac(1))).await;
        }
        assert!(!told.contains(&PortChange::Gone(mac(2))));

        // Its end is switched off; it leaves the bridge.
        for (port, command) in [
            ("p2", ["link", "set", "p2-end", "down"].as_slice()),
            ("p3", &["link", "set", "p3", "nomaster"]),
        ] {
            lab.port(port);
            lab.station(port, 4);
            until(watch, PortChange::Here(mac(4))).await;
            ip(&lab.namespace, command);
            until(watch, PortChange::Gone(mac(4))).await;
        }
    });
}

pub(super) fn stations_that_were_there_before_are_listed_and_overruns_survived() {
    let lab = Lab::new();
    lab.port("p1");
    lab.station("p1", 1);
    lab.watch(async |watch| {
        until(watch, PortChange::Here(mac(1))).await;
        // More than the socket holds while nobody reads: the file is read by one process, faster than one each.
        let entries: Vec<String> = (100..20_000)
            .map(|number| format!("fdb add {} dev own master dynamic\n", text(number)))
            .collect();
        let file = std::env::temp_dir().join(unique_name());
        std::fs::write(&file, entries.concat()).unwrap();
        lab.bridge(&["-batch", &file.display().to_string()]);
        std::fs::remove_file(&file).unwrap();
        assert!(lab.host.delete_link("p1").unwrap());
        until(watch, PortChange::Gone(mac(1))).await;
        assert!(watch.overruns() > 0, "it fitted, and tested nothing");
    });
}

pub(super) fn a_port_that_joins_has_the_bridge_forget_what_was_behind_the_routers_port() {
    let lab = Lab::new();
    lab.watch(async |watch| {
        lab.port("p1");
        until(watch, PortChange::Joined).await;
        lab.station("own", 1);
        lab.station("p1", 2);
        until(watch, PortChange::Here(mac(2))).await;
        assert!(lab.knows(1) && lab.knows(2));
        // A container comes from another host, and says nothing.
        lab.port("p2");
        until(watch, PortChange::Joined).await;
        let forgotten = async {
            while lab.knows(1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), forgotten)
            .await
            .expect("the kernel obeys");
        assert!(lab.knows(2), "those at other ports stay");
        // The watch goes on.
        lab.station("p2", 3);
        until(watch, PortChange::Here(mac(3))).await;
    });
}

/// Reads changes until this one comes; all that came with it.
async fn until(watch: &mut FdbWatch, wanted: PortChange) -> Vec<PortChange> {
    let wait = async {
        loop {
            let changes = watch.next().await.unwrap();
            if changes.contains(&wanted) {
                return changes;
            }
        }
    };
    // A list after an overrun may be 10 s away.
    tokio::time::timeout(Duration::from_secs(15), wait)
        .await
        .unwrap_or_else(|_| panic!("{wanted:?} was not told"))
}

/// A bridge with a port `own`, as the router's.
struct Lab {
    host: Netlink,
    namespace: ScopedNetNs,
}

impl Lab {
    fn new() -> Self {
        let namespace = ScopedNetNs::create(&unique_name()).unwrap();
        let host = Netlink::open_in(&namespace).unwrap();
        host.ensure_bridge("weave", None).unwrap();
        let lab = Self { host, namespace };
        lab.port("own");
        lab
    }

    fn watch(&self, test: impl AsyncFnOnce(&mut FdbWatch) + Send) {
        self.namespace
            .run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut watch = FdbWatch::open("weave", "own").unwrap();
                    test(&mut watch).await;
                });
            })
            .unwrap();
    }

    /// A veth on the bridge, both ends up.
    fn port(&self, name: &str) {
        let end = format!("{name}-end");
        self.host.create_veth(name, &end, None).unwrap();
        self.host.set_up(&end).unwrap();
        self.host.attach("weave", name).unwrap();
        self.host.set_up(name).unwrap();
    }

    fn station(&self, port: &str, number: u32) {
        // A port learns nothing (EPERM) until the kernel's own work queue has found that its carrier is up.
        self.await_forwarding(port);
        self.bridge(&[
            "fdb",
            "replace",
            &text(number),
            "dev",
            port,
            "master",
            "dynamic",
        ]);
    }

    fn await_forwarding(&self, port: &str) {
        let give_up = Instant::now() + Duration::from_secs(5);
        while !self
            .bridge(&["link", "show", "dev", port])
            .contains("state forwarding")
        {
            assert!(Instant::now() < give_up, "{port} does not forward");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the bridge knows where the station is.
    fn knows(&self, number: u32) -> bool {
        self.bridge(&["fdb", "show", "br", "weave"])
            .contains(&text(number))
    }

    fn bridge(&self, arguments: &[&str]) -> String {
        let output = self
            .namespace
            .run(|| {
                std::process::Command::new("bridge")
                    .args(arguments)
                    .output()
            })
            .unwrap()
            .expect("package iproute2 is installed");
        assert!(
            output.status.success(),
            "bridge {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn mac(number: u32) -> EthernetAddress {
    let [a, b, c, d] = number.to_be_bytes();
    EthernetAddress([2, 0, a, b, c, d])
}

fn text(number: u32) -> String {
    mac(number).to_string().replace('-', ":")
}
