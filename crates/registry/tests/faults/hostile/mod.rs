//! Registries made to do harm.
//!
//! | module | what they are after |
//! |---|---|
//! | [`credentials`] | passwords and tokens: redirects, challenges, token servers |
//! | [`bounds`] | memory and time: answers, lists and waits without an end |
//! | [`lies`] | another content than was asked for or sent |

mod bounds;
mod credentials;
mod lies;
