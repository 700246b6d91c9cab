//! Derivations: what they say, and their text (`.drv` files).

use crate::aterm;
use crate::store_path::{Method, PathError, StoreDir, output_name};
use bstr::BString;
use std::collections::{BTreeMap, BTreeSet};

pub use crate::aterm::ParseError;

/// One output, as the text of a derivation has it. Which of the three are empty tells its kind:
///
/// | kind | `path` | `hash_algo` | `hash` |
/// | --- | --- | --- | --- |
/// | input-addressed | path | | |
/// | fixed | path | `r:sha256` … | base 16 |
/// | content-addressed | | `r:sha256` … | |
/// | deferred | | | |
/// | impure | | `r:sha256` … | `impure` |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Store path, or empty while it cannot be known.
    pub path: String,
    /// Method and algorithm (`sha256`, `r:sha1`), or empty.
    pub hash_algo: String,
    /// Base 16 digits of a fixed output, or empty.
    pub hash: String,
}

impl Output {
    /// Whether its content's hash is given.
    pub fn is_fixed(&self) -> bool {
        !self.hash_algo.is_empty() && !self.hash.is_empty() && self.hash != "impure"
    }
}

/// A build step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derivation {
    /// Outputs by name.
    pub outputs: BTreeMap<String, Output>,
    /// Derivations whose outputs it needs: path of the `.drv` -> names of outputs.
    pub input_drvs: BTreeMap<String, BTreeSet<String>>,
    /// Store paths that it needs.
    pub input_srcs: BTreeSet<String>,
    /// System that can build it, as `x86_64-linux`.
    pub system: BString,
    /// Path of a program, or `builtin:NAME`.
    pub builder: BString,
    /// Arguments of the builder.
    pub args: Vec<BString>,
    /// Environment of the builder.
    pub env: BTreeMap<BString, BString>,
}

impl Derivation {
    /// Reads the text of a `.drv` file. Whatever [`Self::to_aterm`] writes reads back the same; bytes that differ from
    /// the canonical text in order or white space are refused.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        aterm::parse(text)
    }

    /// The text of its `.drv` file.
    pub fn to_aterm(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        aterm::write(&mut out, self, &aterm::Style::Plain);
        out
    }

    /// Its name: the variable `name`, or the one inside `__json`.
    pub fn name(&self) -> Option<String> {
        if let Some(name) = self.env.get(bstr::BStr::new("name")) {
            return Some(name.to_string());
        }
        self.structured_attrs()
            .ok()??
            .get("name")?
            .as_str()
            .map(str::to_owned)
    }

    /// A variable of its environment.
    pub fn var(&self, name: &str) -> Option<&[u8]> {
        self.env.get(bstr::BStr::new(name)).map(|v| v.as_slice())
    }

    /// Structured attributes: the variable `__json`, read. Nothing when it has none.
    pub fn structured_attrs(&self) -> Result<Option<serde_json::Value>, serde_json::Error> {
        self.var("__json").map(serde_json::from_slice).transpose()
    }

    /// Whether its only output is `out` and of a given hash.
    pub fn is_fixed(&self) -> bool {
        self.outputs.len() == 1 && self.outputs.get("out").is_some_and(Output::is_fixed)
    }

    /// Store paths that the `.drv` file refers to: sources and derivations.
    pub fn references(&self) -> BTreeSet<String> {
        self.input_srcs
            .iter()
            .chain(self.input_drvs.keys())
            .cloned()
            .collect()
    }

    /// Path of its `.drv` file, which is named `name.drv`; `text` is what [`Self::to_aterm`] gave.
    pub fn drv_path(&self, store: &StoreDir, name: &str, text: &[u8]) -> Result<String, PathError> {
        store.text_path(&format!("{name}.drv"), text, &self.references())
    }

    /// Fills in the outputs' paths, in `outputs` and in `env`. `name` is the derivation's name, `digest` its modulo
    /// hash with outputs masked ([`crate::modulo::hash_modulo`]). Outputs that are not input-addressed are left alone.
    pub fn fill_outputs(
        &mut self,
        store: &StoreDir,
        name: &str,
        digest: &[u8; 32],
    ) -> Result<(), PathError> {
        for (output, value) in &mut self.outputs {
            if value.hash_algo.is_empty() {
                value.path = store.output_path(output, digest, name)?;
                self.env
                    .insert(output.as_str().into(), value.path.as_str().into());
            }
        }
        Ok(())
    }

    /// Path of a fixed output of a derivation named `name`.
    pub fn fixed_output_path(
        store: &StoreDir,
        name: &str,
        output: &str,
        method: Method,
        hash: &crate::Hash,
    ) -> Result<String, PathError> {
        store.fixed_path(method, hash, &output_name(name, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Derivation {
        let mut drv = Derivation {
            system: "x86_64-linux".into(),
            builder: "/bin/sh".into(),
            args: vec!["-c".into(), "echo \"a\\b\"\n\t\r> $out".into()],
            ..Derivation::default()
        };
        drv.outputs.insert("out".to_owned(), Output::default());
        drv.outputs.insert("dev".to_owned(), Output::default());
        drv.env.insert("name".into(), "x".into());
        drv.env
            .insert("raw".into(), BString::new(vec![0xff, 0, b'$', b'{']));
        drv.input_drvs.insert(
            "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-y.drv".to_owned(),
            ["out".to_owned(), "dev".to_owned()].into(),
        );
        drv.input_srcs
            .insert("/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-z".to_owned());
        drv
    }

    #[test]
    fn text_reads_back() {
        for drv in [sample(), Derivation::default()] {
            let text = drv.to_aterm();
            assert_eq!(Derivation::parse(&text).unwrap(), drv);
            assert_eq!(Derivation::parse(&text).unwrap().to_aterm(), text);
        }
    }

    #[test]
    fn no_cut_or_changed_text_is_taken_for_the_whole() {
        let text = sample().to_aterm();
        for end in 0..text.len() {
            assert!(Derivation::parse(&text[..end]).is_err());
        }
        let mut longer = text.clone();
        longer.push(b' ');
        assert!(Derivation::parse(&longer).is_err());
    }

    #[test]
    fn structured_attributes_are_read() {
        let mut drv = Derivation::default();
        assert!(drv.structured_attrs().unwrap().is_none());
        drv.env
            .insert("__json".into(), r#"{"name":"n","x":[1]}"#.into());
        assert_eq!(drv.structured_attrs().unwrap().unwrap()["x"][0], 1);
        assert_eq!(drv.name().as_deref(), Some("n"));
    }
}
