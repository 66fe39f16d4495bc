//! One host: namespaces in which an engine and the tool find themselves alone.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weave_io::host::{NetNs, Netlink, Route, ScopedNetNs};

use super::engine::Engine;
use super::process::Process;
use super::{Container, Said, on_underlay, room, within};

/// A host on the underlay. All of it ends with the value; a test that fails prints what its engine and router said.
pub(crate) struct Host {
    name: String,
    /// The name of its network namespace and of its containers' control group.
    pub(super) cgroup: String,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    folder: PathBuf,
    pub(super) engine: Engine,
    /// Whether its engine runs.
    pub(super) is_up: Mutex<bool>,
    /// None while its power is off.
    machine: Option<Machine>,
}

/// What goes when the power does.
struct Machine {
    /// Waits for the first process, and dies with this process.
    process: Process,
    /// Its first process, as this process sees it.
    init: Pid,
    netlink: Netlink,
    namespace: ScopedNetNs,
}

impl Host {
    /// One that has booted, without a wire yet.
    pub(super) fn new(
        name: &str,
        cgroup: String,
        address: Ipv4Addr,
        gateway: Ipv4Addr,
        folder: PathBuf,
        engine: Engine,
    ) -> Self {
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::create_dir(folder.join("cgroup")).unwrap();
        fs::write(folder.join("hosts"), "127.0.0.1 localhost\n").unwrap();
        let mut host = Self {
            name: name.to_owned(),
            cgroup,
            address,
            gateway,
            folder,
            engine,
            is_up: Mutex::new(false),
            machine: None,
        };
        host.boot();
        host
    }

    /// Starts its first process. It has no device but loopback then.
    pub(super) fn boot(&mut self) {
        let namespace = ScopedNetNs::create(&self.cgroup).unwrap();
        let netlink = Netlink::open_in(&namespace).unwrap();
        let booted = self.folder.join("booted");
        let _ = fs::remove_file(&booted);
        let log = File::create(self.folder.join("boot.log")).unwrap();
        let mut arguments = self.environment();
        arguments.extend(
            [
                "unshare",
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-ec",
                BOOT,
                &self.name,
                &self.folder.display().to_string(),
                &room::tool_folder().display().to_string(),
            ]
            .map(str::to_owned),
        );
        let process = Process::start(&namespace, "env", &arguments, log);
        within(Duration::from_secs(10), "the host boots", || {
            assert!(process.is_running(), "{}", self.file("boot.log"));
            booted.exists().then_some(())
        });
        let init = child_of(process.pid());
        self.machine = Some(Machine {
            process,
            init,
            netlink,
            namespace,
        });
    }

    /// Gives its device an address and a way out, once it has a wire.
    pub(super) fn configure(&self) {
        let netlink = self.netlink();
        netlink.set_up("lo").unwrap();
        // The kernel's own IPv6 addresses come when they like, amidst a comparison of before and after.
        netlink.disable_ipv6_autoconf("eth0").unwrap();
        netlink
            .add_address("eth0", on_underlay(self.address))
            .unwrap();
        netlink.set_up("eth0").unwrap();
        netlink
            .add_route(&Route::default_via(self.gateway.into()))
            .unwrap();
    }

    /// Ends everything that runs on it, at once.
    pub(super) fn power_off(&mut self) {
        *self.is_up.lock().unwrap() = false;
        let Some(machine) = self.machine.take() else {
            return;
        };
        // It goes after all that was started in its process namespace (pid_namespaces(7)).
        let _ = kill(machine.init, Signal::SIGKILL);
        let _ = machine.process.wait(Duration::from_secs(10));
        room::remove_cgroups(&self.cgroup);
    }

    /// Its address on the underlay, as its peers are told.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its network.
    pub(crate) fn netns(&self) -> &NetNs {
        &self.machine().namespace
    }

    /// Itself, for pings.
    pub(crate) fn pings(&self) -> Container {
        Container::new(&self.name, self.netns().clone())
    }

    /// Its devices.
    pub(crate) fn netlink(&self) -> &Netlink {
        &self.machine().netlink
    }

    /// The name of its wire's other end, in the underlay.
    pub(super) fn wire(&self) -> String {
        format!("to-{}", self.name)
    }

    /// Makes a name known to it, as a line in /etc/hosts does.
    pub(crate) fn knows(&self, other: &Self) {
        let mut hosts = File::options()
            .append(true)
            .open(self.folder.join("hosts"))
            .unwrap();
        writeln!(hosts, "{} {}", other.address, other.name).unwrap();
    }

    /// Runs the tool, beside a running engine.
    #[must_use]
    pub(crate) fn weave(&self, arguments: &[&str]) -> Said {
        self.start_engine();
        self.run(&[&["weave"], arguments].concat())
    }

    /// Runs a command of the engine, which is started before if it doesn't run.
    #[must_use]
    pub(crate) fn docker(&self, arguments: &[&str]) -> Said {
        self.start_engine();
        self.run(&[&[self.engine.program()], arguments].concat())
    }

    /// Runs a command in a container.
    #[must_use]
    pub(crate) fn exec(&self, container: &str, command: &[&str]) -> Said {
        self.docker(&[&["exec", container], command].concat())
    }

    /// Types a line into a shell on the host.
    #[must_use]
    pub(crate) fn sh(&self, line: &str) -> Said {
        self.run(&["sh", "-c", line])
    }

    /// Runs any command on the host.
    #[must_use]
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        self.run_within(COMMAND_TIME_MAX, words)
    }

    /// Runs a command that is killed when it takes longer than so many seconds.
    #[must_use]
    pub(crate) fn run_within(&self, seconds: u32, words: &[&str]) -> Said {
        self.run_with_input(seconds, Stdio::null(), words)
    }

    /// Runs a command that reads this.
    #[must_use]
    pub(super) fn run_with_input(&self, seconds: u32, input: Stdio, words: &[&str]) -> Said {
        let mut command = Command::new("nsenter");
        command
            .args(self.inside())
            .args(["timeout", "--signal=KILL", &seconds.to_string()])
            .args(words)
            .stdin(input);
        let started = Instant::now();
        let output = command.output().expect("util-linux is installed");
        let line = format!("{}# {}", self.name, words.join(" "));
        Said::new(line, &output, started.elapsed())
    }

    /// What to type into a shell of root's to have one on this host.
    pub(super) fn enter(&self) -> String {
        format!("nsenter {} sh", self.inside().join(" "))
    }

    /// A running container, by name or id.
    pub(crate) fn container(&self, container: &str) -> Container {
        let pid = self
            .docker(&["inspect", "--format", "{{.State.Pid}}", container])
            .id();
        assert_ne!(pid, "0", "{container} runs");
        // The number is the host's; so is the /proc that is looked into.
        let path = format!("/proc/{}/root/proc/{pid}/ns/net", self.machine().init);
        Container::new(container, NetNs::from_path(path).unwrap())
    }

    /// A network of the host's that `ip netns add` made.
    pub(crate) fn named(&self, network: &str) -> Container {
        let path = format!("/proc/{}/root/run/netns/{network}", self.machine().init);
        Container::new(network, NetNs::from_path(path).unwrap())
    }

    /// A file that the harness keeps for this host.
    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("its power is on")
    }

    /// Arguments of `nsenter`, up to the command that is to be run.
    fn inside(&self) -> Vec<String> {
        let init = self.machine().init.to_string();
        let mut arguments: Vec<String> = ["-t", &init, "-m", "-u", "-n", "-p", "--", "env"]
            .map(str::to_owned)
            .into();
        arguments.extend(self.environment());
        arguments
    }

    /// Arguments of `env`: nothing of the test's own environment gets in.
    fn environment(&self) -> Vec<String> {
        let mut arguments = vec![
            "-i".to_owned(),
            "PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            "HOME=/run/home".to_owned(),
            "LC_ALL=C".to_owned(),
            format!("{}={}", room::HOST_VARIABLE, self.cgroup),
        ];
        arguments.extend(
            self.engine
                .variables()
                .iter()
                .map(|text| (*text).to_owned()),
        );
        arguments
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() && self.machine.is_some() {
            let said = self.sh(&format!(
                "grep -E 'level=(error|fatal)' /run/dockerd.log | tail -n {LOG_TAIL_LINES}; docker logs --tail {LOG_TAIL_LINES} weave; \
                 tail -n {LOG_TAIL_LINES} /var/lib/weave/*.log"
            ));
            eprintln!("--- host {}: {}{}", self.name, said.stdout, said.stderr);
        }
        self.power_off();
    }
}

/// The only child of a process.
fn child_of(parent: i32) -> Pid {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The second field is the name in brackets, which may hold blanks; the fourth is the parent (proc(5)).
        let (pid, rest) = stat.split_once(' ')?;
        let (_, rest) = rest.rsplit_once(')')?;
        let its_parent = rest.split_whitespace().nth(1)?;
        (its_parent == parent.to_string()).then(|| pid.parse().ok())?
    });
    Pid::from_raw(found.last().expect("unshare --fork waits for one"))
}

/// What the first process does, as `sh -ec BOOT NAME FOLDER TOOLS`. Devices under /sys are those of its own network
/// then; control groups stay those of the machine, where engines want theirs.
const BOOT: &str = r#"
hostname "$0"
mount --rbind /sys/fs/cgroup "$1/cgroup"
mount -t sysfs weave-test /sys
mount --rbind "$1/cgroup" /sys/fs/cgroup
mount --bind "$1/lib" /var/lib
mount --bind "$1/hosts" /etc/hosts
mount -t tmpfs -o mode=755 weave-test /run
mkdir /run/bin /run/home /run/lock
mount --bind "$2" /run/bin
cd "$1"
mount -t tmpfs weave-test /tmp
: > booted
cd /
# It takes in orphans, and must not keep their remains.
while :; do sleep 3600 & wait $!; done
"#;
/// Longer than any command of the tool may take.
pub(super) const COMMAND_TIME_MAX: u32 = 60;
/// Of a failed test's logs.
const LOG_TAIL_LINES: usize = 30;
