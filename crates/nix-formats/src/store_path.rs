//! Store paths: `STORE/DIGEST-NAME`, and the digests that name content.

use crate::hash::{Algo, Encoding, Hash, encode_base16, sha256};
use crate::nix32;
use std::collections::BTreeSet;

/// How content is hashed for a fixed output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// The bytes of one file.
    Flat,
    /// The archive (NAR) of a tree.
    Recursive,
    /// As a text file with references.
    Text,
    /// Git's object format.
    Git,
}

impl Method {
    /// What stands before the algorithm in a derivation: `r:`, `text:`, `git:` or nothing.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Flat => "",
            Self::Recursive => "r:",
            Self::Text => "text:",
            Self::Git => "git:",
        }
    }

    /// By the value of `outputHashMode`.
    pub fn parse_mode(mode: &str) -> Option<Self> {
        Some(match mode {
            "flat" => Self::Flat,
            "recursive" | "nar" => Self::Recursive,
            "text" => Self::Text,
            "git" => Self::Git,
            _ => return None,
        })
    }

    /// Splits `r:sha256` into method and algorithm.
    pub fn split(text: &str) -> Option<(Self, Algo)> {
        let (method, algo) = match text.split_once(':') {
            None => (Self::Flat, text),
            Some(("r", algo)) => (Self::Recursive, algo),
            Some(("text", algo)) => (Self::Text, algo),
            Some(("git", algo)) => (Self::Git, algo),
            Some(_) => return None,
        };
        Some((method, Algo::parse(algo)?))
    }
}

/// Why a name or path is not one of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No name.
    #[error("name must not be empty")]
    Empty,
    /// Too long.
    #[error("name '{0}' must be no longer than 211 characters")]
    TooLong(String),
    /// `.`, `..`.
    #[error("name '{0}' is not valid")]
    Dots(String),
    /// `.-x`, `..-x`.
    #[error("name '{name}' is not valid: first dash-separated component must not be '{component}'")]
    DotComponent {
        /// The name.
        name: String,
        /// `.` or `..`.
        component: &'static str,
    },
    /// A character that names cannot have.
    #[error("name '{name}' contains illegal character '{character}'")]
    Illegal {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
    },
    /// Elsewhere.
    #[error("path '{0}' is not in the Nix store")]
    NotInStore(String),
    /// In the store folder but not of the form DIGEST-NAME.
    #[error(
        "path '{0}' is not a valid store path: it must be named by 32 base-32 digits, '-' and a name"
    )]
    NotStorePath(String),
    /// A fixed output with references that cannot have any.
    #[error("fixed output derivation '{0}' is not allowed to refer to other store paths.")]
    References(String),
}

/// Checks the name of a store object: letters, digits and `+-._?=`, at most 211, not `.` or `..` up to the first dash.
pub fn check_name(name: &str) -> Result<(), PathError> {
    if name.is_empty() {
        return Err(PathError::Empty);
    }
    if name.len() > 211 {
        return Err(PathError::TooLong(name.to_owned()));
    }
    for component in [".", ".."] {
        if name == component {
            return Err(PathError::Dots(name.to_owned()));
        }
        if name
            .strip_prefix(component)
            .is_some_and(|rest| rest.starts_with('-'))
        {
            return Err(PathError::DotComponent {
                name: name.to_owned(),
                component,
            });
        }
    }
    match name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "+-._?=".contains(*c)))
    {
        Some(character) => Err(PathError::Illegal {
            name: name.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

/// A store folder (`/nix/store`); makes and reads the paths in it. Paths are whole texts (`/nix/store/DIGEST-NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDir(String);

impl Default for StoreDir {
    fn default() -> Self {
        Self("/nix/store".to_owned())
    }
}

impl StoreDir {
    /// The folder at an absolute path without a closing `/`.
    pub fn new(dir: &str) -> Self {
        Self(dir.trim_end_matches('/').to_owned())
    }

    /// Its path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path that holds `path`, and what follows it: `/nix/store/D-N/bin/x` gives (`/nix/store/D-N`, `/bin/x`).
    /// Nothing when `path` is not in the store or not of the form DIGEST-NAME.
    pub fn split<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let rest = path.strip_prefix(self.0.as_str())?.strip_prefix('/')?;
        let base = rest.split('/').next().unwrap_or(rest);
        check_base_name(base)?;
        let end = self.0.len() + 1 + base.len();
        Some((&path[..end], &path[end..]))
    }

    /// The DIGEST-NAME of a whole store path, with nothing behind it.
    pub fn base_name<'a>(&self, path: &'a str) -> Result<&'a str, PathError> {
        let not_in = || PathError::NotInStore(path.to_owned());
        let base = path
            .strip_prefix(self.0.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|base| !base.is_empty())
            .ok_or_else(not_in)?;
        if base.contains('/') {
            return Err(not_in());
        }
        check_base_name(base).ok_or_else(|| PathError::NotStorePath(path.to_owned()))?;
        Ok(base)
    }

    /// The name without the digest.
    pub fn name<'a>(&self, path: &'a str) -> Result<&'a str, PathError> {
        Ok(&self.base_name(path)?[33..])
    }

    /// Whether `path` is the store's folder or below it.
    pub fn contains(&self, path: &str) -> bool {
        path.strip_prefix(self.0.as_str())
            .is_some_and(|r| r.is_empty() || r.starts_with('/'))
    }

    /// The path of type `kind` for a SHA-256 digest.
    pub fn make_path(
        &self,
        kind: &str,
        digest: &[u8; 32],
        name: &str,
    ) -> Result<String, PathError> {
        self.make_path_of(kind, &format!("sha256:{}", encode_base16(digest)), name)
    }

    /// As [`Self::make_path`] for any `ALGO:HEX`.
    fn make_path_of(&self, kind: &str, hash: &str, name: &str) -> Result<String, PathError> {
        check_name(name)?;
        let digest = sha256(format!("{kind}:{hash}:{}:{name}", self.0).as_bytes());
        let mut folded = [0u8; 20];
        for (i, byte) in digest.iter().enumerate() {
            folded[i % 20] ^= byte;
        }
        Ok(format!("{}/{}-{name}", self.0, nix32::encode(&folded)))
    }

    /// Path of output `output` of a derivation named `name` whose modulo hash is `digest`.
    pub fn output_path(
        &self,
        output: &str,
        digest: &[u8; 32],
        name: &str,
    ) -> Result<String, PathError> {
        self.make_path(
            &format!("output:{output}"),
            digest,
            &output_name(name, output),
        )
    }

    /// Path of a text file (`toFile`, derivations) with the store paths it refers to.
    pub fn text_path(
        &self,
        name: &str,
        content: &[u8],
        references: &BTreeSet<String>,
    ) -> Result<String, PathError> {
        self.make_path(&with_references("text", references), &sha256(content), name)
    }

    /// Path of a tree copied to the store, from the SHA-256 of its archive.
    pub fn source_path(&self, name: &str, nar_sha256: &[u8; 32]) -> Result<String, PathError> {
        self.make_path("source", nar_sha256, name)
    }

    /// Path of content of a known hash.
    pub fn fixed_path(&self, method: Method, hash: &Hash, name: &str) -> Result<String, PathError> {
        self.fixed_path_with(method, hash, name, &BTreeSet::new())
    }

    /// As [`Self::fixed_path`] with references, which only archives by SHA-256 and texts can have.
    pub fn fixed_path_with(
        &self,
        method: Method,
        hash: &Hash,
        name: &str,
        references: &BTreeSet<String>,
    ) -> Result<String, PathError> {
        let digest = encode_base16(&hash.bytes);
        let typed = format!("{}:{digest}", hash.algo);
        match (method, hash.algo) {
            (Method::Recursive, Algo::Sha256) => {
                self.make_path_of(&with_references("source", references), &typed, name)
            }
            (Method::Text, Algo::Sha256) => {
                self.make_path_of(&with_references("text", references), &typed, name)
            }
            (Method::Git, _) => {
                self.make_path_of(&with_references("git", references), &typed, name)
            }
            _ if !references.is_empty() => Err(PathError::References(name.to_owned())),
            _ => {
                let inner = format!("fixed:out:{}{typed}:", method.prefix());
                self.make_path("output:out", &sha256(inner.as_bytes()), name)
            }
        }
    }

    /// The text that stands for an output's path before it is known: `/` and digits.
    pub fn placeholder(output: &str) -> String {
        let digest = sha256(format!("nix-output:{output}").as_bytes());
        format!("/{}", nix32::encode(&digest))
    }

    /// The text that stands for the path of an output of a derivation whose outputs are addressed by content or
    /// depend on such ones.
    pub fn upstream_placeholder(&self, drv_path: &str, output: &str) -> Result<String, PathError> {
        let base = self.base_name(drv_path)?;
        let name = base[33..].strip_suffix(".drv").unwrap_or(&base[33..]);
        let clear = format!(
            "nix-upstream-output:{}:{}",
            &base[..32],
            output_name(name, output)
        );
        Ok(format!("/{}", nix32::encode(&sha256(clear.as_bytes()))))
    }
}

/// Name of an output's path: `NAME` for `out`, else `NAME-OUTPUT`.
pub fn output_name(name: &str, output: &str) -> String {
    if output == "out" {
        name.to_owned()
    } else {
        format!("{name}-{output}")
    }
}

/// `sha256:HEX` and the like for a hash in derivations: method, algorithm and digest.
pub fn content_address(method: Method, hash: &Hash) -> String {
    format!(
        "{}{}:{}",
        method.prefix(),
        hash.algo,
        hash.encode(Encoding::Base16)
    )
}

fn with_references(kind: &str, references: &BTreeSet<String>) -> String {
    let mut out = kind.to_owned();
    for reference in references {
        out.push(':');
        out.push_str(reference);
    }
    out
}

fn check_base_name(base: &str) -> Option<()> {
    let (digest, name) = (base.get(..32)?, base.get(33..)?);
    if base.as_bytes()[32] != b'-' || nix32::decode(digest.as_bytes()).is_none() {
        return None;
    }
    check_name(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [".x", "a", "..x", "a+b-c.d_e?f=G", ".x-y"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".-x",
            "..-x",
            "a/b",
            "a b",
            "é",
            &"x".repeat(212),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn splits_paths() {
        let store = StoreDir::default();
        let path = "/nix/store/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-x";
        let long = format!("{path}/bin/y");
        assert_eq!(store.split(&long), Some((path, "/bin/y")));
        assert_eq!(store.split(path), Some((path, "")));
        assert_eq!(store.split("/nix/store/x"), None);
        assert_eq!(
            store.split("/nix/storex/0mdqa9w1p6cmli6976v4wi0sw9r4p5pr-x"),
            None
        );
        assert_eq!(store.name(path), Ok("x"));
        assert!(store.base_name(&long).is_err());
    }

    #[test]
    fn known_placeholder() {
        assert!(
            StoreDir::placeholder("out")
                .starts_with("/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9")
        );
    }
}
