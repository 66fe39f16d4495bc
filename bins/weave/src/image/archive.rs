//! An image out of a program, as the archive that `docker load` and `podman load` take.
//!
//! ```text
//! manifest.json    which files, and the image's name
//! CONFIG.json      entry point, label, digest of the layer; named by its own digest
//! layer.tar        weave
//! ```
//!
//! Nothing in it tells the time or the machine: one program always gives one archive, and one image id.

use std::fs;

use ring::digest::{SHA256, digest};
use serde_json::json;
use tar::{Builder, EntryType, Header};
use weave_router::{Failure, words};

use super::{LABEL, name};

/// A static program that an image can be made of.
#[derive(Debug)]
pub(crate) struct Program {
    bytes: Vec<u8>,
    digest: String,
}

impl Program {
    /// This very program, even when its file was replaced since it was started.
    ///
    /// # Errors
    /// When it is linked dynamically: an image of it would lack its libraries.
    pub(crate) fn own() -> Result<Self, Failure> {
        if !cfg!(target_feature = "crt-static") {
            return Err(Failure::new(
                "cannot make the router's image of this program",
                "it is linked dynamically, and an image of it would lack its libraries",
                "build it without RUSTFLAGS of your own (cargo build --release), or use weave launch --no-container",
            ));
        }
        let bytes = fs::read("/proc/self/exe")
            .map_err(|error| Failure::new("cannot read this program's file", words(&error), ""))?;
        Ok(Self::new(bytes))
    }

    /// A program of these bytes.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            digest: sha256(&bytes),
            bytes,
        }
    }

    /// The SHA-256 of its bytes, in hex.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The archive of its image.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let layer = files(&[("weave", 0o755, &self.bytes)]);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": EPOCH,
            "config": {
                "Entrypoint": ["/weave", "router"],
                "Labels": { LABEL: self.digest },
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
            "history": [{ "created": EPOCH, "created_by": "weave image" }],
        })
        .to_string();
        let config_name = format!("{}.json", sha256(config.as_bytes()));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [name()],
            "Layers": [LAYER],
        }])
        .to_string();
        files(&[
            ("manifest.json", 0o644, manifest.as_bytes()),
            (&config_name, 0o644, config.as_bytes()),
            (LAYER, 0o644, &layer),
        ])
    }
}

/// A tar of these files: name, mode, content.
fn files(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, *content)
            .expect("memory takes every write, and the names are short and relative");
    }
    archive.into_inner().expect("memory takes every write")
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// This machine's architecture by its name in Go's world.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

const LAYER: &str = "layer.tar";
const EPOCH: &str = "1970-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::Value;

    use super::*;

    #[test]
    fn an_archive_is_coherent_and_always_the_same() {
        let program = Program::new(b"program".to_vec());
        let archive = program.archive();
        assert_eq!(archive, Program::new(b"program".to_vec()).archive());
        let manifest: Value = serde_json::from_slice(&file(&archive, "manifest.json")).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], name());
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config = file(&archive, config_name);
        assert_eq!(format!("{}.json", sha256(&config)), config_name);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["config"]["Labels"][LABEL], program.digest());
        let layer = file(&archive, manifest[0]["Layers"][0].as_str().unwrap());
        let diff_id = format!("sha256:{}", sha256(&layer));
        assert_eq!(config["rootfs"]["diff_ids"][0], diff_id);
        assert_eq!(file(&layer, "weave"), b"program");
    }

    fn file(archive: &[u8], name: &str) -> Vec<u8> {
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path_bytes() == name.as_bytes() {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                return content;
            }
        }
        panic!("no {name}");
    }
}
