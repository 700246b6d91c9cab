//! A suite's signed Release file.

use crate::control::field;
use crate::error::{DebianError, Result};
use crate::http::Client;
use crate::signature;

/// What is used of an InRelease file; all of it was signed.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) origin: String,
    pub(crate) codename: String,
    /// As written, such as "Sat, 21 Nov 2026 09:15:44 UTC".
    pub(crate) date: String,
    pub(crate) by_hash: bool,
    files: Vec<(String, u64, String)>,
}

impl Release {
    /// Fetches and verifies the Release of a suite. Returns the file as fetched too.
    pub(crate) fn fetch(client: &Client, mirror: &str, suite: &str) -> Result<(String, Release)> {
        let url = format!("{mirror}/dists/{suite}/InRelease");
        let bytes = client.get(&url, 16 << 20)?;
        let text = String::from_utf8(bytes).map_err(|_| DebianError::format(&url, "it is not UTF-8"))?;
        let release = Release::verify(&text, &url, suite)?;
        Ok((text, release))
    }

    /// Reads an InRelease file after checking its signature and that it is of the suite.
    pub(crate) fn verify(inrelease: &str, url: &str, suite: &str) -> Result<Release> {
        let text = signature::verified_text(inrelease, url)?;
        let release = Release::read(&text);
        if release.codename != suite {
            return Err(DebianError::Signature {
                url: url.into(),
                why: format!("it is of the suite '{}', not '{suite}'", release.codename),
            });
        }
        Ok(release)
    }

    /// What a text says; absent fields are empty.
    pub(crate) fn read(text: &str) -> Release {
        let get = |k| field(text, k).unwrap_or("").to_string();
        Release {
            origin: get("Origin"),
            codename: get("Codename"),
            date: get("Date"),
            by_hash: get("Acquire-By-Hash") == "yes",
            files: field(text, "SHA256")
                .unwrap_or("")
                .lines()
                .filter_map(|l| {
                    let mut w = l.split_whitespace();
                    let hash = w.next()?.to_string();
                    let size = w.next()?.parse().ok()?;
                    Some((w.next()?.to_string(), size, hash))
                })
                .collect(),
        }
    }

    /// Size and SHA-256 of a file of the suite, such as "main/binary-amd64/Packages.xz".
    pub(crate) fn file(&self, path: &str) -> Option<(u64, &str)> {
        self.files.iter().find(|f| f.0 == path).map(|f| (f.1, f.2.as_str()))
    }
}
