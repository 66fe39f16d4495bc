//! Waiting for a router that was just started, and why it did not.

use std::time::Duration;

use serde_json::Value;
use weave_router::Failure;

use crate::client::{Client, ClientError};

/// Waits until the router answers, or `dead` says why it never will.
///
/// # Errors
/// What `dead` said; or that it is alive and silent, after [`PATIENCE`].
pub(super) async fn until_ready(
    client: &Client,
    mut dead: impl AsyncFnMut() -> Option<Failure>,
) -> Result<(), Failure> {
    let answers = async {
        let mut looks = 0_u32;
        loop {
            match client.get::<Value>("/version").await {
                Ok(_) | Err(ClientError::Refused(_)) => return Ok(()),
                Err(ClientError::NotRunning(_) | ClientError::Failed(_)) => {}
            }
            tokio::time::sleep(LOOK).await;
            looks += 1;
            if looks.is_multiple_of(LOOKS_PER_INQUIRY)
                && let Some(failure) = dead().await
            {
                return Err(failure);
            }
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answers).await;
    answered.unwrap_or_else(|_| {
        Err(not_started(&format!(
            "it does not answer within {} s",
            PATIENCE.as_secs()
        )))
    })
}

/// The failure of a start, for a reason of its own.
pub(super) fn not_started(why: &str) -> Failure {
    Failure::new("the router does not start", why, "")
}

/// What a router said when it gave up: its last line, without its name.
pub(super) fn last_words<S: AsRef<str>>(lines: &[S]) -> String {
    let lines = || lines.iter().map(|line| line.as_ref().trim());
    let own = lines()
        .rev()
        .find_map(|line| line.strip_prefix("weave router: "));
    match own.or_else(|| lines().rev().find(|line| !line.is_empty())) {
        Some(line) => line.to_owned(),
        None => "it does not say why".to_owned(),
    }
}

/// Stretching a password takes 300 ms, an engine under load some seconds to start a container.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between looks at the socket.
const LOOK: Duration = Duration::from_millis(20);
/// Asking an engine costs some 50 ms, so it is done more seldom.
const LOOKS_PER_INQUIRY: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routers_last_words_are_found_in_its_log() {
        let log = [
            "2026-01-01T00:00:00Z  INFO weave_router::run: starts",
            "weave router: cannot listen on port 6783 (TCP and UDP): address already in use",
            "",
        ];
        assert_eq!(
            last_words(&log),
            "cannot listen on port 6783 (TCP and UDP): address already in use"
        );
        assert_eq!(last_words(&["Illegal instruction"]), "Illegal instruction");
        assert_eq!(last_words::<&str>(&[]), "it does not say why");
    }
}
