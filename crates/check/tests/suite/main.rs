//! The rules as a caller sees them.
//!
//! | module | about |
//! |---|---|
//! | [`scene`] | a Dockerfile and what is around it |
//! | `examples` | the examples in the texts of the rules, and the page made of them |
//! | the others | one theme each |

mod corpus;
mod examples;
mod multi_platform;
mod properties;
mod scene;
mod style;
mod variables;
