//! Build contexts as immutable source snapshots.
