//! Folders for state and sockets.

use std::path::PathBuf;

/// An empty folder of this process, removed when it goes out of scope.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// One for each name.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weave-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
