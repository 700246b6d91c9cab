//! From a network file to a result folder.
//!
//! [`build`] evaluates the file, puts the derivations of layers, images, initrds and of the result around the
//! toplevels that evaluation gave, makes what is missing, and links the result. When nothing has changed since an earlier
//! build, it links that one's result.
//!
//! - [`HostWorld`]: what evaluation sees of the host, the embedded library and the store;
//! - [`instantiate`]: evaluation;
//! - `layers`, `derive`, `result`: derivations around the toplevels; `builders`: what makes them;
//! - `lock`: pinned versions; `accesses`, `cache`: what an evaluation depended on.
//!
//! Not here: the language (crate `eval`), how things are made (`store`, `debian`, `image`, `guest`), running.

mod accesses;
mod build;
mod builders;
mod cache;
mod debian;
mod derive;
mod error;
mod for_evaluation;
mod instantiate;
mod layers;
mod library;
mod lock;
mod options;
mod result;
mod runner;
mod world;

pub use accesses::Accesses;
pub use build::{BuildOptions, BuildResult, build, plan};
pub use error::{Error, Kind};
pub use for_evaluation::build_for_evaluation;
pub use instantiate::{Instantiated, Request, Subject, Test, instantiate};
pub use options::{OptionRecord, option_records};
pub use world::{HostWorld, environment};
