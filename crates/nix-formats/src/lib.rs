//! Formats of the Nix world, bit for bit: hashes and their spellings, store paths, derivations (ATerm), archives (NAR; tar and
//! zip from elsewhere), version numbers. Pure data in, data out.
//!
//! Not here: evaluation, building, or where a store is kept.

#![forbid(unsafe_code)]

pub mod archive;
mod aterm;
pub mod derivation;
pub mod hash;
pub mod modulo;
pub mod nar;
pub mod nix32;
pub mod store_path;
pub mod version;

pub use bstr::{BStr, BString};
pub use derivation::{Derivation, Output};
pub use hash::{Algo, Encoding, Hash};
pub use modulo::Modulo;
pub use store_path::{Method, StoreDir};
