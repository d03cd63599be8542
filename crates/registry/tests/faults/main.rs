//! Registries, token servers and networks that misbehave, scripted on loopback.

mod auth;
mod helper;
mod pull;
mod push;
mod server;
