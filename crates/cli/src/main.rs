//! One build, every architecture.
fn main() {}
