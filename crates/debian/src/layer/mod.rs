//! The layer: the guest's /usr as one erofs image, made from package files without running anything of theirs.
//! docs/architecture.md ('The layer') is the contract.

mod alternatives;
mod build;
mod kernel;
mod merge;
mod modules;
pub mod paths;
mod tables;

pub use build::{build_layer, unpack_layer};
pub use kernel::KernelInfo;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The content of manifest.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Nix' name of the system.
    pub system: String,
    /// Folder of libraries under lib, such as "x86_64-linux-gnu".
    pub multiarch: String,
    pub packages: BTreeMap<String, PackageFiles>,
    /// Link to program, both relative to /usr.
    pub alternatives: BTreeMap<String, String>,
}

/// One package of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFiles {
    pub version: String,
    /// Files and links that it has in the layer, relative to /usr, sorted.
    pub files: Vec<String>,
}

/// What a layer's folder holds.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    pub manifest: Manifest,
    pub kernel: KernelInfo,
    /// Bytes of layer.erofs.
    pub size: u64,
}
