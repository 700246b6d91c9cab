//! Where Debian's packages come from: a setting, an apt source of this host that proves to be Debian's, or
//! the default that the host's debootstrap carries.

use crate::control::field;
use crate::error::{DebianError, Result};
use crate::http::Client;
use crate::progress::{Event, Progress};
use crate::release::Release;
use std::path::Path;

/// The variable that names a mirror where no setting does.
pub const MIRROR_VARIABLE: &str = "NBV_DEBIAN_MIRROR";

/// Addresses that may be a mirror of Debian, the likeliest first: apt's sources under `apt` ("/etc/apt"), then
/// debootstrap's default under `debootstrap` ("/usr/share/debootstrap/scripts").
pub fn candidates(apt: &Path, debootstrap: &Path) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut add = |uri: &str| {
        let uri = uri.trim_end_matches('/').to_string();
        if (uri.starts_with("http://") || uri.starts_with("https://")) && !out.contains(&uri) {
            out.push(uri);
        }
    };
    let mut files = vec![apt.join("sources.list")];
    if let Ok(dir) = std::fs::read_dir(apt.join("sources.list.d")) {
        let mut more: Vec<_> = dir.flatten().map(|e| e.path()).collect();
        more.sort();
        files.extend(more);
    }
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let uris = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => one_line(&text),
            Some("sources") => deb822(&text),
            _ => continue,
        };
        for uri in uris {
            if let Some(list) = uri.strip_prefix("mirror+file:") {
                // a list of mirrors: apt's way on some cloud images
                for line in std::fs::read_to_string(list).unwrap_or_default().lines() {
                    add(line.split_whitespace().next().unwrap_or(""));
                }
            } else {
                add(&uri);
            }
        }
    }
    for script in ["trixie", "bookworm", "sid", "debian-common"] {
        for line in std::fs::read_to_string(debootstrap.join(script)).unwrap_or_default().lines() {
            if let Some(uri) = line.trim().strip_prefix("default_mirror ") {
                add(uri.trim().trim_matches(['"', '\'']));
            }
        }
    }
    // Those that look like the main archive first; the others are tried as well.
    out.sort_by_key(|u| !u.ends_with("/debian"));
    out
}

fn one_line(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("deb "))
        .filter_map(|l| {
            let l = l.trim();
            let l = if l.starts_with('[') { l.split_once(']')?.1 } else { l };
            l.split_whitespace().next().map(str::to_string)
        })
        .collect()
}

fn deb822(text: &str) -> Vec<String> {
    let text: String = text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    text.split("\n\n")
        .filter(|s| field(s, "Types").is_some_and(|t| t.split_whitespace().any(|t| t == "deb")))
        .filter(|s| !field(s, "Enabled").is_some_and(|e| e.eq_ignore_ascii_case("no")))
        .flat_map(|s| field(s, "URIs").unwrap_or("").split_whitespace().map(str::to_string).collect::<Vec<_>>())
        .collect()
}

/// Checks the form of a mirror's address that a user gave.
pub fn check(url: &str) -> Result<String> {
    let url = url.trim().trim_end_matches('/');
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(DebianError::BadMirror { url: url.into(), why: "it must begin with http:// or https://" });
    }
    Ok(url.to_string())
}

/// The first candidate whose signed Release of `suite` is Debian's, with that Release.
pub fn discover(candidates: &[String], suite: &str, client: &Client, progress: &dyn Progress) -> Result<(String, String)> {
    let mut last = None;
    for url in candidates {
        match Release::fetch(client, url, suite) {
            Ok((text, release)) if release.origin == "Debian" => {
                progress.event(Event::Mirror { url });
                return Ok((url.clone(), text));
            }
            Ok(_) => {}
            // not there, or not Debian's: another candidate may be
            Err(DebianError::Status { .. } | DebianError::Signature { .. }) => {}
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or(DebianError::NoMirror))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_apt() {
        let dir = tempfile::tempdir().unwrap();
        let apt = dir.path();
        std::fs::create_dir(apt.join("sources.list.d")).unwrap();
        std::fs::write(apt.join("sources.list"), "# x\ndeb [arch=amd64 signed-by=/k] https://b.example/x stable main\ndeb-src http://no.example/ x\n").unwrap();
        std::fs::write(
            apt.join("sources.list.d/d.sources"),
            "Types: deb\n# c\nURIs: http://a.example/debian/\nSuites: s\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/\n",
        )
        .unwrap();
        let boot = apt.join("boot");
        std::fs::create_dir(&boot).unwrap();
        std::fs::write(boot.join("sid"), "x\ndefault_mirror http://c.example/debian\n").unwrap();
        assert_eq!(candidates(apt, &boot), ["http://a.example/debian", "http://c.example/debian", "https://b.example/x"]);
        assert!(check("ftp://x").is_err());
    }
}
