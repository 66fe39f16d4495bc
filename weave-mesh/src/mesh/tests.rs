//! Meshes wired in memory, in virtual time.

mod addresses;
mod admission;
mod carriers;
mod chaos;
mod clones;
mod direct;
mod duplicates;
mod gossip;
mod later_release;
mod over_tcp;
mod records;
mod strangers;
mod world;

pub(crate) use self::world::base;
