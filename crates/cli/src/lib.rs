//! One build, every architecture.
