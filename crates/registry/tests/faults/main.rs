//! Registries, token servers and networks that misbehave, scripted on loopback.

mod auth;
mod delegate;
mod growing;
mod helper;
mod pull;
mod push;
mod referrers;
mod server;
