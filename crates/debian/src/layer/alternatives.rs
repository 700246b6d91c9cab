//! Alternatives: `update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]...` in the
//! scripts of packages, read as text. Calls with variables in them are skipped (a table has those that matter).

/// One link, where it leads and how much that choice is wanted; paths as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub(crate) link: String,
    pub(crate) path: String,
    pub(crate) priority: i32,
}

/// All alternatives that a script registers.
pub(crate) fn parse(script: &str) -> Vec<Alternative> {
    let joined = script.replace("\\\n", " ");
    let mut out = Vec::new();
    for line in joined.lines() {
        let line = line.trim();
        if line.starts_with('#') || !line.contains("update-alternatives") || !line.contains("--install") {
            continue;
        }
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|w| w.trim_matches(['"', '\'', ';']))
            .take_while(|w| !matches!(*w, "||" | "&&" | "|" | ">" | ">/dev/null" | "2>/dev/null"))
            .collect();
        let Some(i) = words.iter().position(|w| *w == "--install") else { continue };
        let [link, name, path, priority] = words[i + 1..].iter().take(4).copied().collect::<Vec<_>>()[..] else { continue };
        let Ok(priority) = priority.parse::<i32>() else { continue };
        let _ = name;
        let mut add = |link: &str, path: &str| {
            if link.starts_with('/') && path.starts_with('/') && !link.contains('$') && !path.contains('$') {
                out.push(Alternative { link: link.into(), path: path.into(), priority });
            }
        };
        add(link, path);
        let mut rest = &words[i + 5..];
        while let Some(s) = rest.iter().position(|w| *w == "--slave") {
            if let [link, _, path] = rest[s + 1..].iter().take(3).copied().collect::<Vec<_>>()[..] {
                add(link, path);
            }
            rest = &rest[s + 1..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let a = parse(
            "if true; then\n  update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/mawk 5 \\\n  --slave /usr/bin/nawk nawk /usr/bin/mawk \\\n --slave /usr/share/man/x x /y || true\n update-alternatives --install /usr/bin/$x y /usr/bin/z 10\nfi\n",
        );
        assert_eq!(a.len(), 3);
        assert_eq!(a[1], Alternative { link: "/usr/bin/nawk".into(), path: "/usr/bin/mawk".into(), priority: 5 });
    }
}
