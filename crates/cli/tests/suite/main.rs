//! The whole command line against a real registry: what a user types, and what other tools then read.
//!
//! One program, so that the themes share the base images and their tests run side by side.
//!
//! | module | about |
//! |---|---|
//! | [`scene`] | a command line, a registry and base images for one test |
//! | [`readback`] | a pushed image as skopeo and tar see it |
//! | the others | one theme each |

mod annotations;
mod attestations;
mod base_pull;
mod build_cache;
mod build_push;
mod builder;
mod cache;
mod check;
mod contexts;
mod copy;
mod copy_flags;
mod determinism;
mod docker;
mod errors;
mod failure_policy;
mod hostile;
mod index_annotate;
mod index_create;
mod index_expected;
mod index_inspect;
mod index_verify;
mod instructions;
mod interrupt;
mod kube;
mod language;
mod layers_shared;
mod limits;
mod login;
mod mounts;
mod named_contexts;
mod outputs;
mod publication;
mod readback;
mod referrers;
mod remote;
mod rootless;
mod run_inspect;
mod sbom;
mod scan;
mod scene;
mod stages;
mod windows;
