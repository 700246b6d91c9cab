//! From a network file to a result folder.
//!
//! [`HostWorld`] is what evaluation sees of the host, the embedded library and the store.
//!
//! Not here: the language (crate `eval`), how things are made (`store`, `debian`, `image`, `guest`), running.

mod accesses;
mod library;
mod world;

pub use accesses::Accesses;
pub use world::{HostWorld, environment};
