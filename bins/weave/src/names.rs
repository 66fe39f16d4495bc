//! Peers given by name: a name that does not resolve is refused while its user is there to see it. The router itself
//! would try it for ever, as it should with one that has gone missing.

use std::time::Duration;

use weave_mesh::Target;
use weave_router::Failure;

/// Looks each name up, on this host.
///
/// # Errors
/// For the first that has no address, or none within [`ANSWER_WITHIN`].
pub(crate) async fn check(peers: &[Target]) -> Result<(), Failure> {
    for peer in peers.iter().filter(|peer| peer.socket().is_none()) {
        let asked = tokio::net::lookup_host((peer.host(), peer.port()));
        let found = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        if !found.is_ok_and(|answer| answer.is_ok_and(|mut found| found.next().is_some())) {
            return Err(Failure::new(
                format!("cannot find {}", peer.host()),
                "the name does not resolve",
                "check it, or give an address",
            ));
        }
    }
    Ok(())
}

/// The system's resolver may ask each of its servers twice, for five seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_known_names_pass_and_others_are_named() {
        let peers = ["127.0.0.1", "[::1]:7", "localhost"].map(|peer| peer.parse().unwrap());
        assert!(check(&peers).await.is_ok());
        // RFC 6761: never a name of anybody.
        let line = check(&["a.invalid".parse().unwrap()])
            .await
            .unwrap_err()
            .to_string();
        assert!(line.starts_with("cannot find a.invalid: "), "{line}");
    }
}
