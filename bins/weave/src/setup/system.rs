//! Which Linux this is: what installs a package, starts a service and keeps a module loaded here.

use std::path::Path;

/// What differs between distributions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct System {
    /// What installs packages.
    pub(crate) packages: Packages,
    /// What starts services.
    pub(crate) services: Services,
}

/// What installs packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packages {
    /// Debian, Ubuntu and what comes of them.
    Apt,
    /// Fedora.
    Dnf,
    /// Red Hat's and what comes of it: as Fedora, without Docker's engine.
    Rhel,
    /// Alpine.
    Apk,
    /// Another.
    Other,
}

/// What starts services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// systemd.
    Systemd,
    /// Alpine's OpenRC.
    OpenRc,
    /// Another, or none.
    Other,
}

/// A package that something of weave's needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    /// The docker engine.
    Docker,
    /// Podman.
    Podman,
    /// iptables and ip6tables.
    Iptables,
    /// Something that keeps the clock right.
    Chrony,
}

impl System {
    /// Out of the text of `/etc/os-release`, and whether systemd runs.
    pub(crate) fn new(os_release: &str, systemd: bool) -> Self {
        let packages = packages(os_release);
        let services = match packages {
            _ if systemd => Services::Systemd,
            Packages::Apk => Services::OpenRc,
            Packages::Apt | Packages::Dnf | Packages::Rhel | Packages::Other => Services::Other,
        };
        Self { packages, services }
    }

    /// Looks at this host.
    pub(crate) fn of_this_host() -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        // The second is for hosts without the first (os-release(5)).
        let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        Self::new(
            &text.unwrap_or_default(),
            Path::new("/run/systemd/system").is_dir(),
        )
    }

    /// The command that installs a package, and starts what is in it where the package itself does not.
    pub(crate) fn install(self, package: Package) -> String {
        let name = match (package, self.packages) {
            (Package::Docker, Packages::Apt) => "docker.io",
            (Package::Docker, Packages::Dnf) => "moby-engine",
            // Not among its own packages; Docker has some for it.
            (Package::Docker, Packages::Rhel) => "docker-ce",
            (Package::Docker, Packages::Apk | Packages::Other) => "docker",
            (Package::Podman, _) => "podman",
            (Package::Iptables, Packages::Dnf | Packages::Rhel) => "iptables-nft",
            (Package::Iptables, _) => "iptables",
            (Package::Chrony, _) => "chrony",
        };
        let install = match self.packages {
            Packages::Apt => format!("apt-get install -y {name}"),
            Packages::Dnf | Packages::Rhel => format!("dnf install -y {name}"),
            Packages::Apk => format!("apk add {name}"),
            Packages::Other => {
                return format!("install the package {name} with what installs packages here");
            }
        };
        let service = match package {
            Package::Docker => "docker",
            Package::Chrony => "chronyd",
            Package::Podman | Package::Iptables => return install,
        };
        match self.packages {
            // Debian's packages start their services themselves.
            Packages::Apt => install,
            Packages::Dnf | Packages::Rhel | Packages::Apk | Packages::Other => {
                format!("{install} && {}", self.start(service))
            }
        }
    }

    /// The command that starts a service, now and at each boot.
    pub(crate) fn start(self, service: &str) -> String {
        match self.services {
            Services::Systemd => format!("systemctl enable --now {service}"),
            Services::OpenRc => format!("rc-update add {service} && rc-service {service} start"),
            Services::Other => format!("service {service} start"),
        }
    }

    /// The command that loads modules, now and at each boot.
    pub(crate) fn load(self, modules: &[&str]) -> String {
        let names = modules.join(" ");
        let file = match self.services {
            Services::OpenRc => ">> /etc/modules",
            Services::Systemd | Services::Other => ">> /etc/modules-load.d/weave.conf",
        };
        format!("modprobe -a {names} && printf '%s\\n' {names} {file}")
    }
}

fn packages(os_release: &str) -> Packages {
    let value = |key: &str| {
        os_release
            .lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']))
            .next_back()
            .unwrap_or_default()
    };
    let known = |name: &str| match name {
        "debian" | "ubuntu" => Some(Packages::Apt),
        "fedora" => Some(Packages::Dnf),
        "rhel" | "centos" => Some(Packages::Rhel),
        "alpine" => Some(Packages::Apk),
        _ => None,
    };
    // ID_LIKE names what it comes of, the nearest first.
    let mut names = value("ID")
        .split_whitespace()
        .chain(value("ID_LIKE").split_whitespace());
    names.find_map(known).unwrap_or(Packages::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_its_own_name_or_by_what_it_comes_of() {
        for (text, wanted) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", Packages::Apt),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Packages::Apt),
            ("ID=\"fedora\"\n", Packages::Dnf),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Packages::Rhel,
            ),
            ("ID=alpine\n", Packages::Apk),
            ("ID=arch\n", Packages::Other),
            ("", Packages::Other),
            ("=\nID\n ID='alpine' ", Packages::Apk),
        ] {
            assert_eq!(System::new(text, true).packages, wanted, "{text}");
        }
    }

    #[test]
    fn each_has_its_own_commands() {
        let debian = System::new("ID=debian", true);
        let fedora = System::new("ID=fedora", true);
        let alpine = System::new("ID=alpine", false);
        let other = System::new("ID=gentoo", false);
        for (said, wanted) in [
            (
                debian.install(Package::Docker),
                "apt-get install -y docker.io",
            ),
            (
                fedora.install(Package::Docker),
                "dnf install -y moby-engine && systemctl enable --now docker",
            ),
            (
                alpine.install(Package::Docker),
                "apk add docker && rc-update add docker && rc-service docker start",
            ),
            (
                fedora.install(Package::Iptables),
                "dnf install -y iptables-nft",
            ),
            (alpine.install(Package::Podman), "apk add podman"),
            (
                other.install(Package::Iptables),
                "install the package iptables with what installs packages here",
            ),
            (other.start("docker"), "service docker start"),
            (
                debian.load(&["bridge", "veth"]),
                "modprobe -a bridge veth && printf '%s\\n' bridge veth >> /etc/modules-load.d/weave.conf",
            ),
            (
                alpine.load(&["tun"]),
                "modprobe -a tun && printf '%s\\n' tun >> /etc/modules",
            ),
        ] {
            assert_eq!(said, wanted);
        }
    }
}
