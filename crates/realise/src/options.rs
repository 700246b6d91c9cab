//! The options of a machine as the library documents them: what `nixos-build-vms options` shows.

use crate::build::BuildOptions;
use crate::debian::{Failed, primops};
use crate::error::{Error, Kind};
use crate::world::HostWorld;
use nbv_eval::{Evaluator, Heap, Settings};
use nbv_store::{Progress, Store};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// An option of NixOS as the embedded library has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OptionRecord {
    /// Its name: `services.openssh.enable`.
    pub name: String,
    /// Its type in words.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Its default, as an expression.
    #[serde(default)]
    pub default: Option<String>,
    /// An example, as an expression.
    #[serde(default)]
    pub example: Option<String>,
    /// Files that declare it.
    #[serde(default)]
    pub declarations: Vec<String>,
    /// Whether it is set by the library alone.
    #[serde(default)]
    pub read_only: bool,
}

/// The options of a machine of the host's system, by name.
///
/// # Errors
/// The library cannot be evaluated.
pub fn option_records(options: &BuildOptions, progress: &Arc<dyn Progress>) -> Result<Vec<OptionRecord>, Error> {
    let world = Arc::new(HostWorld::new(Arc::new(Store::open(&options.store)), options.env.clone(), options.time, progress.clone()));
    let failed: Failed = Arc::default();
    let builtins = primops(&crate::build::archive(options, progress), &failed);
    let settings = Settings { system: options.system.clone(), nix_path: vec![("nixpkgs".into(), nbv_nixlib::ROOT.into())], ..Settings::default() };
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let ev = Evaluator::new(&heap, world, settings, builtins);
        let expression = format!("import /nixpkgs/nixos/lib/options-doc.nix {{ hostSystem = \"{}\"; }}", options.system);
        let records = ev.eval_expr(&expression, Path::new("/")).and_then(|records| ev.to_json(ev.cell(records)));
        let (json, _) = records.map_err(|error| Error { kind: Kind::Input, diagnostics: vec![error.into_diagnostic()], sources: ev.sources().clone(), tests: Vec::new() })?;
        let mut records: Vec<OptionRecord> = serde_json::from_value(json)
            .map_err(|error| Error::input("eval::options", format!("the library describes its options in another form: {error}")))?;
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    })
}
