//! Kernel settings of a namespace, below `/proc/sys/net`.

use std::fs;
use std::io;

use super::error::refused;
use super::netlink::Worker;
use super::{Error, Netlink};

impl Netlink {
    /// The value of a setting, as `ipv4/ip_forward` (slashes, since device names may hold dots),
    /// without the line's end.
    ///
    /// # Errors
    /// [`Error::BadSettingName`], or [`Error::Refused`] if there is none such.
    pub fn setting(&self, key: &str) -> Result<String, Error> {
        self.on(key, |worker, key| worker.setting(key))
    }

    /// Sets a setting. Writes only if it has another value: in many containers they can be read,
    /// not written.
    ///
    /// # Errors
    /// [`Error::BadSettingName`] or [`Error::Refused`].
    pub fn set_setting(&self, key: &str, value: &str) -> Result<(), Error> {
        let value = value.to_owned();
        self.on(key, move |worker, key| worker.set_setting(key, &value))
    }
}

// `/proc/sys/net` shows each thread the settings of the namespace it is in, and the worker's thread
// is in ours.
impl Worker {
    pub(super) fn setting(&self, key: &str) -> Result<String, Error> {
        let path = setting_path(key)?;
        let text = fs::read_to_string(path).map_err(refused("read the kernel setting", key))?;
        Ok(text.trim_end().to_owned())
    }

    pub(super) fn set_setting(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = setting_path(key)?;
        if self.setting(key)? == value {
            return Ok(());
        }
        let written = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| write_once(&file, value));
        written.map_err(refused("set the kernel setting", key))
    }
}

/// The kernel takes a setting from one write only.
fn write_once(mut file: &fs::File, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut file, value.as_bytes())
}

fn setting_path(key: &str) -> Result<String, Error> {
    let component =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if key.split('/').all(component) {
        Ok(format!("/proc/sys/net/{key}"))
    } else {
        Err(Error::BadSettingName {
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_settings_stay_below_their_folder() {
        assert_eq!(
            setting_path("ipv4/conf/eth0.5/rp_filter").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.5/rp_filter"
        );
        for key in [
            "",
            "/etc/passwd",
            "../kernel/hostname",
            "ipv4/../../kernel/hostname",
            "ipv4//x",
            "ipv4/",
            "a\0b",
        ] {
            assert!(
                matches!(setting_path(key), Err(Error::BadSettingName { .. })),
                "{key:?}"
            );
        }
    }
}
