//! The router of this host, if one runs: in its container, or as a process.

use std::path::Path;

use tokio::net::UnixStream;
use weave_router::Failure;

use crate::engine::{Container, Engine, EngineError, EngineKind};
use crate::image;
use crate::plumbing::BRIDGE;

/// What was found.
#[derive(Debug)]
pub(crate) enum Router {
    /// It runs in this container.
    Container(Container),
    /// It is a process of the host; of this id, where the kernel can tell.
    Process(Option<i32>),
    /// It does not run; this is what is left of its container.
    Dead(Container),
    /// There is none.
    None,
}

impl Router {
    /// Looks for the container of the router on this bridge, then for one that answers at the control socket.
    ///
    /// # Errors
    /// When the engine does not answer, or has a container of that name that is not this tool's.
    pub(crate) async fn find(
        engine: Option<&dyn Engine>,
        bridge: &str,
        control: &Path,
    ) -> Result<Self, Failure> {
        let left = match engine {
            Some(engine) => container_of(engine, bridge).await?,
            None => None,
        };
        match left {
            Some(container) if container.pid.is_some() && container.state == "running" => {
                return Ok(Self::Container(container));
            }
            // Starting over and over, stopped, or paused by somebody: of no use as it is.
            Some(container) => return Ok(Self::Dead(container)),
            None => {}
        }
        match UnixStream::connect(control).await {
            Ok(stream) => Ok(Self::Process(
                stream
                    .peer_cred()
                    .ok()
                    .and_then(|cred| cred.pid())
                    .filter(|pid| *pid > 0),
            )),
            Err(_) => Ok(Self::None),
        }
    }

    /// In words, where it runs.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Container(container) | Self::Dead(container) => {
                format!("container {} ({})", container.name, short(&container.id))
            }
            Self::Process(Some(pid)) => format!("process {pid}"),
            Self::Process(None) => "a process".to_owned(),
            Self::None => "nowhere".to_owned(),
        }
    }
}

async fn container_of(engine: &dyn Engine, bridge: &str) -> Result<Option<Container>, Failure> {
    let name = container_name(bridge);
    match engine.inspect(&name).await {
        Ok(container) if container.name != name => Ok(None),
        Ok(container) if container.labels.contains_key(image::LABEL) => Ok(Some(container)),
        Ok(_) => Err(foreign(engine.kind(), &name)),
        Err(EngineError::NoContainer { .. }) => Ok(None),
        Err(error) => Err(error.while_doing("cannot look for the router")),
    }
}

fn foreign(kind: EngineKind, name: &str) -> Failure {
    let program = kind.program();
    Failure::new(
        format!("cannot use the name {name} for the router's container"),
        format!("{program} has a container of that name that weave launch did not make"),
        format!("{program} rename {name} OTHER, or choose another --bridge"),
    )
}

/// The name of the router's container: `weave`, or `weave-BRIDGE` on another bridge than `weave`.
pub(crate) fn container_name(bridge: &str) -> String {
    if bridge == BRIDGE {
        bridge.to_owned()
    } else {
        format!("{BRIDGE}-{bridge}")
    }
}

/// An id as people read it.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
