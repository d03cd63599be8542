//! The engine with the real store and sandbox, as root.

mod base_layers;
mod copy_flags;
mod copying;
mod earlier_copies;
mod fetching;
mod stopping;
mod workshop;
