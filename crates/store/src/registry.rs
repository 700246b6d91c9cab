//! What is known of a valid path, and its text in `info/`.
//!
//! ```text
//! nbv-path 1
//! deriver /nix/store/...-x.drv
//! reference /nix/store/...-y
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;

const HEADER: &str = "nbv-path 1";

/// What is known of a valid path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathInfo {
    /// The derivation that made it.
    pub deriver: Option<String>,
    /// Paths that it names, itself perhaps among them.
    pub references: BTreeSet<String>,
}

impl PathInfo {
    /// The text of its file.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(deriver) = &self.deriver {
            let _ = writeln!(text, "deriver {deriver}");
        }
        for reference in &self.references {
            let _ = writeln!(text, "reference {reference}");
        }
        text.push_str("end\n");
        text
    }

    /// Reads the text of its file; nothing when it is cut or of another version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let mut info = Self::default();
        for line in lines {
            match line.split_once(' ') {
                Some(("deriver", path)) => info.deriver = Some(path.to_owned()),
                Some(("reference", path)) => {
                    info.references.insert(path.to_owned());
                }
                None if line == "end" => return Some(info),
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_and_no_part_of_it_does() {
        let info = PathInfo { deriver: Some("/nix/store/d.drv".into()), references: ["/nix/store/a".into(), "/nix/store/b".into()].into() };
        let text = info.to_text();
        assert_eq!(PathInfo::parse(&text), Some(info));
        for end in 0..text.len() - 1 {
            assert_eq!(PathInfo::parse(&text[..end]), None, "{end}");
        }
    }
}
