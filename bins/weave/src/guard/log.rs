//! The guard's lines, on stderr; which is a file of the state folder, bounded in size, where nobody started it by hand.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The log's name in the state folder.
pub(crate) const LOG: &str = "guard.log";

/// Writes a line with the time before it.
pub(super) fn line(text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    // Nowhere is left to complain when stderr fails.
    let _ = writeln!(io::stderr(), "{} {text}", timestamp(seconds));
}

/// Opens the log at its end.
pub(super) fn open(state_dir: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(state_dir.join(LOG))
}

/// Keeps of a log that has grown large the newest part, if this process writes to it.
pub(super) fn trim(state_dir: &Path) {
    // A log that can't be trimmed is no reason to stop guarding.
    let _ = try_trim(&state_dir.join(LOG));
}

fn try_trim(path: &Path) -> io::Result<()> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let written = stderr.metadata()?;
    if !written.is_file() || written.len() <= LOG_BYTES_MAX {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let there = file.metadata()?;
    if (there.dev(), there.ino()) == (written.dev(), written.ino()) {
        keep_end(&mut file)?;
    }
    Ok(())
}

/// In the same file, which others hold open to append to.
fn keep_end(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(KEPT_BYTES)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let whole = end.iter().position(|byte| *byte == b'\n');
    let from = whole.map_or(0, |at| at + 1);
    file.set_len(0)?;
    file.write_all(&end[from..])
}

/// As `2026-11-25T18:31:37Z` (RFC 3339), out of seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, of_day) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    // Days counted from the first of March of year 0, so that a leap day is the last of its year; in eras of 400 years
    // (Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Some 2,000 lines, and the half of that.
const LOG_BYTES_MAX: u64 = 256 << 10;
const KEPT_BYTES: u64 = LOG_BYTES_MAX / 2;
const DAY_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_631_497, "2026-11-25T18:31:37Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn a_large_log_keeps_its_newest_lines_in_the_same_file() {
        let folder = std::env::temp_dir().join(format!("weave-guard-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut writer = open(&folder).unwrap();
        for n in 0..40_000 {
            writeln!(writer, "line {n}").unwrap();
        }
        let path = folder.join(LOG);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .unwrap();
        keep_end(&mut file).unwrap();
        writeln!(writer, "and on").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(text.len() as u64 <= KEPT_BYTES + 10);
        assert!(text.starts_with("line "), "whole lines");
        assert!(text.ends_with("line 39999\nand on\n"));
    }
}
