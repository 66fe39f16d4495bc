//! One memory of signatures for all routers of a world.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use weave_crypto::PeerId;
use weave_mesh::{DirectVerifier, Verifier};

/// Checks each signature once, however many routers are given it: a record goes to all of them, and its check
/// would be most of a large world's work.
///
/// What it remembers is compared whole, not by a hash: a changed message never passes for the one checked.
#[derive(Debug, Default)]
pub(super) struct CachingVerifier {
    known: Mutex<HashMap<[u8; 64], Known>>,
}

#[derive(Debug)]
struct Known {
    peer: PeerId,
    message: Vec<u8>,
    is_good: bool,
}

impl CachingVerifier {
    /// Some 20 MB; then it starts anew.
    const SIGNATURES_MAX: usize = 65_536;
}

impl Verifier for CachingVerifier {
    fn verify(&self, peer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get(signature)
            && entry.peer == *peer
            && entry.message == message
        {
            return entry.is_good;
        }
        let is_good = DirectVerifier.verify(peer, message, signature);
        if known.len() >= Self::SIGNATURES_MAX {
            known.clear();
        }
        known.insert(
            *signature,
            Known {
                peer: *peer,
                message: message.to_vec(),
                is_good,
            },
        );
        is_good
    }
}

#[cfg(test)]
mod tests {
    use weave_crypto::Identity;

    use super::*;

    #[test]
    fn a_known_signature_is_good_for_its_own_message_only() {
        let identity = Identity::from_seed([7; 32]);
        let other = Identity::from_seed([8; 32]);
        let signature = identity.sign(b"message");
        let verifier = CachingVerifier::default();
        for _ in 0..2 {
            assert!(verifier.verify(&identity.peer_id(), b"message", &signature));
            assert!(!verifier.verify(&identity.peer_id(), b"massage", &signature));
            assert!(!verifier.verify(&other.peer_id(), b"message", &signature));
        }
    }
}
