//! Debian's archive: indices, signatures, closures, packages, layers.
//!
//! The way of a layer: an [`Archive`] finds the mirror and loads the [`Index`] of a [`System`];
//! [`Archive::select`] closes a set of names to a [`Selection`] of exact packages (or takes them from a lock);
//! [`build_layer`] fetches them, unpacks them in memory and writes the guest's /usr as an erofs image with its
//! kernel, following docs/architecture.md ('The layer'); [`view_entries`] gives the links of a store view.
//! Nothing runs: no dpkg, no maintainer script.

pub mod archive;
pub mod control;
mod deb;
pub mod error;
mod fetch;
mod files;
#[cfg(test)]
mod fuzz;
pub mod http;
pub mod index;
pub mod layer;
pub mod lock;
pub mod mirror;
pub mod progress;
mod release;
pub mod resolve;
mod signature;
pub mod system;
pub mod version;
pub mod view;

pub use archive::{Archive, Config, Selection};
pub use error::{DebianError, Result};
pub use index::{Index, PackageId, Stanza};
pub use layer::{KernelInfo, LayerInfo, Manifest, build_layer, unpack_layer};
pub use lock::{Lock, Pin, SystemLock};
pub use progress::{Event, Progress, Silent};
pub use resolve::{Conflict, Resolution, resolve};
pub use system::{SYSTEMS, System};
pub use view::view_entries;
