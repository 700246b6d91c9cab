//! Pins: exactly which packages a result was made of (lock.json).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The content of lock.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// 1.
    pub version: u32,
    /// By Nix' name of the system.
    pub systems: BTreeMap<String, SystemLock>,
}

/// The pins of one system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemLock {
    pub suite: String,
    /// Date of the suite's Release, as written there.
    pub date: String,
    /// SHA-256 of the Packages.xz from which the set was chosen.
    pub index: String,
    /// The packages that were asked for, without those that come by dependency; the base set included.
    pub roots: BTreeSet<String>,
    pub packages: BTreeMap<String, Pin>,
}

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pin {
    pub version: String,
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Relative to the mirror, such as "pool/main/b/bash/bash_5.2.37-2_amd64.deb".
    pub path: String,
    /// It conflicts with another package of the set and is unpacked to a folder of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}
