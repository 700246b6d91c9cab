//! Fetchers: sources from elsewhere, put in the store.
//!
//! The world downloads and reads repositories; here are the arguments, the names, the hashes and what results look like.

use nbv_diag::Span;
use nbv_nix_formats::hash::{Algo, Encoding, Hash};
use nbv_nix_formats::nar::Node;
use nbv_nix_formats::{Method, archive};

use crate::context::ContextElem;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Value, View};
use crate::world::{GitRequest, GitTree};

use super::paths::{Copy, Links, add_path, as_path, coerce_to_path, realise, resolve, world_error};
use super::state::lock;

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("fetchurl", 1, |ev, args| download(ev, args[0], false)),
    PrimOp::new("fetchTarball", 1, |ev, args| download(ev, args[0], true)),
    PrimOp::new("fetchGit", 1, |ev, args| fetch_tree(ev, args[0], true)),
    PrimOp::new("fetchTree", 1, |ev, args| {
        if !ev.settings().features.fetch_tree {
            return Err(EvalError::new("eval::feature", "experimental feature `fetch-tree` is disabled, and `builtins.fetchTree` needs it")
                .hint("add `--extra-experimental-features fetch-tree` to enable it"));
        }
        fetch_tree(ev, args[0], false)
    }),
    PrimOp::new("fetchMercurial", 1, |ev, args| {
        ev.force(args[0])?;
        Err(EvalError::new("eval::fetch", "cannot fetch from Mercurial repositories").hint("use fetchGit or fetchTarball"))
    }),
];

fn fail(message: impl Into<String>) -> EvalError {
    EvalError::new("eval::fetch", message)
}

/// The folder that an entry of the search path stands for; nothing when there is none. Tarballs are fetched.
pub(super) fn search_path_entry(ev: &Evaluator<'_>, entry: &[u8]) -> EvalResult<Option<Vec<u8>>> {
    let text = String::from_utf8_lossy(entry);
    if let Some(url) = tarball_url(&text) {
        let path = fetch_tarball(ev, &url, "source", None)?.0;
        return Ok(Some(path.into_bytes()));
    }
    let path = if entry.starts_with(b"/") { entry.to_vec() } else { ev.world().absolute(entry) };
    let exists = ev.world().file_kind(as_path(&path)).unwrap_or(None).is_some();
    Ok(exists.then_some(path))
}

/// The URL of an entry that is one, with `channel:NAME` spelt out.
fn tarball_url(text: &str) -> Option<String> {
    if let Some(name) = text.strip_prefix("channel:") {
        return Some(format!("https://channels.nixos.org/{name}/nixexprs.tar.xz"));
    }
    ["http://", "https://", "file://"].iter().any(|s| text.starts_with(s)).then(|| text.to_owned())
}

/// The bytes at a URL.
fn get(ev: &Evaluator<'_>, url: &str) -> EvalResult<Vec<u8>> {
    let wrong = |e: crate::world::WorldError| world_error("download", url.as_bytes(), e);
    match url.strip_prefix("file://") {
        Some(path) => {
            let path = percent_decoded(path.split(['?', '#']).next().unwrap_or(path));
            ev.world().read_file(as_path(&path)).map_err(wrong)
        }
        None => ev.world().fetch_url(url).map_err(wrong),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Puts a tree in the store; gives its path and the hash of its archive.
fn add_tree(ev: &Evaluator<'_>, node: &Node, name: &str) -> EvalResult<(String, Hash)> {
    let mut archive = Vec::new();
    node.dump(&mut archive).map_err(|e| fail(e.to_string()))?;
    let hash = Hash::of(Algo::Sha256, &archive);
    let store = ev.shared.builtin_state.store(ev);
    let path = store
        .fixed_path(Method::Recursive, &hash, name)
        .map_err(|e| EvalError::new("eval::store-name", e.to_string()))?;
    ev.world().store_archive(&path, &archive).map_err(|e| world_error("write", path.as_bytes(), e))?;
    Ok((path, hash))
}

fn mismatch(url: &str, wanted: &Hash, got: &Hash) -> EvalError {
    EvalError::new("eval::hash-mismatch", format!("hash mismatch in file downloaded from `{url}`")).note(format!(
        "specified: {}, got: {}",
        wanted.encode(Encoding::Sri),
        got.encode(Encoding::Sri)
    ))
}

/// Fetches and unpacks; gives the store path and the hash of its archive.
fn fetch_tarball(ev: &Evaluator<'_>, url: &str, name: &str, wanted: Option<&Hash>) -> EvalResult<(String, Hash)> {
    let key = format!("tarball {name} {url}");
    let known = lock(&ev.shared.builtin_state.fetched).get(&key).cloned();
    let (path, hash) = match known {
        Some((path, hash)) => (path, hash),
        None => {
            let bytes = get(ev, url)?;
            let node = unpack(&bytes).map_err(|e| fail(format!("cannot unpack `{url}`: {e}")))?;
            let made = add_tree(ev, &node, name)?;
            lock(&ev.shared.builtin_state.fetched).insert(key, made.clone());
            made
        }
    };
    match wanted {
        Some(wanted) if *wanted != hash => Err(mismatch(url, wanted, &hash)),
        _ => Ok((path, hash)),
    }
}

/// Most bytes that an archive may unpack to.
const MAX_UNPACKED: u64 = 4 << 30;

/// The tree in an archive; a single folder at its top is left out.
fn unpack(bytes: &[u8]) -> std::io::Result<Node> {
    let mut root = archive::tree(bytes, MAX_UNPACKED)?;
    if let Node::Directory(entries) = &mut root
        && let [Node::Directory(_)] = entries.values().collect::<Vec<_>>()[..]
        && let Some((_, only)) = entries.pop_first()
    {
        return Ok(only);
    }
    Ok(root)
}

/// `fetchurl` and `fetchTarball`.
fn download<'h>(ev: &Evaluator<'h>, arg: Ref<'h>, is_tarball: bool) -> EvalResult<Value<'h>> {
    let who = if is_tarball { "fetchTarball" } else { "fetchurl" };
    let v = ev.force(arg)?;
    let mut url = None;
    let mut wanted = None;
    let mut name = None;
    match v.as_attrs() {
        Some(attrs) => {
            for attr in attrs {
                let at = Span::new(attr.pos, attr.pos);
                let text = || -> EvalResult<String> { Ok(ev.force_plain_string(attr.value).or_at(at)?.to_str_lossy().into_owned()) };
                match ev.name(attr.name) {
                    b"url" => url = Some(text()?),
                    b"sha256" => wanted = Some(super::files::hash_or_zero(ev, &text()?, Some(Algo::Sha256)).or_at(at)?),
                    b"name" => name = Some(text()?),
                    other => {
                        let other = String::from_utf8_lossy(other);
                        return Err(EvalError::invalid(format!("unsupported argument `{other}` to `{who}`")).at(at));
                    }
                }
            }
        }
        None => url = Some(ev.force_plain_string(arg)?.to_str_lossy().into_owned()),
    }
    let url = url.ok_or_else(|| EvalError::invalid(format!("`url` argument required by `{who}`")))?;
    let url = if is_tarball { tarball_url(&url).unwrap_or(url) } else { url };
    if ev.settings().is_pure && wanted.is_none() {
        return Err(EvalError::new("eval::pure", format!("in pure evaluation mode, `{who}` requires a `sha256` argument")));
    }
    let base = if is_tarball { "source" } else { url.rsplit('/').next().unwrap_or(&url) };
    let name = name.filter(|n| !n.is_empty()).unwrap_or_else(|| base.to_owned());
    let invalid = |e: nbv_nix_formats::store_path::PathError| {
        EvalError::new("eval::store-name", format!("invalid store path name when fetching `{url}`: {e}"))
            .hint("give it a `name`")
    };
    let method = if is_tarball { Method::Recursive } else { Method::Flat };
    let store = ev.shared.builtin_state.store(ev);
    nbv_nix_formats::store_path::check_name(&name).map_err(invalid)?;
    // What is in the store already is not fetched again.
    let there = match &wanted {
        Some(hash) => Some(store.fixed_path(method, hash, &name).map_err(invalid)?).filter(|p| ev.world().is_valid_path(p)),
        None => None,
    };
    let path = match there {
        Some(path) => path,
        None if is_tarball => fetch_tarball(ev, &url, &name, wanted.as_ref())?.0,
        None => {
            let content = get(ev, &url)?;
            let hash = Hash::of(Algo::Sha256, &content);
            if let Some(wanted) = &wanted
                && *wanted != hash
            {
                return Err(mismatch(&url, wanted, &hash));
            }
            let path = store.fixed_path(Method::Flat, &hash, &name).map_err(invalid)?;
            let mut archive = Vec::new();
            Node::Regular { executable: false, content }.dump(&mut archive).map_err(|e| fail(e.to_string()))?;
            ev.world().store_archive(&path, &archive).map_err(|e| world_error("write", path.as_bytes(), e))?;
            path
        }
    };
    Ok(ev.str_with(&path, ev.context(&[ContextElem::Opaque(&path)])))
}

/// The arguments of `fetchTree` and `fetchGit`, looked up by name.
struct Arguments<'e, 'h> {
    ev: &'e Evaluator<'h>,
    attrs: Attrs<'h>,
}

impl<'h> Arguments<'_, 'h> {
    fn get(&self, name: &str) -> Option<Ref<'h>> {
        self.attrs.get(self.ev.intern(name.as_bytes())).map(|a| a.value)
    }

    fn text(&self, name: &str) -> EvalResult<Option<String>> {
        let Some(r) = self.get(name) else { return Ok(None) };
        let v = self.ev.force(r)?;
        match v.view() {
            View::String(s) => Ok(Some(s.to_str_lossy().into_owned())),
            View::Path(p) => Ok(Some(p.to_str_lossy().into_owned())),
            _ => Err(self.ev.expected("a string", v)),
        }
    }

    fn flag(&self, name: &str) -> EvalResult<bool> {
        self.get(name).map_or(Ok(false), |r| self.ev.force_bool(r))
    }
}

fn fetch_tree<'h>(ev: &Evaluator<'h>, arg: Ref<'h>, is_git: bool) -> EvalResult<Value<'h>> {
    let v = ev.force(arg)?;
    let attrs = match v.as_attrs().filter(|a| a.get(sym::OUT_PATH).is_none()) {
        Some(attrs) => attrs,
        None if is_git => {
            let (url, _) = match v.view() {
                View::String(s) => (s.bytes().to_vec(), s.context()),
                _ => coerce_to_path(ev, arg)?,
            };
            ev.set_of(&[("url".to_owned(), ev.cell(ev.str(url)))])
        }
        None => super::flakes::attributes(ev, &ev.force_plain_string(arg)?.to_str_lossy())?,
    };
    for attr in attrs {
        let value = ev.force(attr.value)?;
        if let View::Int(n) = value.view()
            && n < 0
        {
            return Err(fail(format!("negative value given for fetchTree argument `{}`: {n}", ev.display(attr.name)))
                .at(Span::new(attr.pos, attr.pos)));
        }
    }
    let given = Arguments { ev, attrs };
    let kind = if is_git { Some("git".to_owned()) } else { given.text("type")? };
    let Some(kind) = kind else {
        return Err(fail("attribute `type` is missing in call to `fetchTree`").hint("path, file, tarball or git"));
    };
    let nar_hash = given.text("narHash")?.map(|t| Hash::parse(&t, Some(Algo::Sha256)).map_err(|e| fail(e.to_string()))).transpose()?;
    if ev.settings().is_pure && nar_hash.is_none() && given.get("rev").is_none() {
        return Err(EvalError::new("eval::pure", "in pure evaluation mode, fetchers require a locked input: a `narHash` or `rev`"));
    }
    let url = |given: &Arguments<'_, 'h>| {
        given.text("url")?.ok_or_else(|| fail(format!("attribute `url` is missing for a source of type `{kind}`")))
    };
    let mut more: Vec<Attr<'h>> = Vec::new();
    let (path, hash) = match kind.as_str() {
        "path" => {
            let r = given.get("path").ok_or_else(|| fail("attribute `path` is missing for a source of type `path`"))?;
            let (path, context) = coerce_to_path(ev, r)?;
            realise(ev, context)?;
            let real = resolve(ev, &path, Links::Full)?;
            let copy = Copy { name: "source", filter: None, method: Method::Recursive, expected: None };
            let made = add_path(ev, &real, &copy)?;
            let hash = lock(&ev.shared.builtin_state.archives).get(&made).cloned();
            (made, hash.ok_or_else(|| fail("the path was not hashed"))?)
        }
        "tarball" | "file" => {
            let url = url(&given)?;
            let path = url.strip_prefix("file:").filter(|p| !p.starts_with("//"));
            if path.is_some_and(|p| !p.starts_with('/')) {
                return Err(fail(format!("`{url}` is a relative path, and there is nothing that it is relative to"))
                    .hint("give an absolute path: file:///…"));
            }
            let url = path.map_or(url.clone(), |p| format!("file://{p}"));
            let name = given.text("name")?.unwrap_or_else(|| "source".to_owned());
            if kind == "tarball" {
                fetch_tarball(ev, &url, &name, None)?
            } else {
                add_tree(ev, &Node::Regular { executable: false, content: get(ev, &url)? }, &name)?
            }
        }
        "git" => {
            let request = GitRequest {
                url: url(&given)?,
                reference: given.text("ref")?,
                revision: given.text("rev")?,
                submodules: given.flag("submodules")?,
            };
            let tree = ev.world().fetch_git(&request).map_err(|e| world_error("fetch the repository", request.url.as_bytes(), e))?;
            let node = archive::tar_tree(&tree.archive).map_err(|e| fail(format!("cannot read the tree of `{}`: {e}", request.url)))?;
            let name = given.text("name")?.unwrap_or_else(|| "source".to_owned());
            let made = add_tree(ev, &node, &name)?;
            git_attributes(ev, &tree, &request, is_git, &mut more);
            made
        }
        "github" | "gitlab" | "sourcehut" | "indirect" | "hg" => {
            return Err(fail(format!("sources of type `{kind}` are not fetched")).hint("use the types git or tarball with a URL"));
        }
        other => return Err(fail(format!("input type `{other}` is unknown")).hint("path, file, tarball or git")),
    };
    if let Some(wanted) = nar_hash
        && wanted != hash
    {
        return Err(mismatch(&given.text("url")?.or(given.text("path")?).unwrap_or_default(), &wanted, &hash));
    }
    more.push(ev.attr("outPath", ev.str_with(&path, ev.context(&[ContextElem::Opaque(&path)]))));
    more.push(ev.attr("narHash", ev.str(hash.encode(Encoding::Sri))));
    Ok(ev.attrs(more))
}

fn git_attributes<'h>(ev: &Evaluator<'h>, tree: &GitTree, request: &GitRequest, is_git: bool, out: &mut Vec<Attr<'h>>) {
    let short = |rev: &str| rev.chars().take(7).collect::<String>();
    if tree.is_dirty {
        out.push(ev.attr("dirtyRev", ev.str(format!("{}-dirty", tree.revision))));
        out.push(ev.attr("dirtyShortRev", ev.str(format!("{}-dirty", short(&tree.revision)))));
        if is_git {
            let zero = "0".repeat(40);
            out.push(ev.attr("rev", ev.str(&zero)));
            out.push(ev.attr("shortRev", ev.str(&zero[..7])));
            out.push(ev.attr("revCount", Value::int(0)));
        }
    } else {
        out.push(ev.attr("rev", ev.str(&tree.revision)));
        out.push(ev.attr("shortRev", ev.str(short(&tree.revision))));
        if let Some(count) = tree.revision_count {
            out.push(ev.attr("revCount", Value::int(count)));
        }
    }
    out.push(ev.attr("submodules", Value::bool(request.submodules)));
    out.push(ev.attr("lastModified", Value::int(tree.last_modified)));
    out.push(ev.attr("lastModifiedDate", ev.str(date(tree.last_modified))));
}

/// `YYYYMMDDhhmmss` in UTC.
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date, with years that begin in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day = z.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let in_month = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{in_month:02}{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "19700101000000");
        assert_eq!(date(1_709_210_096), "20240229123456");
        assert_eq!(date(-1), "19691231235959");
    }

    #[test]
    fn percent_escapes() {
        assert_eq!(percent_decoded("/a%20b%2"), b"/a b%2");
    }
}
