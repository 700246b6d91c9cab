//! Kernel modules: what each says of itself (`.modinfo`), the load order of a set, and the index files that
//! kmod and busybox read (what depmod would write).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is used of a module's `.modinfo`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    /// Relative to lib/modules/VERSION.
    pub(crate) path: String,
    pub(crate) depends: Vec<String>,
    /// Modules or aliases to load before it ("softdep=pre: ...").
    pub(crate) pre: Vec<String>,
    pub(crate) aliases: Vec<String>,
    softdeps: Vec<String>,
}

/// Modules by name (with underscores).
pub(crate) type Modules = BTreeMap<String, Module>;

/// The name of a module from its file.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The `.modinfo` section of an ELF file of either word size, little endian.
fn modinfo(elf: &[u8]) -> Option<&[u8]> {
    if elf.get(..4)? != b"\x7fELF" || *elf.get(5)? != 1 {
        return None;
    }
    let wide = *elf.get(4)? == 2;
    let u16_at = |at: usize| elf.get(at..at + 2).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let u32_at = |at: usize| elf.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let word = |at: usize| if wide { Some(u32_at(at)? | u32_at(at + 4)? << 32) } else { u32_at(at) };
    let table = word(if wide { 0x28 } else { 0x20 })?;
    let (size, count, names) =
        if wide { (u16_at(0x3a)?, u16_at(0x3c)?, u16_at(0x3e)?) } else { (u16_at(0x2e)?, u16_at(0x30)?, u16_at(0x32)?) };
    let section = |i: usize| -> Option<(usize, usize, usize)> {
        let at = table.checked_add(i.checked_mul(size)?)?;
        let name = u32_at(at)?;
        Some(if wide { (name, word(at + 0x18)?, word(at + 0x20)?) } else { (name, word(at + 0x10)?, word(at + 0x14)?) })
    };
    let strings = section(names)?.1;
    for i in 0..count {
        let (name, at, len) = section(i)?;
        let start = strings.checked_add(name)?;
        if elf.get(start..start + 9)? == b".modinfo\0" {
            return elf.get(at..at.checked_add(len)?);
        }
    }
    None
}

/// Reads a module; None: no module.
pub(crate) fn read(path: &str, elf: &[u8]) -> Option<Module> {
    let mut m = Module { path: path.into(), ..Module::default() };
    for item in modinfo(elf)?.split(|&b| b == 0) {
        let Ok(item) = std::str::from_utf8(item) else { continue };
        let Some((key, value)) = item.split_once('=') else { continue };
        match key {
            "depends" => m.depends = value.split(',').filter(|d| !d.is_empty()).map(|d| d.replace('-', "_")).collect(),
            "alias" => m.aliases.push(value.into()),
            "softdep" => {
                m.softdeps.push(value.into());
                let pre = value.split("pre:").nth(1).unwrap_or("").split("post:").next().unwrap_or("");
                m.pre.extend(pre.split_whitespace().map(|d| d.replace('-', "_")));
            }
            _ => {}
        }
    }
    Some(m)
}

/// The module that a name or alias stands for; of several the generic one. None: nothing needs to be loaded.
fn find<'a>(modules: &'a Modules, builtin: &BTreeSet<String>, name: &str) -> Option<&'a str> {
    if let Some((k, _)) = modules.get_key_value(name) {
        return Some(k);
    }
    if builtin.contains(name) {
        return None;
    }
    let mut all: Vec<&str> = modules
        .iter()
        .filter(|(_, m)| m.aliases.iter().any(|a| a.replace('-', "_") == name || a.strip_prefix("crypto-") == Some(name)))
        .map(|(k, _)| k.as_str())
        .collect();
    all.sort_by_key(|n| !n.ends_with("_generic"));
    all.first().copied()
}

/// Names and aliases of what is built into the kernel, with underscores.
pub(crate) fn built_in(builtin: &str, builtin_info: &[u8]) -> BTreeSet<String> {
    let names = builtin.lines().filter(|l| !l.is_empty()).map(module_name);
    let aliases = builtin_aliases(builtin_info).map(|(alias, _)| alias.replace('-', "_"));
    names.chain(aliases).collect()
}

fn builtin_aliases(builtin_info: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    builtin_info.split(|&b| b == 0).filter_map(|item| {
        let (key, value) = std::str::from_utf8(item).ok()?.split_once('=')?;
        Some((value, key.strip_suffix(".alias")?))
    })
}

/// The modules that must be loaded so that `roots` are, in order. Roots that are not there are built in and skipped.
pub(crate) fn load_order(modules: &Modules, builtin: &BTreeSet<String>, roots: &[&str]) -> Vec<String> {
    fn visit(modules: &Modules, builtin: &BTreeSet<String>, name: &str, seen: &mut BTreeSet<String>, out: &mut Vec<String>) {
        let Some(name) = find(modules, builtin, name) else { return };
        if !seen.insert(name.to_string()) {
            return;
        }
        let m = &modules[name];
        for d in m.pre.iter().chain(&m.depends) {
            visit(modules, builtin, d, seen, out);
        }
        out.push(name.to_string());
    }
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    for r in roots {
        visit(modules, builtin, r, &mut seen, &mut out);
    }
    out
}

/// Hard dependencies of a module, the one to load first at the end.
fn dependencies(modules: &Modules, name: &str) -> Vec<String> {
    fn visit(modules: &Modules, name: &str, seen: &mut BTreeSet<String>, out: &mut Vec<String>) {
        let Some(m) = modules.get(name) else { return };
        if !seen.insert(name.to_string()) {
            return;
        }
        for d in &m.depends {
            visit(modules, d, seen, out);
        }
        out.push(m.path.clone());
    }
    let mut out = Vec::new();
    visit(modules, name, &mut BTreeSet::new(), &mut out);
    out.pop();
    out.reverse();
    out
}

/// The index files of lib/modules/VERSION: name and content. `builtin`: the package's modules.builtin;
/// `builtin_info`: its modules.builtin.modinfo (records "name.key=value", each ended by a zero byte).
pub(crate) fn indexes(modules: &Modules, builtin: &str, builtin_info: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut dep = String::new();
    let mut dep_bin = Trie::default();
    let mut alias = String::from("# Aliases extracted from modules themselves.\n");
    let mut alias_bin = Trie::default();
    let mut softdep = String::from("# Soft dependencies extracted from modules themselves.\n");
    let mut devname = String::from("# Device nodes to trigger on-demand module loading.\n");
    for (i, (name, m)) in modules.iter().enumerate() {
        let deps = dependencies(modules, name);
        let line = format!("{}:{}", m.path, deps.iter().map(|d| format!(" {d}")).collect::<String>());
        let _ = writeln!(dep, "{line}");
        dep_bin.insert(name.as_bytes(), i as u32, line.as_bytes());
        for a in &m.aliases {
            let _ = writeln!(alias, "alias {a} {name}");
            alias_bin.insert(underscores(a).as_bytes(), i as u32, name.as_bytes());
        }
        for s in &m.softdeps {
            let _ = writeln!(softdep, "softdep {name} {s}");
        }
        let node = m.aliases.iter().find_map(|a| a.strip_prefix("devname:"));
        let number = m.aliases.iter().find_map(|a| {
            let (kind, rest) = if let Some(r) = a.strip_prefix("char-major-") {
                ('c', r)
            } else {
                ('b', a.strip_prefix("block-major-")?)
            };
            let (major, minor) = rest.split_once('-')?;
            Some(format!("{kind}{}:{}", major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        });
        if let (Some(node), Some(number)) = (node, number) {
            let _ = writeln!(devname, "{name} {node} {number}");
        }
    }
    let mut builtin_bin = Trie::default();
    for line in builtin.lines().filter(|l| !l.is_empty()) {
        builtin_bin.insert(module_name(line).as_bytes(), 0, b"");
    }
    let mut builtin_alias = Trie::default();
    for (alias, name) in builtin_aliases(builtin_info) {
        builtin_alias.insert(underscores(alias).as_bytes(), 0, name.as_bytes());
    }
    vec![
        ("modules.dep", dep.into_bytes()),
        ("modules.dep.bin", dep_bin.encode()),
        ("modules.alias", alias.into_bytes()),
        ("modules.alias.bin", alias_bin.encode()),
        ("modules.softdep", softdep.into_bytes()),
        ("modules.devname", devname.into_bytes()),
        ("modules.symbols", b"# Aliases for symbols, used by symbol_request().\n".to_vec()),
        ("modules.symbols.bin", Trie::default().encode()),
        ("modules.builtin.bin", builtin_bin.encode()),
        ("modules.builtin.alias.bin", builtin_alias.encode()),
    ]
}

/// Aliases are looked up with underscores for dashes, except inside brackets.
fn underscores(s: &str) -> String {
    let mut inside = false;
    s.chars()
        .map(|c| {
            match c {
                '[' => inside = true,
                ']' => inside = false,
                _ => {}
            }
            if c == '-' && !inside { '_' } else { c }
        })
        .collect()
}

/// kmod's binary index: a radix tree, big endian. Head: magic, version, offset of the root. A node: the
/// common prefix (ended by zero), the range of following characters with an offset for each, the values
/// (count, then priority and text each). The top bits of an offset say which of the three a node has.
#[derive(Default)]
struct Trie {
    children: BTreeMap<u8, Trie>,
    values: Vec<(u32, Vec<u8>)>,
}

const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

impl Trie {
    fn insert(&mut self, key: &[u8], priority: u32, value: &[u8]) {
        let mut at = self;
        for &b in key {
            at = at.children.entry(b & 0x7f).or_default();
        }
        if !at.values.iter().any(|v| v.1 == value) {
            at.values.push((priority, value.to_vec()));
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&0xb007_f457u32.to_be_bytes());
        out.extend_from_slice(&0x0002_0001u32.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let root = self.write(&mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }

    fn write(&self, out: &mut Vec<u8>) -> u32 {
        // a chain of single children becomes a prefix
        let mut prefix = Vec::new();
        let mut node = self;
        while node.values.is_empty() && node.children.len() == 1 {
            let Some((&b, child)) = node.children.iter().next() else { break };
            prefix.push(b);
            node = child;
        }
        let mut table = Vec::new();
        if let (Some((&first, _)), Some((&last, _))) = (node.children.first_key_value(), node.children.last_key_value()) {
            table.push(first);
            table.push(last);
            for b in first..=last {
                let offset = node.children.get(&b).map_or(0, |c| c.write(out));
                table.extend_from_slice(&offset.to_be_bytes());
            }
        }
        let mut flags = out.len() as u32;
        if !prefix.is_empty() {
            flags |= HAS_PREFIX;
            out.extend_from_slice(&prefix);
            out.push(0);
        }
        if !table.is_empty() {
            flags |= HAS_CHILDREN;
            out.extend_from_slice(&table);
        }
        if !node.values.is_empty() {
            flags |= HAS_VALUES;
            out.extend_from_slice(&(node.values.len() as u32).to_be_bytes());
            for (priority, value) in &node.values {
                out.extend_from_slice(&priority.to_be_bytes());
                out.extend_from_slice(value);
                out.push(0);
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, depends: &[&str], pre: &[&str], aliases: &[&str]) -> Module {
        let own = |l: &[&str]| l.iter().map(|s| s.to_string()).collect();
        Module { path: path.into(), depends: own(depends), pre: own(pre), aliases: own(aliases), softdeps: vec![] }
    }

    #[test]
    fn order_follows_soft_dependencies() {
        let m: Modules = [
            ("libcrc32c", module("kernel/lib/libcrc32c.ko", &[], &["crc32c"], &[])),
            ("crc32c_intel", module("kernel/a/crc32c-intel.ko", &[], &[], &["crc32c"])),
            ("crc32c_generic", module("kernel/c/crc32c_generic.ko", &[], &[], &["crypto-crc32c", "crc32c"])),
            ("erofs", module("kernel/fs/erofs.ko", &["libcrc32c"], &[], &[])),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_string(), v))
        .collect();
        assert_eq!(load_order(&m, &BTreeSet::new(), &["virtio_pci", "erofs"]), ["crc32c_generic", "libcrc32c", "erofs"]);
        let builtin = built_in("kernel/crypto/x.ko\n", b"x.alias=crc32c\0");
        assert_eq!(load_order(&m, &builtin, &["erofs"]), ["libcrc32c", "erofs"]);
        let files = indexes(&m, "kernel/fs/ext4/ext4.ko\n", b"ext4.alias=fs-ext3\0");
        let dep = String::from_utf8(files[0].1.clone()).unwrap();
        assert!(dep.contains("kernel/fs/erofs.ko: kernel/lib/libcrc32c.ko\n"), "{dep}");
        assert_eq!(module_name("kernel/x/snd-hda.ko.xz"), "snd_hda");
    }
}
