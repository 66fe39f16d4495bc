//! `weave image`: the router's image, made of this very program without any registry, and its archive.
//!
//! The image is `FROM scratch` with one file in it that matters, `/weave`. It is called `weave:VERSION` and labelled with
//! the program's digest, so that a tool that was built anew does not run its predecessor.

mod archive;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueHint};
use weave_router::{Failure, words};

use crate::context::Context;
use crate::engine::{Engine, EngineError};

pub(crate) use archive::Program;

/// The label whose value is the SHA-256 of the program in an image, in hex.
pub(crate) const LABEL: &str = "weave.program";

/// The flags of `weave image`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImageArgs {
    /// Write the image to this file, for docker load or podman load on any host; - is stdout. Needs no engine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    tar: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  weave image                   makes the image weave:VERSION of this program, as launch does when there is none
  weave image --tar weave.tar   writes it to a file: docker load --input weave.tar
  weave image --tar - | ssh host2 docker load

The image holds this program and nothing else; no registry is asked. weave reset removes it.";

/// Runs `weave image`.
pub(crate) async fn image(context: &Context, args: &ImageArgs) -> Result<ExitCode, Failure> {
    let program = Program::own()?;
    let name = name();
    let bytes = match &args.tar {
        Some(path) => {
            let archive = program.archive();
            write(path, &archive)?;
            if path.as_os_str() == "-" {
                return Ok(ExitCode::SUCCESS);
            }
            archive.len() as u64
        }
        None => {
            let engine = context.engine()?;
            ensure(engine.as_ref(), &program).await?;
            let image = engine.image(&name).await;
            image
                .map_err(|error| error.while_doing(cannot_make()))?
                .size
        }
    };
    let line = if args.json {
        let file = args.tar.as_ref().map(|path| path.display().to_string());
        serde_json::json!({ "image": name, "program": program.digest(), "bytes": bytes, "file": file })
            .to_string()
    } else {
        name
    };
    context.output.line(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// The image's name.
pub(crate) fn name() -> String {
    format!("weave:{}", env!("CARGO_PKG_VERSION"))
}

/// Makes sure that the engine's image of this version holds this program; says whether it had to be made. Images of
/// earlier builds go, unless a container is made of one.
///
/// # Errors
/// What the engine says.
pub(crate) async fn ensure(engine: &dyn Engine, program: &Program) -> Result<bool, Failure> {
    let name = name();
    let cannot = |error: EngineError| error.while_doing(cannot_make());
    match engine.image(&name).await {
        Ok(image) if image.labels.get(LABEL).map(String::as_str) == Some(program.digest()) => {
            return Ok(false);
        }
        Ok(_) | Err(EngineError::NoImage { .. }) => {}
        Err(error) => return Err(cannot(error)),
    }
    engine.load(program.archive()).await.map_err(cannot)?;
    let made = engine.image(&name).await.map_err(cannot)?;
    for id in engine.labelled(LABEL).await.map_err(cannot)? {
        if id != made.id {
            let _ = engine.remove_image(&id).await;
        }
    }
    Ok(true)
}

/// Removes all images that this tool has made, of this version and others; one that a container is made of stays. Gives
/// the number of those removed.
///
/// # Errors
/// When the engine does not answer.
pub(crate) async fn remove_all(engine: &dyn Engine) -> Result<usize, Failure> {
    let cannot = |error: EngineError| error.while_doing("cannot remove the router's image");
    let mut removed = 0;
    for id in engine.labelled(LABEL).await.map_err(cannot)? {
        match engine.remove_image(&id).await {
            Ok(()) => removed += 1,
            // In use, by another network's router perhaps; or gone since.
            Err(EngineError::Refused { .. } | EngineError::NoImage { .. }) => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    Ok(removed)
}

fn cannot_make() -> String {
    format!("cannot make the image {}", name())
}

/// Writes the file whole, or not at all.
fn write(path: &Path, archive: &[u8]) -> Result<(), Failure> {
    let what = || format!("cannot write {}", path.display());
    if path.as_os_str() == "-" {
        let mut stdout = io::stdout().lock();
        return match stdout.write_all(archive).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
            Err(error) => Err(Failure::new("cannot write the image", words(&error), "")),
            Ok(()) => Ok(()),
        };
    }
    if path.is_dir() {
        return Err(Failure::new(what(), "it is a folder", "name a file in it"));
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&hidden)
        .and_then(|mut file| file.write_all(archive).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&hidden, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&hidden);
        Failure::new(what(), words(&error), "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;
    use crate::engine::fake::Fake;

    #[tokio::test]
    async fn an_image_is_made_once_and_again_by_another_build() {
        let fake = Fake::new(EngineKind::Docker);
        let (first, second) = (Program::new(b"one".to_vec()), Program::new(b"two".to_vec()));
        assert!(ensure(&fake, &first).await.unwrap());
        assert!(!ensure(&fake, &first).await.unwrap());
        assert!(ensure(&fake, &second).await.unwrap());
        assert!(!ensure(&fake, &second).await.unwrap());
        let images = fake.state().images.clone();
        assert_eq!(images.len(), 1, "{images:?}");
        assert_eq!(images[&name()].labels[LABEL], second.digest());
        assert_eq!(remove_all(&fake).await.unwrap(), 1);
        assert!(fake.state().images.is_empty());
    }

    #[tokio::test]
    async fn an_engine_that_is_down_is_named() {
        let fake = Fake::new(EngineKind::Docker);
        let down = EngineError::NotRunning {
            program: "docker",
            why: "no socket".to_owned(),
        };
        fake.fail("image", down);
        let line = ensure(&fake, &Program::new(Vec::new()))
            .await
            .unwrap_err()
            .to_string();
        let wanted = format!(
            "cannot make the image {}: docker does not answer: no socket; start it: systemctl start docker",
            name()
        );
        assert_eq!(line, wanted);
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("weave-image-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("weave.tar");
        write(&path, b"all of it").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
        let line = write(&folder, b"").unwrap_err().to_string();
        assert!(
            line.ends_with("it is a folder; name a file in it"),
            "{line}"
        );
        let line = write(&folder.join("no/weave.tar"), b"")
            .unwrap_err()
            .to_string();
        assert!(
            line.ends_with("no/weave.tar: no such file or directory"),
            "{line}"
        );
        fs::remove_file(&path).unwrap();
        fs::remove_dir(&folder).unwrap();
    }
}
