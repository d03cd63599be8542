//! The engine with the real store and sandbox, as root.

mod base_layers;
mod copying;
mod stopping;
mod workshop;
