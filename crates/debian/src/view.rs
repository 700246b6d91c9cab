//! Store views: the links by which a package looks as nixpkgs' packages do.

use crate::layer::Manifest;
use crate::layer::paths::{APART, ASIDE, ETC, within};
use std::collections::BTreeMap;

/// Folders with thousands of files, linked as one.
const WHOLE: [&str; 10] = [
    "share/zoneinfo", "share/keymaps", "share/consolefonts", "share/consoletrans", "share/terminfo", "lib/terminfo", "share/i18n", "share/X11/xkb",
    "share/tabset", "lib/modules",
];

/// The links of a view of `names`: path in the view and target (absolute, in the guest's /usr), sorted. Names that
/// the manifest does not have give nothing: see [`missing`].
///
/// bin, lib, share and so on lead to the same place; `lib/<multiarch>/X` is also `lib/X`; the packages' /etc is
/// `etc`; units and the like are where nixpkgs' packages have them (`lib/systemd/system`, `lib/tmpfiles.d`), for
/// systemd itself under `example`, as its package there has them; alternatives appear with the package whose program they lead to.
pub fn view_entries(names: &[String], manifest: &Manifest) -> Vec<(String, String)> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let systemd = names.iter().any(|n| n == "systemd");
    for name in names {
        let Some(package) = manifest.packages.get(name) else { continue };
        let apart = format!("{APART}/{name}/");
        for file in &package.files {
            let (prefix, inner) = match file.strip_prefix(&apart) {
                Some(i) => (apart.as_str(), i),
                None => ("", file.as_str()),
            };
            add(&mut out, prefix, inner, manifest, systemd);
        }
        for (link, path) in &manifest.alternatives {
            if package.files.binary_search(path).is_ok() {
                add(&mut out, "", link, manifest, systemd);
            }
        }
    }
    out.into_iter().collect()
}

/// Those of `names` that the layer does not have.
pub fn missing<'a>(names: &'a [String], manifest: &Manifest) -> Vec<&'a str> {
    names.iter().filter(|n| !manifest.packages.contains_key(*n)).map(String::as_str).collect()
}

/// `inner`: path in the layer without `prefix` (that of a package apart, or "").
fn add(out: &mut BTreeMap<String, String>, prefix: &str, inner: &str, manifest: &Manifest, systemd: bool) {
    for place in view_paths(inner, manifest, systemd) {
        // a folder that is linked whole
        let cut = WHOLE.iter().find(|w| within(&place, w) && place.len() > w.len()).copied();
        match cut {
            Some(w) if inner.starts_with(w) => {
                out.insert(w.to_string(), format!("/usr/{prefix}{w}"));
            }
            _ => {
                out.entry(place).or_insert_with(|| format!("/usr/{prefix}{inner}"));
            }
        }
    }
}

/// Where a path of the layer appears in a view.
fn view_paths(inner: &str, manifest: &Manifest, systemd: bool) -> Vec<String> {
    if let Some(rest) = inner.strip_prefix(ETC) {
        return vec![format!("etc{rest}")];
    }
    if let Some(rest) = inner.strip_prefix(ASIDE).map(|r| r.trim_start_matches('/')) {
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        return match kind {
            "system" | "user" if systemd => vec![format!("example/systemd/{kind}/{name}")],
            "tmpfiles.d" | "sysctl.d" if systemd => vec![format!("example/{kind}/{name}"), format!("lib/{kind}/{name}")],
            // its own generators are compiled in; Debian's additions have no place
            "system-generators" if systemd => Vec::new(),
            "tmpfiles.d" | "sysctl.d" | "sysusers.d" | "modules-load.d" | "environment.d" | "binfmt.d" => vec![format!("lib/{kind}/{name}")],
            "user-tmpfiles.d" => vec![format!("share/{kind}/{name}")],
            _ => vec![format!("lib/systemd/{rest}")],
        };
    }
    if let Some(rest) = inner.strip_prefix("share/nbv/udev/") {
        return vec![format!("lib/udev/{rest}")];
    }
    if let Some(rest) = inner.strip_prefix("share/nbv/var/") {
        return vec![format!("var/{rest}")];
    }
    if let Some(rest) = inner.strip_prefix("share/nbv/") {
        return vec![rest.to_string()];
    }
    let multiarch = format!("lib/{}/", manifest.multiarch);
    match inner.strip_prefix(&multiarch) {
        Some(rest) => vec![format!("lib/{rest}"), inner.to_string()],
        None => vec![inner.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::PackageFiles;

    #[test]
    fn views() {
        let mut m = Manifest { multiarch: "x86_64-linux-gnu".into(), ..Manifest::default() };
        let mut put = |n: &str, files: &[&str]| {
            let mut files: Vec<String> = files.iter().map(|s| s.to_string()).collect();
            files.sort();
            m.packages.insert(n.into(), PackageFiles { version: "1".into(), files });
        };
        put("mawk", &["bin/mawk", "lib/x86_64-linux-gnu/a.so", "share/nbv/etc/x/y", "share/nbv/systemd/system/m.service"]);
        put("tz", &["share/zoneinfo/UTC", "share/zoneinfo/Europe/Paris"]);
        put("systemd", &["share/nbv/systemd/system/s.service", "lib/systemd/systemd"]);
        put("q", &["share/nbv/apart/q/bin/q"]);
        m.alternatives.insert("bin/awk".into(), "bin/mawk".into());
        let view = |n: &str| view_entries(&[n.to_string()], &m);
        let own = |l: &[(&str, &str)]| l.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
        assert_eq!(
            view("mawk"),
            own(&[
                ("bin/awk", "/usr/bin/awk"),
                ("bin/mawk", "/usr/bin/mawk"),
                ("etc/x/y", "/usr/share/nbv/etc/x/y"),
                ("lib/a.so", "/usr/lib/x86_64-linux-gnu/a.so"),
                ("lib/systemd/system/m.service", "/usr/share/nbv/systemd/system/m.service"),
                ("lib/x86_64-linux-gnu/a.so", "/usr/lib/x86_64-linux-gnu/a.so"),
            ])
        );
        assert_eq!(view("tz"), own(&[("share/zoneinfo", "/usr/share/zoneinfo")]));
        assert_eq!(view("systemd")[0].0, "example/systemd/system/s.service");
        assert_eq!(view("q"), own(&[("bin/q", "/usr/share/nbv/apart/q/bin/q")]));
        assert_eq!(missing(&["tz".into(), "no".into()], &m), ["no"]);
    }
}
