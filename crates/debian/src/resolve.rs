//! Which packages a set of names needs: greedy, breadth first from the roots, in the order of the fields;
//! never back. The same names and index always give the same set. Recommended packages are left out.

use crate::control::{Atom, Op};
use crate::error::{DebianError, Result};
use crate::index::{Index, PackageId, Stanza};
use crate::lock::Pin;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Taken as there without being installed: they serve maintainer scripts, which never run, or make an initrd.
/// Asking for one by name installs it all the same.
const ASSUMED: [&str; 15] = [
    "dpkg", "debconf", "debconf-2.0", "cdebconf", "init-system-helpers", "apt", "initramfs-tools", "linux-initramfs-tool", "ucf", "adduser",
    "lsb-base", "sysvinit-utils", "linux-base", "install-info", "sgml-base",
];

/// A closed set of packages.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    pub packages: BTreeMap<String, Pin>,
    /// Which package first needed each (absent for roots).
    pub needed_by: BTreeMap<String, String>,
    pub conflicts: Vec<Conflict>,
}

/// Two packages of a set that say they do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The one that is unpacked to a folder of its own.
    pub apart: String,
    pub with: String,
    /// As written, such as "conflicts with resolvconf".
    pub why: String,
}

/// Names or relations that nothing in the index meets.
#[derive(Clone, Debug)]
pub struct Unresolved {
    pub system: String,
    pub suite: String,
    /// The relation as text, the chain of packages from a root that leads to it, and like names.
    pub missing: Vec<(String, Vec<String>, Vec<String>)>,
}

impl Unresolved {
    pub fn explain(&self) -> String {
        let mut s = format!("Debian {} has not all packages that are needed for {}:", self.suite, self.system);
        for (what, chain, near) in &self.missing {
            s.push_str(&format!("\n  {what}"));
            if !chain.is_empty() {
                s.push_str(&format!(", needed by {}", chain.join(", which is needed by ")));
            }
            if !near.is_empty() {
                s.push_str(&format!(" (there is: {})", near.join(", ")));
            }
        }
        s
    }
}

struct Work<'a> {
    index: &'a Index,
    /// Packages chosen, in order.
    order: Vec<PackageId>,
    chosen: HashSet<PackageId>,
    parent: HashMap<PackageId, PackageId>,
    stanzas: HashMap<PackageId, Stanza>,
    /// Provided names of chosen packages: provider and version.
    provided: HashMap<String, Vec<(PackageId, String)>>,
    missing: Vec<(String, Vec<String>, Vec<String>)>,
    wanted: HashSet<&'a str>,
    exclusions: Exclusions,
}

/// Closes a set of names. `base`: names that win over `extra` where they conflict; all essential packages are
/// added to them. A virtual name stands for its first provider. Errors: names or dependencies that are not there.
pub fn resolve<'a>(index: &'a Index, base: &[&'a str], extra: &[&'a str]) -> Result<Resolution> {
    let mut w = Work {
        index,
        order: Vec::new(),
        chosen: HashSet::new(),
        parent: HashMap::new(),
        stanzas: HashMap::new(),
        provided: HashMap::new(),
        missing: Vec::new(),
        wanted: base.iter().chain(extra).copied().collect(),
        exclusions: Exclusions::default(),
    };
    let essential: Vec<String> =
        index.essential().map(|i| index.name(i).to_string()).filter(|n| !ASSUMED.contains(&n.as_str())).collect();
    let mut queue = VecDeque::new();
    let names = base.iter().copied().chain(essential.iter().map(String::as_str)).chain(extra.iter().copied());
    for name in names {
        match w.candidate(&Atom { name, condition: None })? {
            Some(id) => w.choose(id, None, &mut queue)?,
            None => w.missing.push((format!("the package {name}"), Vec::new(), index.similar(name))),
        }
    }
    while let Some(id) = queue.pop_front() {
        w.expand(id, &mut queue)?;
    }
    if !w.missing.is_empty() {
        return Err(DebianError::Unresolved(Box::new(Unresolved {
            system: index.system.nix.into(),
            suite: index.system.suite.into(),
            missing: w.missing,
        })));
    }
    let conflicts = w.conflicts();
    let mut out = Resolution { conflicts, ..Resolution::default() };
    for &id in &w.order {
        let name = index.name(id).to_string();
        let mut pin = w.pin(id)?;
        pin.apart = out.conflicts.iter().any(|c| c.apart == name);
        if let Some(p) = w.parent.get(&id) {
            out.needed_by.insert(name.clone(), index.name(*p).to_string());
        }
        out.packages.insert(name, pin);
    }
    Ok(out)
}

/// What chosen packages are called and what they do not go together with.
#[derive(Default)]
struct Exclusions {
    /// Real and provided names: owner, version ("" for a provided name without one), whether the name is its own.
    names: HashMap<String, Vec<(PackageId, String, bool)>>,
    /// Names that are excluded: by whom, on what condition, as written.
    against: HashMap<String, Vec<(PackageId, Option<(Op, String)>, String)>>,
}

impl Exclusions {
    fn names_of(index: &Index, id: PackageId, stanza: &Stanza) -> Vec<(String, String, bool)> {
        let mut out = vec![(index.name(id).to_string(), index.version(id).to_string(), true)];
        for a in stanza.relation("Provides").into_iter().flatten() {
            out.push((a.name.into(), a.condition.map_or("", |c| c.1).into(), false));
        }
        out
    }

    fn atoms_of(stanza: &Stanza) -> Vec<(Atom<'_>, &'static str)> {
        let of = |kind, word| stanza.relation(kind).into_iter().flatten().map(move |a| (a, word));
        of("Conflicts", "conflicts with").chain(of("Breaks", "breaks")).collect()
    }

    fn add(&mut self, index: &Index, id: PackageId, stanza: &Stanza) {
        for (name, version, real) in Exclusions::names_of(index, id, stanza) {
            self.names.entry(name).or_default().push((id, version, real));
        }
        for (a, word) in Exclusions::atoms_of(stanza) {
            let condition = a.condition.map(|(op, v)| (op, v.to_string()));
            self.against.entry(a.name.into()).or_default().push((id, condition, format!("{word} {a}")));
        }
    }

    /// The package that excludes this one or is excluded by it, and the relation.
    fn check(&self, index: &Index, id: PackageId, stanza: &Stanza) -> Option<(PackageId, String)> {
        let hit = |condition: Option<(Op, &str)>, version: &str, real: bool| {
            let atom = Atom { name: "", condition };
            if version.is_empty() && !real { condition.is_none() } else { atom.admits(version) }
        };
        for (name, version, real) in Exclusions::names_of(index, id, stanza) {
            for (other, condition, why) in self.against.get(&name).into_iter().flatten() {
                if *other != id && hit(condition.as_ref().map(|c| (c.0, c.1.as_str())), &version, real) {
                    return Some((*other, format!("yields to {}, which {why}", index.name(*other))));
                }
            }
        }
        for (a, word) in Exclusions::atoms_of(stanza) {
            for (other, version, real) in self.names.get(a.name).into_iter().flatten() {
                if *other != id && hit(a.condition, version, *real) {
                    return Some((*other, format!("{word} {a} ({})", index.name(*other))));
                }
            }
        }
        None
    }
}

impl<'a> Work<'a> {
    fn load(&mut self, id: PackageId) -> Result<()> {
        if !self.stanzas.contains_key(&id) {
            let s = self.index.stanza(id)?;
            self.stanzas.insert(id, s);
        }
        Ok(())
    }

    fn choose(&mut self, id: PackageId, parent: Option<PackageId>, queue: &mut VecDeque<PackageId>) -> Result<()> {
        if !self.chosen.insert(id) {
            return Ok(());
        }
        self.load(id)?;
        self.order.push(id);
        if let Some(p) = parent {
            self.parent.insert(id, p);
        }
        for group in self.stanzas[&id].relation("Provides") {
            for a in group {
                let version = a.condition.map_or("", |c| c.1).to_string();
                self.provided.entry(a.name.to_string()).or_default().push((id, version));
            }
        }
        self.exclusions.add(self.index, id, &self.stanzas[&id]);
        queue.push_back(id);
        Ok(())
    }

    fn expand(&mut self, id: PackageId, queue: &mut VecDeque<PackageId>) -> Result<()> {
        let stanza = self.stanzas[&id].clone();
        for kind in ["Pre-Depends", "Depends"] {
            for group in stanza.relation(kind) {
                if group.iter().any(|a| self.met(a)) {
                    continue;
                }
                // the first that is there and goes with what is chosen; else the first that is there
                let mut first = None;
                let mut found = None;
                for a in &group {
                    if let Some(c) = self.candidate(a)? {
                        first.get_or_insert(c);
                        if !self.clashes(c)? {
                            found = Some(c);
                            break;
                        }
                    }
                }
                match found.or(first) {
                    Some(c) => self.choose(c, Some(id), queue)?,
                    None => {
                        let text = group.iter().map(Atom::to_string).collect::<Vec<_>>().join(" | ");
                        let near = match &group[..] {
                            [a] => match self.index.find(a.name) {
                                Some(f) => vec![format!("{} {}", a.name, self.index.version(f))],
                                None => self.index.similar(a.name),
                            },
                            _ => Vec::new(),
                        };
                        let entry = (text, self.chain(id), near);
                        self.missing.push(entry);
                    }
                }
            }
        }
        Ok(())
    }

    fn chain(&self, id: PackageId) -> Vec<String> {
        let mut out = vec![self.index.name(id).to_string()];
        let mut at = id;
        while let Some(p) = self.parent.get(&at) {
            out.push(self.index.name(*p).to_string());
            at = *p;
        }
        out
    }

    /// Whether what is chosen (or assumed) meets an atom.
    fn met(&self, a: &Atom<'_>) -> bool {
        if ASSUMED.contains(&a.name) && !self.wanted.contains(a.name) {
            return true;
        }
        if let Some(id) = self.index.find(a.name)
            && self.chosen.contains(&id)
            && a.admits(self.index.version(id))
        {
            return true;
        }
        self.provided
            .get(a.name)
            .is_some_and(|p| p.iter().any(|(_, v)| if v.is_empty() { a.condition.is_none() } else { a.admits(v) }))
    }

    /// The package that an atom leads to: the real one, else the provider of the best priority and first name.
    fn candidate(&mut self, a: &Atom<'_>) -> Result<Option<PackageId>> {
        if let Some(id) = self.index.find(a.name)
            && a.admits(self.index.version(id))
        {
            return Ok(Some(id));
        }
        let list: Vec<PackageId> = self
            .index
            .providers(a.name)
            .filter(|(_, v)| if v.is_empty() { a.condition.is_none() } else { a.admits(v) })
            .map(|p| p.0)
            .collect();
        let mut best: Option<(u8, PackageId)> = None;
        for id in list {
            self.load(id)?;
            let key = (self.stanzas[&id].priority(), id);
            if best.is_none_or(|b| key < b) {
                best = Some(key);
            }
        }
        Ok(best.map(|b| b.1))
    }

    /// Whether a package and what is chosen exclude each other.
    fn clashes(&mut self, id: PackageId) -> Result<bool> {
        self.load(id)?;
        Ok(self.exclusions.check(self.index, id, &self.stanzas[&id]).is_some())
    }

    fn conflicts(&self) -> Vec<Conflict> {
        let mut out: Vec<Conflict> = Vec::new();
        let mut so_far = Exclusions::default();
        for &id in &self.order {
            let stanza = &self.stanzas[&id];
            // the later one yields
            if let Some((with, why)) = so_far.check(self.index, id, stanza) {
                out.push(Conflict { apart: self.index.name(id).into(), with: self.index.name(with).into(), why });
            }
            so_far.add(self.index, id, stanza);
        }
        out
    }

    fn pin(&self, id: PackageId) -> Result<Pin> {
        let s = &self.stanzas[&id];
        let name = self.index.name(id);
        let get = |k: &str| {
            s.get(k).ok_or_else(|| DebianError::format(format!("the index's entry of {name}"), format!("it has no {k}")))
        };
        let path = get("Filename")?.to_string();
        if path.starts_with('/') || path.split('/').any(|c| c == "..") {
            return Err(DebianError::format(format!("the index's entry of {name}"), "its file name leads elsewhere"));
        }
        Ok(Pin {
            version: self.index.version(id).into(),
            size: get("Size")?
                .parse()
                .map_err(|_| DebianError::format(format!("the index's entry of {name}"), "its size is no number"))?,
            sha256: get("SHA256")?.to_ascii_lowercase(),
            path,
            apart: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tests::sample;

    fn stanza(name: &str, rest: &str) -> String {
        format!("Package: {name}\nVersion: 1\nFilename: pool/{name}.deb\nSize: 1\nSHA256: 00\n{rest}\n")
    }

    fn names(r: &Resolution) -> Vec<&str> {
        r.packages.keys().map(String::as_str).collect()
    }

    #[test]
    fn alternatives_virtuals_and_conflicts() {
        let text = stanza("a", "Depends: x | b, v, debconf (>= 9)\n")
            + &stanza("b", "Pre-Depends: c (>= 1)\n")
            + &stanza("c", "")
            + &stanza("p1", "Provides: v\nPriority: extra\n")
            + &stanza("p2", "Provides: v\nPriority: important\n")
            + &stanza("q", "Conflicts: v\nProvides: v\n")
            + &stanza("e", "Essential: yes\n");
        let (_d, index) = sample(&text);
        let r = resolve(&index, &["a"], &["q"]).unwrap();
        assert_eq!(names(&r), ["a", "b", "c", "e", "q"], "a root that provides v serves a");
        let r = resolve(&index, &["a", "p2"], &["q"]).unwrap();
        assert_eq!(r.conflicts[0].apart, "q");
        assert!(r.packages["q"].apart && !r.packages["p2"].apart);
        assert_eq!(names(&resolve(&index, &["a"], &[]).unwrap()), ["a", "b", "c", "e", "p2"]);
    }

    #[test]
    fn what_is_missing_is_explained() {
        let text = stanza("a", "Depends: b\n") + &stanza("b", "Depends: cc (>= 2)\n") + &stanza("cc", "");
        let (_d, index) = sample(&text);
        let e = resolve(&index, &["a"], &["bb"]).unwrap_err().to_string();
        assert!(e.contains("cc (>= 2), needed by b, which is needed by a (there is: cc 1)"), "{e}");
        assert!(e.contains("the package bb (there is: b"), "{e}");
    }
}
