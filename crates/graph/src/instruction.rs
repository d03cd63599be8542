//! What each instruction does to a stage.

pub(crate) mod arg;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod expose;
mod mount;
mod remote;
pub(crate) mod run;
pub(crate) mod signal;
pub(crate) mod workdir;
