//! The crate from outside: bytes, round trips, hostile archives, and what other tools make of our layers.

mod contents;
mod determinism;
mod hostile;
mod raw;
mod readers;
mod round_trip;
mod tools;
mod trees;
mod unpacking;
mod windows;
