//! Derivations that the realiser makes itself: layers, images, initrds, the result.

use crate::error::Error;
use nbv_nix_formats::modulo::hash_modulo;
use nbv_nix_formats::{Derivation, Modulo, Output, StoreDir};
use nbv_store::Graph;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A derivation with one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    /// Path of the derivation.
    pub(crate) drv: String,
    /// Path of its output.
    pub(crate) out: String,
}

/// Adds derivations to a graph.
pub(crate) struct Maker<'g> {
    pub(crate) graph: &'g mut Graph,
    dir: StoreDir,
    modulos: HashMap<String, Modulo>,
}

impl<'g> Maker<'g> {
    pub(crate) fn new(graph: &'g mut Graph) -> Self {
        Self { graph, dir: StoreDir::default(), modulos: HashMap::new() }
    }

    /// Adds a derivation of a builder in process.
    pub(crate) fn make(
        &mut self,
        name: &str,
        builder: &str,
        system: &str,
        mut attrs: Map<String, Value>,
        inputs: &[&str],
        sources: &[&str],
    ) -> Result<Made, Error> {
        let failed = |error: String| Error::build("build::derivation", format!("cannot describe the build of `{name}`: {error}"));
        attrs.insert("name".into(), name.into());
        attrs.insert("system".into(), system.into());
        attrs.insert("builder".into(), format!("builtin:{builder}").into());
        let mut drv = Derivation { system: system.into(), builder: format!("builtin:{builder}").into(), ..Derivation::default() };
        drv.outputs.insert("out".into(), Output::default());
        drv.env.insert("__json".into(), Value::Object(attrs).to_string().into());
        for input in inputs {
            drv.input_drvs.insert((*input).to_owned(), BTreeSet::from(["out".to_owned()]));
        }
        drv.input_srcs = sources.iter().map(|source| (*source).to_owned()).collect();
        let digest = match hash_modulo(&drv, true, |path| self.modulo(path)).map_err(|e| failed(e.to_string()))? {
            Modulo::Regular(digest) => digest,
            Modulo::Deferred(_) | Modulo::PerOutput(_) => return Err(failed("an input's path is not known before it is built".into())),
        };
        drv.fill_outputs(&self.dir, name, &digest).map_err(|e| failed(e.to_string()))?;
        let out = drv.outputs["out"].path.clone();
        let path = drv.drv_path(&self.dir, name, &drv.to_aterm()).map_err(|e| failed(e.to_string()))?;
        self.graph.drvs.insert(path.clone(), Arc::new(drv));
        Ok(Made { drv: path, out })
    }

    /// What a derivation counts as when it is an input.
    fn modulo(&mut self, path: &str) -> Result<Modulo, MissingInput> {
        if let Some(known) = self.modulos.get(path) {
            return Ok(known.clone());
        }
        // Depth first without recursion: chains of derivations may be long.
        let mut stack = vec![path.to_owned()];
        while let Some(top) = stack.last().cloned() {
            let drv = self.graph.drvs.get(&top).ok_or_else(|| MissingInput(top.clone()))?.clone();
            let open: Vec<String> = drv.input_drvs.keys().filter(|input| !self.modulos.contains_key(*input)).cloned().collect();
            if open.is_empty() {
                let modulo = hash_modulo(&drv, false, |input| {
                    self.modulos.get(input).cloned().ok_or_else(|| MissingInput(input.to_owned()))
                })
                .map_err(|error| MissingInput(format!("{top}: {error}")))?;
                self.modulos.insert(top, modulo);
                stack.pop();
            } else if stack.len() > self.graph.drvs.len() {
                return Err(MissingInput(format!("{top} needs itself")));
            } else {
                stack.extend(open);
            }
        }
        self.modulos.get(path).cloned().ok_or_else(|| MissingInput(path.to_owned()))
    }
}

/// An input that the graph lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not known")]
struct MissingInput(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_depends_on_arguments_and_on_inputs_and_on_nothing_else() {
        let mut graph = Graph::default();
        let mut maker = Maker::new(&mut graph);
        let attrs = |text: &str| Map::from_iter([("text".to_owned(), Value::from(text))]);
        let mut text = |text: &str, inputs: &[&str]| maker.make("t", "write-text", "x86_64-linux", attrs(text), inputs, &[]).unwrap();
        let (a, b) = (text("a", &[]), text("b", &[]));
        assert_ne!(a.out, b.out);
        assert_eq!(text("a", &[]), a);
        let (on_a, on_b) = (text("c", &[&a.drv]), text("c", &[&b.drv]));
        assert_ne!(on_a.out, on_b.out);
        let deep = text("d", &[&on_a.drv, &a.drv]);
        assert!(deep.out.ends_with("-t") && deep.drv.ends_with("-t.drv"));
    }

    #[test]
    fn a_missing_input_is_an_error() {
        let mut graph = Graph::default();
        let missing = "/nix/store/00000000000000000000000000000000-x.drv";
        let error = Maker::new(&mut graph).make("t", "write-text", "x", Map::new(), &[missing], &[]).unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
    }
}
