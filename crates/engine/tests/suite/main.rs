//! The engine with the real store and sandbox, as root.

mod base_layers;
mod copy_flags;
mod copying;
mod stopping;
mod workshop;
