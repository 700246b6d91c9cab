//! What runs the builders of a network's derivations: those of the store, Debian's layers and views, initrds,
//! downloads, and programs in the sandbox.

use crate::layers::LayerArguments;
use crate::world::chain;
use nbv_debian::{Archive, DebianError, KernelInfo, Manifest, Selection, System, SystemLock};
use nbv_nix_formats::Derivation;
use nbv_store::builders::builtin_name;
use nbv_store::{Builders, Built, Failure, Job, Store, StoreError, sandbox};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The builders of one build.
pub(crate) struct NetworkBuilders {
    pub(crate) archive: Arc<Archive>,
    /// Paths of the layers by system.
    pub(crate) layers: BTreeMap<String, String>,
    /// Paths of their trees, where programs build.
    pub(crate) trees: BTreeMap<String, String>,
    /// Manifests that were read, by layer.
    pub(crate) manifests: Mutex<HashMap<String, Arc<Manifest>>>,
}

#[derive(Deserialize)]
struct ViewArguments {
    packages: Vec<String>,
    #[serde(default)]
    links: Vec<ViewLink>,
    #[serde(default)]
    only: Option<Vec<String>>,
    #[serde(default)]
    drop: Vec<String>,
}

#[derive(Deserialize)]
struct ViewLink {
    name: String,
    target: String,
}

#[derive(Deserialize)]
struct LayerArgument {
    layer: String,
}

#[derive(Deserialize)]
struct InitrdArguments {
    layer: String,
    system: String,
}

fn debian(error: DebianError) -> Failure {
    match error {
        DebianError::Cancelled => Failure::Interrupted,
        DebianError::DiskFull { path, .. } => Failure::Store(StoreError::Full { path }),
        DebianError::Fetch { .. } | DebianError::Status { .. } => {
            Failure::because(chain(&error)).hint("check the network, or name another mirror with --option debian-mirror URL")
        }
        other => Failure::because(chain(&other)),
    }
}

impl Builders for NetworkBuilders {
    fn build(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let Some(name) = builtin_name(&job.drv.builder) else {
            return self.program(job);
        };
        match name {
            "debian-layer" => self.layer(job),
            "debian-view" => self.view(job),
            "layer-tree" => layer_tree(job),
            "initrd" => initrd(job),
            "fetchurl" => self.fetch(job),
            _ => nbv_store::builders::run(name, job).unwrap_or_else(|| {
                Err(Failure::because(format!("there is no builder `builtin:{name}`"))
                    .hint("the builders in process are listed in docs/architecture.md"))
            }),
        }
    }

    fn rank(&self, drv: &Derivation) -> u32 {
        // Layers take longest, and most other things wait for them.
        match builtin_name(&drv.builder) {
            Some("debian-layer") => 2,
            Some("layer-tree") => 1,
            _ => 0,
        }
    }
}

impl NetworkBuilders {
    fn layer(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let arguments: LayerArguments = job.attrs()?;
        let system = System::by_name(&arguments.system).map_err(debian)?;
        let lock = SystemLock { suite: arguments.suite, packages: arguments.packages, ..SystemLock::default() };
        let out = job.out()?;
        fs::create_dir(out).map_err(StoreError::io("create", out))?;
        nbv_debian::build_layer(&self.archive, &Selection { system, lock, conflicts: Vec::new() }, out).map_err(debian)?;
        Ok(Built::without_references())
    }

    fn manifest(&self, store: &Store, layer: &str) -> Result<Arc<Manifest>, Failure> {
        let mut known = self.manifests.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(manifest) = known.get(layer) {
            return Ok(manifest.clone());
        }
        let manifest: Arc<Manifest> = Arc::new(read_json(store.physical(layer).join("manifest.json"))?);
        known.insert(layer.to_owned(), manifest.clone());
        Ok(manifest)
    }

    fn view(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let arguments: ViewArguments = job.attrs()?;
        let system = String::from_utf8_lossy(&job.drv.system).into_owned();
        let layer = self.layers.get(&system).ok_or_else(|| Failure::because(format!("no layer of {system} is at hand")))?;
        let manifest = self.manifest(job.store, layer)?;
        let missing = nbv_debian::view::missing(&arguments.packages, &manifest);
        if !missing.is_empty() {
            return Err(Failure::because(format!("the layer of {system} lacks {}", missing.join(", "))));
        }
        let is_below = |path: &str, prefixes: &[String]| {
            prefixes.iter().map(|prefix| prefix.trim_matches('/')).any(|prefix| {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let mut links: BTreeMap<String, String> = nbv_debian::view_entries(&arguments.packages, &manifest)
            .into_iter()
            .filter(|(path, _)| arguments.only.as_ref().is_none_or(|only| is_below(path, only)) && !is_below(path, &arguments.drop))
            .collect();
        for link in arguments.links {
            let name = link.name.trim_matches('/').to_owned();
            // A link in place of a folder takes the place of all that is in it; one below a link cannot be.
            links.retain(|path, _| !is_below(path, std::slice::from_ref(&name)) && !is_below(&name, std::slice::from_ref(path)));
            links.insert(name, link.target);
        }
        // Programs of the system are asked for in both.
        if links.keys().any(|path| path.starts_with("bin/")) && !links.keys().any(|path| path == "sbin" || path.starts_with("sbin/")) {
            links.insert("sbin".to_owned(), "bin".to_owned());
        }
        let out = job.out()?;
        fs::create_dir(out).map_err(StoreError::io("create", out))?;
        let mut last = PathBuf::new();
        for (path, target) in links {
            let place = out.join(&path);
            if let Some(parent) = place.parent()
                && parent != last
            {
                fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
                last = parent.to_path_buf();
            }
            std::os::unix::fs::symlink(target, &place).map_err(StoreError::io("create", &place))?;
        }
        Ok(Built::default())
    }

    fn fetch(&self, job: &Job<'_>) -> Result<Built, Failure> {
        if !job.drv.is_fixed() {
            return Err(Failure::because("a download needs the hash of its content"));
        }
        let text = |name: &str| job.drv.var(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let (url, is_executable) = match job.drv.structured_attrs() {
            Ok(Some(attrs)) => (
                attrs.get("url").and_then(|url| url.as_str()).map(str::to_owned),
                attrs.get("executable").and_then(serde_json::Value::as_bool).unwrap_or(false),
            ),
            _ => (text("url"), text("executable").as_deref() == Some("1")),
        };
        let url = url.ok_or_else(|| Failure::because("the download names no `url`"))?;
        let content = match url.strip_prefix("file://") {
            Some(path) => fs::read(path).map_err(StoreError::io("read", path))?,
            None => nbv_debian::http::Client::new(1).get(&url, MAX_DOWNLOAD).map_err(debian)?,
        };
        let out = job.out()?;
        fs::write(out, content).map_err(StoreError::io("write", out))?;
        if is_executable {
            fs::set_permissions(out, fs::Permissions::from_mode(0o755)).map_err(StoreError::io("set the mode of", out))?;
        }
        Ok(Built::without_references())
    }

    fn program(&self, job: &Job<'_>) -> Result<Built, Failure> {
        let system = String::from_utf8_lossy(&job.drv.system).into_owned();
        let tree = self
            .trees
            .get(&system)
            .ok_or_else(|| Failure::because(format!("no programs of {system} are at hand to build with")))?;
        sandbox::run(job, &job.store.physical(tree))
    }
}

/// Downloads larger than this are refused.
const MAX_DOWNLOAD: u64 = 2 << 30;

fn read_json<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<T, Failure> {
    let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
    serde_json::from_slice(&text).map_err(|error| Failure::because(format!("{} is damaged: {error}", path.display())))
}

fn layer_tree(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: LayerArgument = job.attrs()?;
    let out = job.out()?;
    fs::create_dir(out).map_err(StoreError::io("create", out))?;
    nbv_debian::unpack_layer(&job.store.physical(&arguments.layer).join("layer.erofs"), out).map_err(debian)?;
    Ok(Built::without_references())
}

/// The fixed part of an initrd: the guest's programs and the modules that the layer needs.
fn initrd(job: &Job<'_>) -> Result<Built, Failure> {
    let arguments: InitrdArguments = job.attrs()?;
    let programs = nbv_guest::programs(&arguments.system)
        .ok_or_else(|| Failure::because(format!("this program has no guest programs for {}", arguments.system)))?;
    let layer = job.store.physical(&arguments.layer);
    let kernel: KernelInfo = read_json(layer.join("kernel.json"))?;
    let mut contents = Vec::new();
    for name in &kernel.module_order {
        let path = layer.join("modules").join(name);
        contents.push(fs::read(&path).map_err(StoreError::io("read", &path))?);
    }
    let modules: Vec<_> = kernel
        .module_order
        .iter()
        .zip(&contents)
        .map(|(name, content)| nbv_guest::initrd::Module { name, content, parameters: "" })
        .collect();
    let out = job.out()?;
    let archive = nbv_guest::initrd::fixed(&programs, &modules).map_err(StoreError::image(out))?;
    fs::write(out, archive).map_err(StoreError::io("write", out))?;
    Ok(Built::without_references())
}
