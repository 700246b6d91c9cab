//! Hashes of derivations modulo fixed outputs: what the paths of outputs are made from.

use crate::aterm::{Style, write};
use crate::derivation::Derivation;
use crate::hash::{encode_base16, sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What a derivation counts as when another one has it as input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modulo {
    /// All outputs have one hash.
    Regular([u8; 32]),
    /// As [`Self::Regular`], but paths cannot be known before building (some input is addressed by content).
    Deferred([u8; 32]),
    /// Each output has its own.
    PerOutput(BTreeMap<String, [u8; 32]>),
}

impl Modulo {
    /// Hash of an output.
    pub fn output(&self, name: &str) -> Option<&[u8; 32]> {
        match self {
            Self::Regular(hash) | Self::Deferred(hash) => Some(hash),
            Self::PerOutput(hashes) => hashes.get(name),
        }
    }
}

/// Why a derivation has no modulo hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuloError<E> {
    /// An input could not be looked up.
    #[error(transparent)]
    Input(E),
    /// An input has no such output.
    #[error("derivation '{drv}' has no output '{output}'")]
    NoOutput {
        /// Path of the input.
        drv: String,
        /// The output's name.
        output: String,
    },
}

/// The modulo hash of `drv`, whose fixed outputs have their paths filled in. With `mask` its own outputs (and the variables
/// named like them) count as blank, which is what its output paths are made from; without, it is what it counts as
/// as an input. `input` gives the (unmasked) modulo hash of an input derivation by path.
pub fn hash_modulo<E>(
    drv: &Derivation,
    mask: bool,
    mut input: impl FnMut(&str) -> Result<Modulo, E>,
) -> Result<Modulo, ModuloError<E>> {
    let mut outputs = drv.outputs.iter().peekable();
    if outputs.peek().is_some() && drv.outputs.values().all(|o| o.is_fixed()) {
        let hashes = outputs
            .map(|(name, o)| {
                let text = format!("fixed:out:{}:{}:{}", o.hash_algo, o.hash, o.path);
                (name.clone(), sha256(text.as_bytes()))
            })
            .collect();
        return Ok(Modulo::PerOutput(hashes));
    }
    if drv.outputs.values().any(|o| o.hash == "impure") {
        let hash = sha256(b"impure");
        return Ok(Modulo::PerOutput(
            outputs.map(|(name, _)| (name.clone(), hash)).collect(),
        ));
    }
    let mut deferred = drv
        .outputs
        .values()
        .any(|o| !o.hash_algo.is_empty() && o.hash.is_empty());
    let mut inputs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, names) in &drv.input_drvs {
        let modulo = input(path).map_err(ModuloError::Input)?;
        deferred |= matches!(modulo, Modulo::Deferred(_));
        for name in names {
            let hash = modulo.output(name).ok_or_else(|| ModuloError::NoOutput {
                drv: path.clone(),
                output: name.clone(),
            })?;
            inputs
                .entry(encode_base16(hash))
                .or_default()
                .insert(name.clone());
        }
    }
    let mut text = Vec::with_capacity(4096);
    write(
        &mut text,
        drv,
        &Style::Modulo {
            mask,
            inputs: &inputs,
        },
    );
    let hash = sha256(&text);
    Ok(if deferred {
        Modulo::Deferred(hash)
    } else {
        Modulo::Regular(hash)
    })
}
