//! Whose fault an error is: the one question every caller has to answer before it retries, counts or reports.

/// Who has to change something for an error to go away.
///
/// No error of this crate is worth a blind retry: none comes from the system.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The other side broke the protocol, or somebody on the way changed its bytes. Worth a counter, not a long log line.
    Peer,
    /// The other side keeps to the protocol, but is set up otherwise than we are (network, version, password, cipher).
    /// Worth a sentence to whoever runs the router.
    Incompatible,
    /// What one side knows of the other is out of date. It passes once the newest records have spread.
    Stale,
    /// Our own caller used the API in a way it forbids.
    Caller,
}
