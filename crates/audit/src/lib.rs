//! Whether the files of an image are for the machine that it says it is for, and what differs between
//! the images of one index beyond that.
//!
//! ```text
//! layer ──► archway_layer::contents, with Audited ──► Contents ─┬─► audit    files of another machine
//!                                                               └─► compare  drift between platforms
//! ```
//! Nothing is executed and nothing is guessed: a program is for what its header says, and where a format
//! leaves something open, nothing is claimed.
//!
//! | module | knows |
//! |---|---|
//! | `elf`, `pe`, `macho` | headers of program files |
//! | [`program`] | what they have in common; scripts |
//! | [`mod@fit`] | which programs a platform runs |
//! | [`mod@audit`] | the files of one image, and what it starts |
//! | [`drift`], `packages`, `spelling` | several images next to each other |

pub mod audit;
mod bytes;
mod command;
pub mod drift;
mod elf;
mod facts;
mod fit;
mod macho;
#[cfg(test)]
mod made;
mod packages;
mod pe;
pub mod program;
mod spelling;

pub use audit::{Audit, Finding, Image, Policy, Problem, Rules, Severity, audit};
pub use facts::{Audited, is_evidence};
pub use fit::{Fit, fit};
