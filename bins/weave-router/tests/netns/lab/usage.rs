//! What a program uses of the machine (proc(5)).

use std::thread;
use std::time::Duration;

use super::process::Process;

impl Process {
    /// Waits until a stop signal has stopped it.
    pub(crate) fn await_stopped(&self) {
        super::within(Duration::from_secs(5), "stopped", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            let (_, rest) = stat.rsplit_once(')').expect("proc(5)");
            rest.trim_start().starts_with('T').then_some(())
        });
    }

    /// Memory that it occupies now, in KiB (`VmRSS` of `/proc/PID/status`, proc(5)).
    pub(crate) fn resident_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// The most memory that it occupied at any time, in KiB (`VmHWM`).
    pub(crate) fn peak_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("proc(5)");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("proc(5)")
    }

    /// Sockets that it holds when nobody asks it for anything: the least of some looks, since the one over which it was
    /// just asked is closed a moment later.
    pub(crate) fn sockets_at_rest(&self) -> usize {
        let looks = (0..10).map(|_| {
            thread::sleep(Duration::from_millis(20));
            self.sockets()
        });
        looks.min().expect("there are ten")
    }

    /// Sockets that it holds.
    pub(crate) fn sockets(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        descriptors
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Processor time that it has used, in user and system mode (fields 14 and 15 of `/proc/PID/stat`, proc(5)).
    pub(crate) fn processor_time(&self) -> Duration {
        /// USER_HZ is 100 on every architecture that Rust's standard library runs on but alpha.
        const TICK_MS: u64 = 10;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The second field is the name in brackets, which may hold blanks.
        let (_, rest) = stat.rsplit_once(')').expect("proc(5)");
        let ticks = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * TICK_MS)
    }
}
