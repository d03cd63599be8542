//! Registries, token servers and networks that misbehave, scripted on loopback. Those that mean harm are in
//! [`hostile`].

mod auth;
mod delegate;
mod growing;
mod helper;
mod hostile;
mod pull;
mod push;
mod referrers;
mod server;
