//! Environment, arguments and files of a builder, as Nix gives them.

use crate::error::StoreError;
use crate::graph::{Failure, Job};
use nbv_nix_formats::hash::sha256;
use nbv_nix_formats::{StoreDir, nix32};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What a builder is started with.
pub(super) struct Arguments {
    pub(super) program: CString,
    /// With the program's own name first.
    pub(super) words: Vec<CString>,
    pub(super) env: Vec<CString>,
}

/// Computes them, and writes the files that belong to them to `build`.
pub(super) fn prepare(job: &Job<'_>, build: &Path) -> Result<Arguments, Failure> {
    let drv = job.drv;
    let placeholders: Vec<(String, &str)> =
        job.outputs.iter().map(|(name, output)| (StoreDir::placeholder(name), output.path.as_str())).collect();
    let rewrite = |text: &[u8]| -> Vec<u8> {
        let mut text = text.to_vec();
        for (placeholder, path) in &placeholders {
            text = replace(&text, placeholder.as_bytes(), path.as_bytes());
        }
        text
    };
    let cores = match job.options.cores {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cores => cores,
    };
    let mut env: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, value) in [("PATH", "/path-not-set"), ("HOME", "/homeless-shelter"), ("NIX_STORE", "/nix/store"), ("NIX_LOG_FD", "2"), ("TERM", "xterm-256color")] {
        env.insert(name.into(), value.into());
    }
    for name in ["NIX_BUILD_TOP", "TMPDIR", "TEMPDIR", "TMP", "TEMP", "PWD"] {
        env.insert(name.into(), b"/build".to_vec());
    }
    env.insert("NIX_BUILD_CORES".into(), cores.to_string().into());
    let structured = drv.structured_attrs().map_err(|e| Failure::because(format!("its structured attributes are not JSON: {e}")))?;
    if let Some(Value::Object(mut attrs)) = structured {
        let outputs: Map<String, Value> = job.outputs.iter().map(|(name, output)| (name.clone(), output.path.clone().into())).collect();
        attrs.insert("outputs".into(), outputs.into());
        let json = rewrite(Value::Object(attrs.clone()).to_string().as_bytes());
        let shell = rewrite(shell_declarations(&attrs).as_bytes());
        write(&build.join(".attrs.json"), &json)?;
        write(&build.join(".attrs.sh"), &shell)?;
        env.insert("NIX_ATTRS_JSON_FILE".into(), b"/build/.attrs.json".to_vec());
        env.insert("NIX_ATTRS_SH_FILE".into(), b"/build/.attrs.sh".to_vec());
    } else {
        let as_file: Vec<&[u8]> = drv.var("passAsFile").map(|names| names.split(u8::is_ascii_whitespace).filter(|n| !n.is_empty()).collect()).unwrap_or_default();
        for (name, value) in &drv.env {
            let value = rewrite(value);
            if as_file.contains(&name.as_slice()) {
                let file = format!(".attr-{}", nix32::encode(&sha256(name)));
                write(&build.join(&file), &value)?;
                let mut variable = name.to_vec();
                variable.extend(b"Path");
                env.insert(variable, format!("/build/{file}").into());
            } else {
                env.insert(name.to_vec(), value);
            }
        }
    }
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Failure::because("an argument or variable has a zero byte"));
    let program = text(rewrite(&drv.builder))?;
    let mut words = vec![text(drv.builder.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec())?];
    for word in &drv.args {
        words.push(text(rewrite(word))?);
    }
    let env = env
        .into_iter()
        .map(|(mut name, value)| {
            name.push(b'=');
            name.extend(value);
            text(name)
        })
        .collect::<Result<_, _>>()?;
    Ok(Arguments { program, words, env })
}

fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    fs::write(path, content).map_err(StoreError::io("write", path))
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// The text of `.attrs.sh`: what bash can hold of the attributes (texts, whole numbers, Booleans, null; lists and sets of them).
fn shell_declarations(attrs: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in attrs {
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            continue;
        }
        if let Some(simple) = shell_value(value) {
            let _ = writeln!(text, "declare {name}={simple}");
            continue;
        }
        match value {
            Value::Array(items) => {
                if let Some(items) = items.iter().map(shell_value).collect::<Option<Vec<_>>>() {
                    let _ = writeln!(text, "declare -a {name}=({} )", items.join(" "));
                }
            }
            Value::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| Some(format!("[{}]={}", quote(key), shell_value(value)?)));
                if let Some(entries) = entries.collect::<Option<Vec<_>>>() {
                    let _ = writeln!(text, "declare -A {name}=({} )", entries.join(" "));
                }
            }
            _ => {}
        }
    }
    text
}

fn shell_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => quote(text),
        Value::Null => "''".into(),
        Value::Bool(true) => "1".into(),
        Value::Bool(false) => String::new(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.to_string(),
            None => {
                let float = number.as_f64()?;
                if float.fract() == 0.0 { format!("{float:.0}") } else { return None }
            }
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_declarations_hold_what_bash_can() {
        let attrs = serde_json::json!({
            "a": "it's", "b": true, "c": false, "d": null, "e": 5, "f": 2.0, "g": 2.5, "list": ["x", 1], "deep": [["x"]],
            "set": { "k": "v" }, "not-a-name": "x", "1x": "x",
        });
        let Value::Object(attrs) = attrs else { panic!() };
        let text = shell_declarations(&attrs);
        let wanted = "declare a='it'\\''s'\ndeclare b=1\ndeclare c=\ndeclare d=''\ndeclare e=5\ndeclare f=2\ndeclare -a list=('x' 1 )\ndeclare -A set=(['k']='v' )\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn placeholders_are_replaced_wherever_they_stand() {
        assert_eq!(replace(b"a/XX/XXb", b"XX", b"longer"), b"a/longer/longerb");
        assert_eq!(replace(b"", b"XX", b"y"), b"");
    }
}
