//! From a network file to a result folder.
//!
//! [`build`] evaluates the file, puts the derivations of layers, images, initrds and of the result around the
//! toplevels that evaluation gave, makes what is missing, and links the result.
//!
//! Not here: the language (crate `eval`), how things are made (`store`, `debian`, `image`, `guest`), running.

mod accesses;
mod cache;
mod error;
mod instantiate;
mod runner;
mod world;

pub use accesses::Accesses;
pub use error::{Error, Kind};
pub use instantiate::{Instantiated, Request, instantiate};
pub use world::{HostWorld, environment};
