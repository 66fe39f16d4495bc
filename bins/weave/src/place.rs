//! What the user calls a container: an engine's container by id or name, `pid:N`, or `netns:PATH`.

use weave_io::host::NetNs;
use weave_router::Failure;

use crate::context::Context;
use crate::ledger::Subject;

/// A running container, or another network namespace, that can be put on the network.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// How the ledger names it.
    pub(crate) subject: Subject,
    /// How the user sees it named: a container's name, or what was typed.
    pub(crate) name: String,
    /// Its network namespace.
    pub(crate) namespace: NetNs,
}

impl Place {
    /// Finds what `text` names, and its namespace.
    ///
    /// # Errors
    /// An unknown container, a stopped one, one on the host's network (whose namespace is the host's), a process or
    /// path that is none: each with its own sentence.
    pub(crate) async fn find(context: &Context, text: &str) -> Result<Self, Failure> {
        todo!("{context:?} {text}")
    }
}
