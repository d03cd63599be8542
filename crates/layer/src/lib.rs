//! Deterministic image layers: tar, diff, extraction, compression.
