//! On which machine a state folder was made: a mark of the machine, which the ledger keeps beside what was done to this
//! host, so that a copied folder can be told from one's own.
//!
//! The mark is a hash of the machine's id, as machine-id(5) asks for: the id itself is not to be told to others.

use std::fs;
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::ledger::Ledger;

/// This machine's mark: 32 hex digits; `None` where it has no id.
pub(crate) fn mark() -> Option<String> {
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())?;
    mark_of(&id)
}

/// Whether the ledger in a state folder was begun on this machine; `None` where one of the two is not known.
pub(crate) fn same(state_dir: &Path) -> Option<bool> {
    let made = Ledger::machine(state_dir).ok()??;
    Some(made == mark()?)
}

fn mark_of(id: &str) -> Option<String> {
    let id = id.trim();
    // Images have an empty one, or `uninitialized`, until their first boot.
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut context = Context::new(&SHA256);
    context.update(b"weave state folder ");
    context.update(id.as_bytes());
    let digest = context.finish();
    let half = digest.as_ref().iter().take(16);
    Some(half.map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_marked_by_a_hash_of_its_id() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        let mark = mark_of(&format!("{id}\n")).unwrap();
        assert_eq!(mark.len(), 32);
        assert!(!mark.contains(&id[..8]));
        assert_eq!(mark_of(id), Some(mark.clone()));
        assert_ne!(mark_of("3d1219c7c4c5404aaa1f6d2a48adfda5"), Some(mark));
        for none in ["", "uninitialized\n", "short"] {
            assert_eq!(mark_of(none), None, "{none}");
        }
    }
}
