//! The container engine of a host: started when it is first needed, stopped and started by tests of its restart.

use std::fs::File;
use std::time::Duration;

use super::host::COMMAND_TIME_MAX;
use super::{Host, room, within};

/// Which engine a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A dockerd of its own, with all in its default places.
    Docker,
    /// Podman, which has no process of its own.
    Podman,
    /// No engine runs.
    None,
}

impl Engine {
    /// The program's name.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Docker | Self::None => "docker",
            Self::Podman => "podman",
        }
    }

    /// What stands in the environment of each command besides.
    pub(super) fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Docker | Self::None => &[],
            Self::Podman => &[
                "WEAVE_ENGINE=podman",
                "CONTAINERS_CONF=/run/containers.conf",
            ],
        }
    }
}

impl Host {
    /// Starts the engine, with the image `bb`; nothing if it runs.
    pub(crate) fn start_engine(&self) {
        let mut is_up = self.is_up.lock().unwrap();
        if *is_up {
            return;
        }
        match self.engine {
            Engine::None => return,
            Engine::Docker => self.start_dockerd(),
            Engine::Podman => {
                self.sh(&format!("echo '{PODMAN}' > /run/containers.conf"))
                    .ok();
            }
        }
        *is_up = true;
        drop(is_up);
        if !self.docker(&["image", "inspect", "bb"]).is_ok() {
            self.import_bb();
        }
    }

    /// Ends dockerd as a package's upgrade does, and starts it again.
    pub(crate) fn restart_engine(&self) {
        self.stop_engine();
        self.start_engine();
    }

    /// Ends dockerd, and with it all its containers.
    pub(crate) fn stop_engine(&self) {
        assert_eq!(self.engine, Engine::Docker, "podman does not run");
        self.sh("kill $(cat /run/docker.pid)").ok();
        within(ENGINE_TIME_MAX, "dockerd ends", || {
            self.sh("! pidof dockerd").is_ok().then_some(())
        });
        *self.is_up.lock().unwrap() = false;
    }

    fn start_dockerd(&self) {
        let cgroup = &self.cgroup;
        self.sh(&format!(
            "echo '{{\"cgroup-parent\": \"/{cgroup}\", \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"]}}' \
             > /run/daemon.json\n\
             setsid dockerd --config-file /run/daemon.json </dev/null >>/run/dockerd.log 2>&1 &"
        ))
        .ok();
        within(ENGINE_TIME_MAX, "dockerd answers", || {
            self.run(&["docker", "version"]).is_ok().then_some(())
        });
    }

    fn import_bb(&self) {
        let tar = File::open(room::busybox_tar()).unwrap();
        // A shell, as in most images.
        let command = "CMD [\"sh\"]";
        let words = [
            self.engine.program(),
            "import",
            "--change",
            command,
            "-",
            "bb",
        ];
        self.run_with_input(COMMAND_TIME_MAX, tar.into(), &words)
            .ok();
    }
}

/// Up in one second, and a loaded machine may be slow.
const ENGINE_TIME_MAX: Duration = Duration::from_secs(30);
/// Machines without systemd let nobody raise the limits that podman raises, and have no control groups of systemd.
const PODMAN: &str = "[containers]
default_ulimits = [\"nofile=20000:20000\", \"nproc=30000:30000\"]
[engine]
cgroup_manager = \"cgroupfs\"";
