//! The embedded build engine.
