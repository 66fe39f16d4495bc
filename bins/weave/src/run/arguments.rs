//! What stands in the arguments of `docker run`: its flags, the image, and the container's own command.
//!
//! They pass through as they are; but to put the waiting before the command one must know where the image stands, and
//! for that which flags take the word after them. The flags of docker 28 and podman 5 are listed here; one that is
//! neither ([`Unreadable::Unknown`]) is looked for in what the engine's own `run --help` says.

use std::ffi::{OsStr, OsString};
use std::ops::Range;

/// The arguments, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments<'a> {
    words: &'a [OsString],
    flags: Vec<Flag>,
    /// Where they end: at `--`, if there is one, or at the image.
    flags_end: usize,
    /// Where the image stands.
    image: usize,
}

/// A flag of the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flag {
    /// Its long name, without dashes; for what has but a short one, that.
    name: String,
    /// Its value, where it takes one, or has one all the same (`--detach=false`).
    value: Option<OsString>,
    /// The words it was read from. Short flags can share one (`-dit`).
    at: Range<usize>,
}

/// Why arguments can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// No image in them.
    NoImage,
    /// The last flag wants a value.
    NoValue {
        /// As it was written.
        flag: String,
    },
    /// A flag that is not known here.
    Unknown {
        /// As it was written, without a value.
        flag: String,
    },
}

impl<'a> Arguments<'a> {
    /// Reads them. `help` is what the engine's `run --help` prints, for flags that are newer than this program; with
    /// it no flag is unknown (engines hide some from their help, all of which take a value).
    pub(super) fn read(words: &'a [OsString], help: Option<&str>) -> Result<Self, Unreadable> {
        let mut flags = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let text = word.to_string_lossy();
            let begin = at;
            at += 1;
            if text == "--" {
                break;
            }
            let Some(body) = text.strip_prefix('-').filter(|body| !body.is_empty()) else {
                at = begin;
                break;
            };
            let mut next = || {
                let value = words.get(at).cloned();
                at += 1;
                value.ok_or_else(|| Unreadable::NoValue {
                    flag: text.clone().into_owned(),
                })
            };
            if let Some(long) = body.strip_prefix('-') {
                let (name, value) = match long.split_once('=') {
                    Some((name, _)) => (name, Some(after(word, 2 + name.len() + 1))),
                    None if is_switch(&format!("--{long}"), help)? => (long, None),
                    None => (long, Some(next()?)),
                };
                flags.push(Flag {
                    name: name.to_owned(),
                    value,
                    at: begin..at,
                });
                continue;
            }
            let first = flags.len();
            for (offset, letter) in body.char_indices() {
                let rest = after(word, 1 + offset + letter.len_utf8());
                let name = long_name(letter);
                let assigned = rest.as_encoded_bytes().starts_with(b"=");
                let value = if assigned {
                    Some(after(&rest, 1))
                } else if is_switch(&format!("-{letter}"), help)? {
                    None
                } else if rest.is_empty() {
                    Some(next()?)
                } else {
                    Some(rest)
                };
                let ended = value.is_some();
                flags.push(Flag {
                    name,
                    value,
                    at: begin..begin + 1,
                });
                if ended {
                    break;
                }
            }
            for flag in flags.iter_mut().skip(first) {
                flag.at = begin..at;
            }
        }
        if at >= words.len() {
            return Err(Unreadable::NoImage);
        }
        let flags_end = flags.last().map_or(0, |flag| flag.at.end);
        Ok(Self {
            words,
            flags,
            flags_end,
            image: at,
        })
    }

    /// The values of a flag, by its long name, in their order.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        self.flags
            .iter()
            .filter(move |flag| flag.name == name)
            .filter_map(|flag| flag.value.as_deref())
    }

    /// Whether the switch was turned off.
    pub(super) fn has_off(&self, name: &str) -> bool {
        self.flags
            .iter()
            .any(|flag| flag.name == name && is_off(flag))
    }

    /// The image's name.
    pub(super) fn image(&self) -> &OsStr {
        &self.words[self.image]
    }

    /// The arguments of an engine's `create` for a container that is never started: its command will be that of the
    /// container asked for, and nothing else of it is there to be in the way (no name, no port, no volume).
    pub(super) fn command_only(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--network=none".into()];
        for flag in &self.flags {
            if DECIDES_COMMAND.contains(&flag.name.as_str()) {
                args.extend_from_slice(&self.words[flag.at.clone()]);
            }
        }
        args.extend_from_slice(&self.words[self.flags_end..]);
        args
    }

    /// The same arguments with `before` in front of the flags, without the user's own entry point, and with `command`
    /// in place of the container's.
    pub(super) fn with_entry(
        &self,
        before: impl IntoIterator<Item = OsString>,
        command: impl IntoIterator<Item = OsString>,
    ) -> Vec<OsString> {
        let mut args: Vec<OsString> = before.into_iter().collect();
        let entry = |at: usize| {
            self.flags
                .iter()
                .any(|flag| flag.name == "entrypoint" && flag.at.contains(&at))
        };
        for (at, word) in self.words[..=self.image].iter().enumerate() {
            if !entry(at) {
                args.push(word.clone());
            }
        }
        args.extend(command);
        args
    }
}

fn is_off(flag: &Flag) -> bool {
    // As Go's ParseBool has it.
    let off = ["0", "f", "F", "false", "FALSE", "False"];
    flag.value.as_ref().is_some_and(|value| {
        off.iter()
            .any(|word| value.as_encoded_bytes() == word.as_bytes())
    })
}

/// What follows the first `bytes` of a word.
fn after(word: &OsStr, bytes: usize) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let rest = word.as_bytes().get(bytes..).unwrap_or_default();
    OsString::from_vec(rest.to_vec())
}

/// Whether the flag, written with its dashes, takes no value.
fn is_switch(flag: &str, help: Option<&str>) -> Result<bool, Unreadable> {
    let known = match flag.strip_prefix("--") {
        Some(long) => (SWITCHES.contains(&long), VALUED.contains(&long)),
        None => {
            let letter = flag.trim_start_matches('-');
            let known = |letters: &str| !letter.is_empty() && letters.contains(letter);
            (known(SHORT_SWITCHES), known(SHORT_VALUED))
        }
    };
    match (known, help) {
        ((true, _), _) => Ok(true),
        ((_, true), _) => Ok(false),
        (_, Some(help)) => Ok(help_says_switch(help, flag)),
        (_, None) => Err(Unreadable::Unknown {
            flag: flag.to_owned(),
        }),
    }
}

/// Reads `  -x, --name type   What it does`, with no type for a switch.
fn help_says_switch(help: &str, flag: &str) -> bool {
    help.lines().any(|line| {
        let line = line.trim_start();
        let names = line.split("  ").next().unwrap_or_default();
        let mut words = names.split_whitespace();
        let flags: Vec<&str> = words
            .by_ref()
            .take_while(|word| word.starts_with('-'))
            .map(|word| word.trim_end_matches(','))
            .collect();
        let count = names.split_whitespace().count();
        flags.contains(&flag) && count == flags.len()
    })
}

fn long_name(letter: char) -> String {
    let long = match letter {
        'a' => "attach",
        'd' => "detach",
        'h' => "hostname",
        'i' => "interactive",
        'q' => "quiet",
        't' => "tty",
        'v' => "volume",
        other => return other.to_string(),
    };
    long.to_owned()
}

/// What bears on the image's choice, its fetching, or its command. None of them has a short form, which could share its
/// word with a flag that `create` does not know (`-dq`).
const DECIDES_COMMAND: [&str; 15] = [
    "arch",
    "authfile",
    "cert-dir",
    "creds",
    "decryption-key",
    "disable-content-trust",
    "entrypoint",
    "os",
    "platform",
    "pull",
    "retry",
    "retry-delay",
    "rootfs",
    "tls-verify",
    "variant",
];

const SHORT_SWITCHES: &str = "ditPq";
const SHORT_VALUED: &str = "acehlmpuvw";

/// Flags that take no value, of docker and podman.
const SWITCHES: [&str; 26] = [
    "detach",
    "disable-content-trust",
    "env-host",
    "help",
    "http-proxy",
    "init",
    "interactive",
    "no-healthcheck",
    "no-hostname",
    "no-hosts",
    "oom-kill-disable",
    "passwd",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "read-only-tmpfs",
    "replace",
    "rm",
    "rmi",
    "rootfs",
    "sig-proxy",
    "tls-verify",
    "tty",
    "unsetenv-all",
    "use-api-socket",
];

/// Flags that take one.
const VALUED: [&str; 142] = [
    "add-host",
    "annotation",
    "arch",
    "attach",
    "authfile",
    "blkio-weight",
    "blkio-weight-device",
    "cap-add",
    "cap-drop",
    "cert-dir",
    "cgroup-conf",
    "cgroup-parent",
    "cgroupns",
    "cgroups",
    "chrootdirs",
    "cidfile",
    "conmon-pidfile",
    "cpu-count",
    "cpu-percent",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "creds",
    "decryption-key",
    "detach-keys",
    "device",
    "device-cgroup-rule",
    "device-read-bps",
    "device-read-iops",
    "device-write-bps",
    "device-write-iops",
    "dns",
    "dns-opt",
    "dns-option",
    "dns-search",
    "domainname",
    "entrypoint",
    "env",
    "env-file",
    "env-merge",
    "expose",
    "gidmap",
    "gpus",
    "group-add",
    "group-entry",
    "health-cmd",
    "health-interval",
    "health-log-destination",
    "health-max-log-count",
    "health-max-log-size",
    "health-on-failure",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-startup-cmd",
    "health-startup-interval",
    "health-startup-retries",
    "health-startup-success",
    "health-startup-timeout",
    "health-timeout",
    "hostname",
    "hosts-file",
    "hostuser",
    "image-volume",
    "init-path",
    "io-maxbandwidth",
    "io-maxiops",
    "ip",
    "ip6",
    "ipc",
    "isolation",
    "kernel-memory",
    "label",
    "label-file",
    "link",
    "link-local-ip",
    "log-driver",
    "log-opt",
    "mac-address",
    "memory",
    "memory-reservation",
    "memory-swap",
    "memory-swappiness",
    "mount",
    "name",
    "net",
    "net-alias",
    "network",
    "network-alias",
    "oom-score-adj",
    "os",
    "passwd-entry",
    "personality",
    "pid",
    "pidfile",
    "pids-limit",
    "platform",
    "pod",
    "pod-id-file",
    "preserve-fd",
    "preserve-fds",
    "publish",
    "pull",
    "rdt-class",
    "requires",
    "restart",
    "retry",
    "retry-delay",
    "runtime",
    "sdnotify",
    "seccomp-policy",
    "secret",
    "security-opt",
    "shm-size",
    "shm-size-systemd",
    "stop-signal",
    "stop-timeout",
    "storage-opt",
    "subgidname",
    "subuidname",
    "sysctl",
    "systemd",
    "timeout",
    "tmpfs",
    "tz",
    "uidmap",
    "ulimit",
    "umask",
    "unsetenv",
    "user",
    "userns",
    "uts",
    "variant",
    "volume",
    "volume-driver",
    "volumes-from",
    "workdir",
];

#[cfg(test)]
mod tests;
