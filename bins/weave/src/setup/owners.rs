//! Which process has a port or holds a lock, by what `/proc` tells.

use std::fs;

use super::facts::Program;

/// The process that has a port of `tcp` or `udp`; `None` where it can't be told.
pub(crate) fn of_port(protocol: &str, port: u16) -> Option<Program> {
    let inode = ["", "6"].iter().find_map(|version| {
        let table = fs::read_to_string(format!("/proc/net/{protocol}{version}")).ok()?;
        inode_of_port(&table, protocol, port)
    })?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let has_it = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        files.into_iter().flatten().flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        })
    };
    numbers.into_iter().find(has_it).map(program)
}

/// The process that holds a file locked; `None` where it can't be told.
pub(crate) fn of_lock(device: u64, inode: u64) -> Option<Program> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    pid_of_lock(&table, device, inode).map(program)
}

fn program(pid: u32) -> Program {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    Program {
        name: if name.is_empty() { "a program" } else { name }.to_owned(),
        pid,
    }
}

/// In a table as of `/proc/net/tcp` (proc(5)).
fn inode_of_port(table: &str, protocol: &str, port: u16) -> Option<u64> {
    // Of TCP only who listens.
    const LISTEN: &str = "0A";
    let wanted = format!("{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let listens = protocol != "tcp" || fields.get(3) == Some(&LISTEN);
        let inode = fields.get(9)?.parse().ok()?;
        (listens && local_port == wanted && inode != 0).then_some(inode)
    })
}

/// In a table as of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 708 00:13:511 0 EOF`.
fn pid_of_lock(table: &str, device: u64, inode: u64) -> Option<u32> {
    let major = nix::sys::stat::major(device);
    let minor = nix::sys::stat::minor(device);
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| {
        // One that waits for another's has an arrow in front of its kind, and fits nowhere.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&wanted.as_str());
        // One in another namespace of processes has the number 0 or -1.
        let pid = fields.get(4)?.parse().ok()?;
        (is_it && pid != 0).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_the_kernels_tables() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1A7F 0100007F:8AE2 01 00000000:00000000 00:00000000 00000000     0        0 41 1 0 20 4 30 10 -1\n\
            1: 00000000:1A7F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1 0 100 0 0 10 0\n\
            2: x\n";
        assert_eq!(inode_of_port(table, "tcp", 6783), Some(42));
        assert_eq!(inode_of_port(table, "tcp", 6784), None);
        assert_eq!(inode_of_port(table, "udp", 6783), Some(41));
        assert_eq!(inode_of_port("", "udp", 6783), None);
    }

    #[test]
    fn locks_are_found_in_the_kernels_table() {
        let table = "1: POSIX  ADVISORY  WRITE 10 fd:01:7 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 11 fd:01:7 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 12 fd:01:8 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 0 fd:01:9 0 EOF\nx\n";
        let device = nix::sys::stat::makedev(0xfd, 1);
        assert_eq!(pid_of_lock(table, device, 7), Some(11));
        assert_eq!(pid_of_lock(table, device, 8), None);
        assert_eq!(pid_of_lock(table, device, 9), None);
    }
}
