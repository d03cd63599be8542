//! Archway on Kubernetes: decisions become typed objects, objects become YAML.
//!
//! Nothing here talks to a cluster. Who wants objects in one applies what [`manifest::to_yaml`] writes.
//!
//! | module | does |
//! |---|---|
//! | [`pool`] | a pool of persistent rootless BuildKit daemons, one group for each architecture |
//! | [`manifest`] | objects as a stream of YAML documents |

pub mod manifest;
pub mod pool;
