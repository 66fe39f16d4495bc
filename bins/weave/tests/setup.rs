//! `weave setup` on real hosts: that what it says to type mends what is missing, and that another host is set up over
//! ssh. It needs root and sshd, and says so where it is ignored without.
#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../../weave-router/tests/support/folder.rs"]
mod folder;
#[path = "../../weave-router/tests/support/program.rs"]
mod program;
#[path = "../../../weave-io/tests/support/root_tests.rs"]
mod root_tests;

use std::process::{Command, ExitCode, Output, Stdio};

fn main() -> ExitCode {
    root_tests::run(
        root_tests::tests![
            here::the_command_that_it_names_opens_the_firewall,
            here::whoever_has_the_port_is_named,
            here::nothing_of_the_host_is_changed,
            there::a_host_gets_the_tool_once_and_says_what_it_lacks,
            there::a_host_that_cannot_be_reached_is_named_with_the_reason,
            there::nothing_is_put_where_it_does_not_fit,
            there::a_user_who_may_use_sudo_is_enough,
        ],
        &["/dev/net/tun", SSHD],
        Some(1),
    )
}

const SSHD: &str = "/usr/sbin/sshd";

mod here {
    use serde_json::Value;
    use weave_io::host::{NetNs, Netlink, ScopedNetNs};

    use super::{Command, Output, Stdio, folder, text, weave};

    pub(super) fn the_command_that_it_names_opens_the_firewall() {
        let nft = "nft add table inet filter; \
            nft add chain inet filter input '{ type filter hook input priority 0; policy drop; }'; \
            nft add rule inet filter input ct state established,related accept; \
            nft add rule inet filter input iifname lo accept; \
            nft add rule inet filter input tcp dport '{ 22, 80 }' accept";
        let iptables = "iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT; \
            iptables -A INPUT -p tcp --dport 6783 -j ACCEPT";
        for (rules, kept_out) in [(nft, "TCP and UDP 6783"), (iptables, "UDP 6783")] {
            let host = ScopedNetNs::create(&format!("wvsetup{}", std::process::id())).unwrap();
            assert!(
                run_in(&host, Command::new("sh").args(["-ec", rules]))
                    .status
                    .success()
            );
            let (check, code) = check(&host, "firewall");
            assert_eq!(
                (check["state"].as_str(), code),
                (Some("missing"), Some(3)),
                "{check}"
            );
            let found = check["found"].as_str().unwrap();
            assert!(found.contains(kept_out), "{found}");

            let mend = check["mend"].as_str().unwrap();
            assert!(
                run_in(&host, Command::new("sh").args(["-ec", mend]))
                    .status
                    .success()
            );
            let (check, code) = self::check(&host, "firewall");
            assert_eq!(
                (check["state"].as_str(), code),
                (Some("ok"), Some(0)),
                "{check}"
            );
        }
    }

    pub(super) fn whoever_has_the_port_is_named() {
        let host = ScopedNetNs::create(&format!("wvsetup{}", std::process::id())).unwrap();
        let socket = host
            .run(|| std::net::UdpSocket::bind("0.0.0.0:6783").unwrap())
            .unwrap();
        let (check, code) = check(&host, "port");
        assert_eq!((check["state"].as_str(), code), (Some("missing"), Some(3)));
        let mend = check["mend"].as_str().unwrap();
        assert!(
            mend.starts_with(&format!("kill {}, ", std::process::id())),
            "{check}"
        );
        drop(socket);
        assert_eq!(self::check(&host, "port").0["state"], "ok");
    }

    pub(super) fn nothing_of_the_host_is_changed() {
        let host = ScopedNetNs::create(&format!("wvsetup{}", std::process::id())).unwrap();
        let look = || {
            let netlink = Netlink::open_in(&host).unwrap();
            let rules = run_in(&host, Command::new("nft").args(["list", "ruleset"])).stdout;
            (
                netlink.links().unwrap(),
                netlink.addresses().unwrap(),
                rules,
            )
        };
        let before = look();
        let names = || {
            let names = std::fs::read_dir("/run/netns").unwrap().flatten();
            let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        let namespaces = names();
        assert_eq!(check(&host, "kernel").0["state"], "ok");
        assert_eq!(look(), before);
        assert_eq!(names(), namespaces);
    }

    /// One line of the host's answer, and the exit code.
    fn check(host: &NetNs, name: &str) -> (Value, Option<i32>) {
        let folder = folder::Folder::new("setup-here");
        let mut command = weave();
        command
            .arg("--state-dir")
            .arg(folder.0.join("state"))
            .arg("--control")
            .arg(folder.0.join("weave.sock"))
            .args(["setup", "--no-container", "--json"]);
        let output = run_in(host, &mut command);
        assert!(!folder.0.join("state").exists(), "it only looks");
        let said = text(&output.stdout);
        let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{output:?}"));
        let checks = answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        (check.clone(), output.status.code())
    }

    fn run_in(host: &NetNs, command: &mut Command) -> Output {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        host.spawn(command).unwrap().wait_with_output().unwrap()
    }
}

mod there {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Child;
    use std::time::{Duration, Instant};

    use super::folder::Folder;
    use super::{Command, Output, SSHD, Stdio, text, weave};

    pub(super) fn a_host_gets_the_tool_once_and_says_what_it_lacks() {
        let server = Server::start();
        let output = server.setup("key", &[]);
        let said = text(&output.stdout);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        let verdict = said.lines().next().unwrap();
        assert!(
            verdict.contains("missing") || verdict.contains("all well"),
            "{said}"
        );
        assert!(said.contains("\n  ok       rights     root\n"), "{said}");
        assert!(
            text(&output.stderr).contains("weave: copied weave "),
            "{output:?}"
        );
        let placed = Path::new("/proc")
            .join(server.sshd.id().to_string())
            .join("root/usr/local/bin/weave");
        assert!(fs::read(&placed).unwrap() == fs::read(env!("CARGO_BIN_EXE_weave")).unwrap());
        assert_eq!(
            fs::metadata(&placed).unwrap().permissions().mode() & 0o777,
            0o755
        );
        let folder = placed.parent().unwrap();
        assert_eq!(
            fs::read_dir(folder).unwrap().count(),
            1,
            "nothing is left beside it"
        );

        let again = server.setup("key", &["--json"]);
        assert!(!text(&again.stderr).contains("copied"), "{again:?}");
        let answer: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(again.status.code(), output.status.code());
    }

    pub(super) fn a_host_that_cannot_be_reached_is_named_with_the_reason() {
        let server = Server::start();
        let output = server.setup("stranger", &[]);
        refused(&output, "cannot reach root@127.0.0.1: ");
        assert!(
            text(&output.stderr).contains("Permission denied"),
            "{output:?}"
        );
        let port = server.port;
        let folder = Folder::new("setup-none");
        drop(server);
        let output = setup(port, &folder.0.join("key"), &folder.0, &[]);
        refused(&output, "cannot reach root@127.0.0.1: ");
        assert!(text(&output.stderr).contains("refused"), "{output:?}");
        refused(
            &weave().args(["setup", "--ssh", "-v"]).output().unwrap(),
            "--ssh",
        );
    }

    pub(super) fn nothing_is_put_where_it_does_not_fit() {
        // A host whose programs say other things than this one's: `ssh` runs its last argument here.
        for (name, script, wanted) in [
            (
                "uname",
                "[ \"$1\" = -s ] && echo Linux || echo sparc",
                "its processor is sparc",
            ),
            ("uname", "echo Darwin", "it runs Darwin"),
            ("id", "echo 1000", "does not become it by sudo"),
            (
                "sha256sum",
                "echo 00 -",
                "what arrived is not what was sent",
            ),
            (
                "mktemp",
                "echo full >&2; exit 1",
                "cannot copy weave to b: full",
            ),
        ] {
            let folder = Folder::new("setup-fake");
            let programs = [
                ("ssh", "for last; do :; done; eval \"$last\""),
                ("sudo", "exit 1"),
                (name, script),
            ];
            for (name, script) in programs {
                program(&folder.0.join(name), script);
            }
            let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
            let before = fs::metadata("/usr/local/bin/weave")
                .ok()
                .map(|m| m.modified().unwrap());
            let output = weave()
                .args(["setup", "--ssh", "b"])
                .env("PATH", path)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            refused(&output, wanted);
            let after = fs::metadata("/usr/local/bin/weave")
                .ok()
                .map(|m| m.modified().unwrap());
            assert_eq!(before, after);
        }
    }

    pub(super) fn a_user_who_may_use_sudo_is_enough() {
        let folder = Folder::new("setup-sudo");
        let log = folder.0.join("log");
        // The host: this one, with nothing of what is put there staying, and its user another one by name.
        let programs = [
            (
                "ssh",
                "for last; do :; done\n\
                 exec unshare --mount sh -c 'mount --make-rprivate / && mount -t tmpfs tmpfs /usr/local/bin && eval \"$0\"' \"$last\""
                    .to_owned(),
            ),
            ("id", "echo 1000".to_owned()),
            (
                "sudo",
                format!("[ \"$1\" = -n ] || exit 1; shift; echo \"$1\" >> {}; exec \"$@\"", log.display()),
            ),
        ];
        for (name, script) in programs {
            program(&folder.0.join(name), &script);
        }
        let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
        let output = weave()
            .args(["setup", "--no-container", "--ssh", "b"])
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
        assert!(
            text(&output.stdout).contains("  ok       rights "),
            "{output:?}"
        );
        assert_eq!(
            fs::read_to_string(log).unwrap().lines().collect::<Vec<_>>(),
            ["true", "mkdir", "cp", "chmod", "mv", "/usr/local/bin/weave"]
        );
    }

    fn program(path: &Path, script: &str) {
        fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn refused(output: &Output, wanted: &str) {
        let said = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
        assert!(
            said.starts_with("weave: ") && said.contains(wanted),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    /// An sshd on a port of the loopback, in a view of the files where nothing that is put stays.
    struct Server {
        sshd: Child,
        port: u16,
        folder: Folder,
    }

    impl Server {
        fn start() -> Self {
            let folder = Folder::new("setup-sshd");
            let path = folder.0.display();
            for key in ["host", "key", "stranger"] {
                let file = folder.0.join(key);
                let made = Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(file)
                    .status();
                assert!(made.unwrap().success());
            }
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {path}/host\nAuthorizedKeysFile {path}/key.pub\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\n"
            );
            fs::write(folder.0.join("config"), config).unwrap();
            let script = format!(
                "mount --make-rprivate / && mount -t tmpfs tmpfs /usr/local/bin && mount -t tmpfs tmpfs /run && \
                 mkdir -m 755 /run/sshd && exec {SSHD} -D -f {path}/config"
            );
            let sshd = Command::new("unshare")
                .args(["--mount", "sh", "-c", &script])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let server = Self { sshd, port, folder };
            let end = Instant::now() + Duration::from_secs(10);
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < end, "sshd listens");
                std::thread::sleep(Duration::from_millis(20));
            }
            server
        }

        fn setup(&self, key: &str, args: &[&str]) -> Output {
            setup(self.port, &self.folder.0.join(key), &self.folder.0, args)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.sshd.kill();
            let _ = self.sshd.wait();
        }
    }

    fn setup(port: u16, key: &Path, folder: &Path, args: &[&str]) -> Output {
        let known = format!("UserKnownHostsFile={}", folder.join("known").display());
        weave()
            .arg("setup")
            .args(args)
            .args([
                "--ssh",
                "root@127.0.0.1",
                "-F",
                "/dev/null",
                "-p",
                &port.to_string(),
            ])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                &known,
                "-i",
            ])
            .arg(key)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// The tool under test.
fn weave() -> Command {
    program::command(env!("CARGO_BIN_EXE_weave"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
