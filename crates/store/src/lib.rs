//! The store on disk: where paths lie, which of them are valid, and how missing ones are made.
//!
//! The logical store is `/nix/store`; its physical place is `ROOT/nix/store`. Beside it, `ROOT/nix/var/nbv` holds
//!
//! | folder | content |
//! | --- | --- |
//! | `info/` | one small file for each valid path, named like it: deriver and references |
//! | `locks/` | locks (flock) of paths that are being made |
//! | `tmp/` | what is being made, one folder for each process, with a lock beside it |
//! | `gcroots/` | links to the `result` links that keep paths |
//!
//! Invariant: a path is valid when it and its file in `info/` are there; both get there by one rename each, the path
//! first. So whatever is killed leaves nothing half-made where anyone looks; the next process clears `tmp/`.
//!
//! - [`Store`]: places, validity, adding texts and trees, references and closures;
//! - [`Graph`], [`realise()`]: derivations in memory, and building what is missing of them, in parallel;
//! - [`Builders`]: what a derivation's builder does; [`builders`] has those that need nothing but the store;
//! - [`sandbox`]: programs as builders, in namespaces of their own;
//! - [`gc`]: deleting what no root reaches.
//!
//! Not here: evaluation, Debian, networks of machines.

pub mod builders;
mod error;
pub mod gc;
mod graph;
mod lock;
mod registry;
pub mod sandbox;
mod scan;
mod session;
mod store;
mod tree;

pub use error::{BuildError, Result, StoreError};
pub use graph::{Builders, Built, Event, Failure, Graph, Job, Options, Progress, Quiet, Source, add_source, realise};
pub use registry::PathInfo;
pub use scan::scan;
pub use store::Store;
pub use tree::{remove_tree, size_of};
