//! What goes wrong around Archway, and what is left of it: registries that fail, builds that are
//! killed, many builds at a time. docs/reliability.md says what must come out of it.
//!
//! | module | holds |
//! |---|---|
//! | [`place`] | a registry, repositories with a tag that must not be lost, how they are checked |
//! | [`store`] | whether a store is whole |
//! | [`operations`] | what Archway is doing when a registry fails |
//! | [`registry_faults`] | every operation with every fault, and the page that lists the outcomes |
//! | [`kill`] | `kill -9` at any moment |
//! | [`disks`] | full and read-only disks |
//! | [`concurrent`] | many builds on one store |

mod concurrent;
mod disks;
mod kill;
mod operations;
mod place;
mod registry_faults;
mod store;
