//! Fetching for real, from servers on loopback.

mod git;
mod http;
