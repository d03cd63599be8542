//! Dockerfiles to graphs: each test is a small Dockerfile and what it must become.

mod arguments;
mod build;
mod config;
mod contexts;
mod copy;
mod dump;
mod errors;
mod history;
mod mounts;
mod onbuild;
mod plan;
mod properties;
mod remote;
mod run;
mod sharing;
mod stages;
mod strategy;
