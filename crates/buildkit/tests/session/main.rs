//! What a real BuildKit daemon asks of a session, and what it gets.

mod endpoints;
mod lent;
mod registries;
mod scene;
