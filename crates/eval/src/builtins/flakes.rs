//! Flake references: their text and their attributes. Flakes themselves are not evaluated.

use std::collections::BTreeMap;

use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::value::{Attrs, EvalResult, Ref, Value, View};

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("parseFlakeRef", 1, |ev, args| {
        need_flakes(ev, "parseFlakeRef")?;
        let text = ev.force_plain_string(args[0])?.to_str_lossy();
        Ok(Value::attrs(attributes(ev, &text)?))
    }),
    PrimOp::new("flakeRefToString", 1, to_text),
    PrimOp::new("getFlake", 1, |ev, args| {
        need_flakes(ev, "getFlake")?;
        let text = ev.force_plain_string(args[0])?.to_str_lossy();
        Err(EvalError::new("eval::flake", format!("cannot load the flake `{text}`: flakes are not evaluated by this program"))
            .hint("import its files by path instead"))
    }),
];

/// The attributes of a flake reference.
pub(super) fn attributes<'h>(ev: &Evaluator<'h>, text: &str) -> EvalResult<Attrs<'h>> {
    let fields: Vec<(String, Ref<'h>)> = parse(text)?
        .into_iter()
        .map(|(name, value)| {
            let value = match value {
                Field::Text(text) => ev.str(text),
                Field::Int(n) => Value::int(n),
                Field::Bool(b) => Value::bool(b),
            };
            (name, ev.cell(value))
        })
        .collect();
    Ok(ev.set_of(&fields))
}

fn need_flakes(ev: &Evaluator<'_>, name: &str) -> EvalResult<()> {
    if ev.settings().features.flakes {
        return Ok(());
    }
    Err(EvalError::new("eval::feature", format!("experimental feature `flakes` is disabled, and `builtins.{name}` needs it"))
        .hint("add `--extra-experimental-features flakes` to enable it"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Text(String),
    Int(i64),
    Bool(bool),
}

type Fields = BTreeMap<String, Field>;

fn bad(text: &str, why: &str) -> EvalError {
    EvalError::new("eval::flake", format!("`{text}` is not a valid URL of a flake: {why}"))
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Escapes what a URL's query or path cannot hold.
fn encode(text: &str, keep: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || keep.as_bytes().contains(&b) {
            out.push(char::from(b));
        } else {
            out += &format!("%{b:02X}");
        }
    }
    out
}

fn is_revision(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
}

/// What a query parameter is.
fn field(name: &str, value: &str) -> Field {
    match name {
        "lastModified" | "revCount" => value.parse().map_or_else(|_| Field::Text(value.to_owned()), Field::Int),
        "shallow" | "submodules" | "allRefs" | "exportIgnore" | "lfs" | "verifyCommit" => Field::Bool(value == "1"),
        _ => Field::Text(value.to_owned()),
    }
}

fn parse(text: &str) -> EvalResult<Fields> {
    let mut fields = Fields::new();
    let mut put = |name: &str, value: &str| {
        fields.insert(name.to_owned(), field(name, value));
    };
    if text.contains('#') {
        return Err(bad(text, "unexpected fragment"));
    }
    let (main, query) = text.split_once('?').unwrap_or((text, ""));
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| bad(text, "a parameter without value"))?;
        let value = decode(value).ok_or_else(|| bad(text, "a wrong percent escape"))?;
        put(name, &value);
    }
    let scheme = main.split_once(':').filter(|(s, _)| {
        s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    match scheme {
        None => {
            if main.starts_with('/') {
                put("type", "path");
                put("path", main);
            } else if main.starts_with('.') {
                return Err(bad(text, "a relative path needs a base"));
            } else {
                indirect(text, main, &mut put)?;
            }
        }
        Some(("flake", rest)) => indirect(text, rest, &mut put)?,
        Some(("path", rest)) => {
            put("type", "path");
            put("path", &decode(rest).ok_or_else(|| bad(text, "a wrong percent escape"))?);
        }
        Some((forge @ ("github" | "gitlab" | "sourcehut"), rest)) => {
            put("type", forge);
            let parts: Vec<&str> = rest.splitn(3, '/').collect();
            let [owner, repo, reference @ ..] = parts.as_slice() else {
                return Err(bad(text, "it needs an owner and a repository"));
            };
            let part = |p: &str| decode(p).ok_or_else(|| bad(text, "a wrong percent escape"));
            put("owner", &part(owner)?);
            put("repo", &part(repo)?);
            if let [reference] = reference {
                put(if is_revision(reference) { "rev" } else { "ref" }, &part(reference)?);
            }
        }
        Some((scheme, _)) => {
            let (kind, transport) = match scheme.split_once('+') {
                Some((kind @ ("git" | "hg" | "tarball" | "file"), transport)) => (kind, transport),
                Some(_) => return Err(bad(text, "an unknown scheme")),
                None => match scheme {
                    "git" => ("git", "git"),
                    "http" | "https" | "file" => {
                        let archive = [".zip", ".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst"];
                        (if archive.iter().any(|a| main.ends_with(a)) { "tarball" } else { "file" }, scheme)
                    }
                    _ => return Err(bad(text, "an unknown scheme")),
                },
            };
            let rest = &main[scheme.len()..];
            put("type", kind);
            // What is not a parameter of the fetcher stays in the URL.
            put("url", &format!("{transport}{rest}"));
        }
    }
    Ok(fields)
}

fn indirect(text: &str, rest: &str, put: &mut impl FnMut(&str, &str)) -> EvalResult<()> {
    let parts: Vec<&str> = rest.split('/').collect();
    let is_id = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    if !is_id(parts[0]) || parts.len() > 3 {
        return Err(bad(text, "neither a URL, an absolute path nor the name of a flake"));
    }
    put("type", "indirect");
    put("id", parts[0]);
    match parts[1..] {
        [] => {}
        [one] if is_revision(one) => put("rev", one),
        [one] => put("ref", one),
        [reference, revision] if is_revision(revision) => {
            put("ref", reference);
            put("rev", revision);
        }
        _ => return Err(bad(text, "the third part is not a commit hash")),
    }
    Ok(())
}

fn to_text<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    need_flakes(ev, "flakeRefToString")?;
    let attrs = ev.force_attrs(args[0])?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for attr in attrs {
        let v = ev.force(attr.value)?;
        let text = match v.view() {
            View::Int(n) if n < 0 => {
                return Err(EvalError::new(
                    "eval::flake",
                    format!("negative value given for flake ref attr `{}`: {n}", ev.display(attr.name)),
                ));
            }
            View::Int(n) => n.to_string(),
            View::Bool(b) => if b { "1" } else { "0" }.to_owned(),
            View::String(s) => s.to_str_lossy().into_owned(),
            _ => {
                return Err(EvalError::type_error(format!(
                    "flake reference attribute sets may only contain integers, Booleans, and strings, but attribute `{}` is {}",
                    ev.display(attr.name),
                    v.kind().describe()
                )));
            }
        };
        fields.insert(ev.display(attr.name).into_owned(), text);
    }
    let mut take = |name: &str| fields.remove(name);
    let need = |value: Option<String>, name: &str| {
        value.ok_or_else(|| EvalError::new("eval::flake", format!("the flake reference lacks the attribute `{name}`")))
    };
    let kind = need(take("type"), "type")?;
    let mut text = match kind.as_str() {
        "path" => format!("path:{}", encode(&need(take("path"), "path")?, "/")),
        "indirect" => {
            let mut text = format!("flake:{}", need(take("id"), "id")?);
            for part in [take("ref"), take("rev")].into_iter().flatten() {
                text += &format!("/{part}");
            }
            text
        }
        "github" | "gitlab" | "sourcehut" => {
            let mut text = format!("{kind}:{}/{}", need(take("owner"), "owner")?, need(take("repo"), "repo")?);
            let (reference, revision) = (take("ref"), take("rev"));
            if let Some(part) = revision.or(reference) {
                text += &format!("/{part}");
            }
            text
        }
        "git" | "hg" => {
            let url = need(take("url"), "url")?;
            if url.starts_with("git://") { url } else { format!("{kind}+{url}") }
        }
        "tarball" | "file" => need(take("url"), "url")?,
        other => return Err(EvalError::new("eval::flake", format!("no fetcher is of the type `{other}`"))),
    };
    let query: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value, "/:@!$'()*+,;"))).collect();
    if !query.is_empty() {
        text += &format!("?{}", query.join("&"));
    }
    Ok(ev.str(text))
}
