//! The text of derivations.

use crate::derivation::{Derivation, Output};
use bstr::BString;
use std::collections::{BTreeMap, BTreeSet};

/// Why a text is not a derivation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a derivation: expected {expected} at byte {at}")]
pub struct ParseError {
    /// What should stand there.
    pub expected: &'static str,
    /// Offset in bytes.
    pub at: usize,
}

/// What is written.
pub(crate) enum Style<'a> {
    /// The `.drv` file.
    Plain,
    /// For hashing: input derivations are replaced by digests, and outputs are blank when `mask` says so.
    Modulo {
        mask: bool,
        inputs: &'a BTreeMap<String, BTreeSet<String>>,
    },
}

pub(crate) fn write(out: &mut Vec<u8>, drv: &Derivation, style: &Style<'_>) {
    let mask = matches!(style, Style::Modulo { mask: true, .. });
    out.extend_from_slice(b"Derive([");
    for (i, (name, output)) in drv.outputs.iter().enumerate() {
        comma(out, i);
        out.push(b'(');
        string(out, name.as_bytes());
        out.push(b',');
        string(out, if mask { b"" } else { output.path.as_bytes() });
        out.push(b',');
        string(out, output.hash_algo.as_bytes());
        out.push(b',');
        string(out, output.hash.as_bytes());
        out.push(b')');
    }
    out.extend_from_slice(b"],[");
    let inputs = match style {
        Style::Plain => &drv.input_drvs,
        Style::Modulo { inputs, .. } => inputs,
    };
    for (i, (path, outputs)) in inputs.iter().enumerate() {
        comma(out, i);
        out.push(b'(');
        string(out, path.as_bytes());
        out.push(b',');
        list(out, outputs.iter().map(String::as_bytes));
        out.push(b')');
    }
    out.extend_from_slice(b"],");
    list(out, drv.input_srcs.iter().map(String::as_bytes));
    out.push(b',');
    string(out, &drv.system);
    out.push(b',');
    string(out, &drv.builder);
    out.push(b',');
    list(out, drv.args.iter().map(|a| a.as_slice()));
    out.extend_from_slice(b",[");
    for (i, (name, value)) in drv.env.iter().enumerate() {
        comma(out, i);
        out.push(b'(');
        string(out, name);
        out.push(b',');
        let masked = mask && std::str::from_utf8(name).is_ok_and(|n| drv.outputs.contains_key(n));
        string(out, if masked { b"" } else { value });
        out.push(b')');
    }
    out.extend_from_slice(b"])");
}

fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn list<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = &'a [u8]>) {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        comma(out, i);
        string(out, item);
    }
    out.push(b']');
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut from = 0;
    for (i, byte) in text.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => continue,
        };
        out.extend_from_slice(&text[from..i]);
        out.extend_from_slice(&[b'\\', escape]);
        from = i + 1;
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}

pub(crate) fn parse(text: &[u8]) -> Result<Derivation, ParseError> {
    let mut p = Parser { text, at: 0 };
    let mut drv = Derivation::default();
    p.expect(b"Derive(", "'Derive('")?;
    p.sequence(|p| {
        p.expect(b"(", "'('")?;
        let name = p.utf8()?;
        p.expect(b",", "','")?;
        let path = p.utf8()?;
        p.expect(b",", "','")?;
        let hash_algo = p.utf8()?;
        p.expect(b",", "','")?;
        let hash = p.utf8()?;
        p.expect(b")", "')'")?;
        drv.outputs.insert(
            name,
            Output {
                path,
                hash_algo,
                hash,
            },
        );
        Ok(())
    })?;
    p.expect(b",", "','")?;
    p.sequence(|p| {
        p.expect(b"(", "'('")?;
        let path = p.utf8()?;
        p.expect(b",", "','")?;
        let mut outputs = BTreeSet::new();
        p.sequence(|p| {
            outputs.insert(p.utf8()?);
            Ok(())
        })?;
        p.expect(b")", "')'")?;
        drv.input_drvs.insert(path, outputs);
        Ok(())
    })?;
    p.expect(b",", "','")?;
    p.sequence(|p| {
        drv.input_srcs.insert(p.utf8()?);
        Ok(())
    })?;
    p.expect(b",", "','")?;
    drv.system = p.bytes()?;
    p.expect(b",", "','")?;
    drv.builder = p.bytes()?;
    p.expect(b",", "','")?;
    p.sequence(|p| {
        drv.args.push(p.bytes()?);
        Ok(())
    })?;
    p.expect(b",", "','")?;
    p.sequence(|p| {
        p.expect(b"(", "'('")?;
        let name = p.bytes()?;
        p.expect(b",", "','")?;
        let value = p.bytes()?;
        p.expect(b")", "')'")?;
        drv.env.insert(name, value);
        Ok(())
    })?;
    p.expect(b")", "')'")?;
    if p.at != text.len() {
        return Err(ParseError {
            expected: "the end",
            at: p.at,
        });
    }
    Ok(drv)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn expect(&mut self, word: &[u8], expected: &'static str) -> Result<(), ParseError> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(ParseError {
                expected,
                at: self.at,
            })
        }
    }

    /// `[item,item…]`
    fn sequence(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        self.expect(b"[", "'['")?;
        if self.expect(b"]", "").is_ok() {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.expect(b"]", "").is_ok() {
                return Ok(());
            }
            self.expect(b",", "',' or ']'")?;
        }
    }

    fn bytes(&mut self) -> Result<BString, ParseError> {
        self.expect(b"\"", "'\"'")?;
        let mut out = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(len) = rest.iter().position(|b| matches!(b, b'"' | b'\\')) else {
                return Err(ParseError {
                    expected: "'\"'",
                    at: self.text.len(),
                });
            };
            out.extend_from_slice(&rest[..len]);
            self.at += len + 1;
            if rest[len] == b'"' {
                return Ok(out.into());
            }
            let Some(escape) = rest.get(len + 1) else {
                return Err(ParseError {
                    expected: "an escape",
                    at: self.at,
                });
            };
            out.push(match escape {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => *other,
            });
            self.at += 1;
        }
    }

    fn utf8(&mut self) -> Result<String, ParseError> {
        let at = self.at;
        String::from_utf8(self.bytes()?.into()).map_err(|_| ParseError {
            expected: "UTF-8",
            at,
        })
    }
}
