//! A process's memory, searched from outside (proc(5)).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use nix::sys::signal::Signal;

use super::process::Process;

/// How often each pattern stands in the memory of a process, and how much was searched.
#[derive(Debug)]
pub(crate) struct Search {
    /// In the order of the patterns.
    pub(crate) found: Vec<usize>,
    /// Bytes that were read.
    pub(crate) bytes: u64,
    /// Regions that were read, by the names that the kernel gives them (`[heap]`, `[stack]`, a file's path or nothing).
    pub(crate) regions: Vec<String>,
}

impl Search {
    /// Searches everything that the process can read: heap, stacks, buffers, what files are mapped. It stands still
    /// meanwhile, so that nothing moves from what is not yet searched to what is.
    pub(crate) fn of(process: &Process, patterns: &[&[u8]]) -> Self {
        process.signal(Signal::SIGSTOP);
        process.await_stopped();
        let search = Self::stopped(process.pid(), patterns);
        process.signal(Signal::SIGCONT);
        search
    }

    fn stopped(pid: i32, patterns: &[&[u8]]) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut search = Self {
            found: vec![0; patterns.len()],
            bytes: 0,
            regions: Vec::new(),
        };
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let range = words.next().expect("proc(5)");
            let may = words.next().expect("proc(5)");
            // Offset, device, inode.
            let name = words.nth(3).unwrap_or_default();
            // The kernel's own pages, the same in every process, which it lets nobody read from outside.
            if !may.starts_with('r') || name.starts_with("[vvar") || name == "[vsyscall]" {
                continue;
            }
            let (start, end) = range.split_once('-').expect("proc(5)");
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let read = search.region(&memory, start..end, patterns);
            assert!(read || !name.is_empty(), "memory of its own: {line}");
            if read {
                search.regions.push(name.to_owned());
            }
        }
        search
    }

    /// Searches one region; false if the kernel does not let it be read, as with what is mapped behind a file's end.
    fn region(&mut self, memory: &File, range: std::ops::Range<u64>, patterns: &[&[u8]]) -> bool {
        let longest = patterns.iter().map(|pattern| pattern.len()).max();
        let overlap = longest.unwrap_or(1) - 1;
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let kept = bytes.len().min(overlap);
            bytes.drain(..bytes.len() - kept);
            let fresh = (range.end - at).min(CHUNK_BYTES);
            bytes.resize(kept + fresh as usize, 0);
            if memory.read_exact_at(&mut bytes[kept..], at).is_err() {
                return false;
            }
            for (pattern, found) in patterns.iter().zip(&mut self.found) {
                // What lies wholly in the part kept was counted with the chunk before.
                let from = kept.saturating_sub(pattern.len() - 1);
                *found += count(&bytes[from..], pattern);
            }
            at += fresh;
            self.bytes += fresh;
        }
        true
    }
}

/// How often the pattern stands in the bytes.
fn count(bytes: &[u8], pattern: &[u8]) -> usize {
    let (first, rest) = pattern.split_first().expect("a pattern has bytes");
    // By its first byte first: the regions are large.
    let places = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    places
        .filter(|(at, _)| bytes[at + 1..].starts_with(rest))
        .count()
}

/// Read at once.
const CHUNK_BYTES: u64 = 1 << 20;
