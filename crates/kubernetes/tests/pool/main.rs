//! What a pool is on Kubernetes: its objects by themselves, and as the programs see them that read them.
//!
//! | module | about |
//! |---|---|
//! | [`scene`] | pools that the tests are about |
//! | [`objects`] | that the objects fit together and are what the values say |
//! | [`refusals`] | values that are none |
//! | [`openapi`] | that they are objects of Kubernetes, by its own description |
//! | [`chart`] | that the Helm chart gives the same |
//! | [`daemon`] | that `buildkitd` does what its configuration says |

mod chart;
mod daemon;
mod objects;
mod openapi;
mod refusals;
mod scene;
