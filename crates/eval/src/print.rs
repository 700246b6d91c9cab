//! Values as text: as `nix-instantiate --eval` prints them, and shortened for messages.

use std::collections::HashSet;

use nbv_syntax::FxBuild;

use crate::evaluator::Evaluator;
use crate::value::{EvalResult, Ref, TAG_MASK, TAG_PENDING, Value, View};

/// `%f`.
pub fn float_fixed(x: f64) -> String {
    if x.is_nan() {
        return if x.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    format!("{x:.6}")
}

/// `%g`: six significant digits.
pub fn float_general(x: f64) -> String {
    if x.is_nan() {
        return if x.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if x.is_infinite() {
        return if x < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{x:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| -> String {
        if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s.to_owned() }
    };
    if (-4..6).contains(&exponent) {
        trim(&format!("{x:.*}", (5 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

/// Appends a string literal.
pub fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for (i, &b) in text.iter().enumerate() {
        match b {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b'$' if text.get(i + 1) == Some(&b'{') => out.extend(b"\\$"),
            b => out.push(b),
        }
    }
    out.push(b'"');
}

/// Whether a name needs no quotes.
pub fn is_identifier(name: &[u8]) -> bool {
    let Some((&first, rest)) = name.split_first() else { return false };
    (first.is_ascii_alphabetic() || first == b'_')
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'\'' | b'-'))
        && !matches!(name, b"if" | b"then" | b"else" | b"assert" | b"with" | b"let" | b"in" | b"rec" | b"inherit")
}

/// Appends an attribute name, quoted if needed.
pub fn attribute_name(out: &mut Vec<u8>, name: &[u8]) {
    if is_identifier(name) { out.extend(name) } else { quote(out, name) }
}

impl<'h> Evaluator<'h> {
    /// The value as `nix-instantiate --eval` prints it. Nothing is forced; see
    /// [`force_deep`](Evaluator::force_deep).
    pub fn print(&self, v: Value<'h>) -> EvalResult<Vec<u8>> {
        let mut out = Vec::new();
        self.print_into(&mut out, v, 0, &mut HashSet::default())?;
        Ok(out)
    }

    fn print_cell(&self, out: &mut Vec<u8>, r: Ref<'h>, seen: &mut HashSet<u64, FxBuild>) -> EvalResult<()> {
        match r.peek() {
            Some(v) => self.deeper(|| self.print_into(out, v, std::ptr::from_ref(r) as u64, seen)),
            None if r.load().w0.get() & TAG_MASK == TAG_PENDING => {
                out.extend("«potential infinite recursion»".as_bytes());
                Ok(())
            }
            None => {
                out.extend(b"<CODE>");
                Ok(())
            }
        }
    }

    /// `cell` is the address of the value's cell: what C++ Nix takes for the identity of lists.
    fn print_into(&self, out: &mut Vec<u8>, v: Value<'h>, cell: u64, seen: &mut HashSet<u64, FxBuild>) -> EvalResult<()> {
        match v.view() {
            View::Null => out.extend(b"null"),
            View::Bool(b) => out.extend(if b { &b"true"[..] } else { b"false" }),
            View::Int(n) => out.extend(n.to_string().bytes()),
            View::Float(x) => out.extend(float_general(x).bytes()),
            View::String(s) => quote(out, s.bytes()),
            View::Path(p) => out.extend(p.bytes()),
            View::List(items) => {
                if !items.is_empty() && !seen.insert(cell) {
                    out.extend("«repeated»".as_bytes());
                    return Ok(());
                }
                out.extend(b"[ ");
                for item in items {
                    self.print_cell(out, item, seen)?;
                    out.push(b' ');
                }
                out.push(b']');
            }
            View::Attrs(attrs) => {
                if !attrs.is_empty() && !seen.insert(v.w1) {
                    out.extend("«repeated»".as_bytes());
                    return Ok(());
                }
                out.extend(b"{ ");
                for attr in attrs.by_name(self.symbols()) {
                    attribute_name(out, self.name(attr.name));
                    out.extend(b" = ");
                    self.print_cell(out, attr.value, seen)?;
                    out.extend(b"; ");
                }
                out.push(b'}');
            }
            View::Lambda(_) => out.extend(b"<LAMBDA>"),
            View::PrimOp(_) => out.extend(b"<PRIMOP>"),
            View::Partial(pap) => match pap.function.view() {
                View::Lambda(_) => out.extend(b"<LAMBDA>"),
                _ => out.extend(b"<PRIMOP-APP>"),
            },
            View::Thunk => out.extend(b"<CODE>"),
        }
        Ok(())
    }

    /// The value shortened for a message; never evaluates, never long.
    pub fn show(&self, v: Value<'h>) -> String {
        const LONGEST: usize = 200;
        let mut out = Vec::new();
        self.show_into(&mut out, v, 0);
        let text = String::from_utf8_lossy(&out);
        if text.chars().count() <= LONGEST {
            return text.into_owned();
        }
        text.chars().take(LONGEST).chain("…".chars()).collect()
    }

    /// ": " and the shortened value, when that says more than its type.
    pub(crate) fn show_suffix(&self, v: Value<'h>) -> String {
        match v.view() {
            View::Null | View::Lambda(_) | View::PrimOp(_) | View::Partial(_) | View::Thunk => String::new(),
            _ => format!(": {}", self.show(v)),
        }
    }

    fn show_into(&self, out: &mut Vec<u8>, v: Value<'h>, depth: usize) {
        const DEPTH: usize = 2;
        const ITEMS: usize = 6;
        const BYTES: usize = 80;
        match v.view() {
            View::String(s) => {
                let text = s.bytes();
                if text.len() <= BYTES {
                    return quote(out, text);
                }
                let text = String::from_utf8_lossy(&text[..BYTES]);
                quote(out, text.trim_end_matches('\u{fffd}').as_bytes());
                out.extend("…".as_bytes());
            }
            View::List(items) if !items.is_empty() => {
                out.extend(b"[ ");
                for item in items.iter().take(if depth < DEPTH { ITEMS } else { 0 }) {
                    self.show_cell(out, item, depth);
                    out.push(b' ');
                }
                if items.len() > ITEMS || depth >= DEPTH {
                    out.extend("… ".as_bytes());
                }
                out.push(b']');
            }
            View::Attrs(attrs) if !attrs.is_empty() => {
                out.extend(b"{ ");
                for attr in attrs.by_name(self.symbols()).into_iter().take(if depth < DEPTH { ITEMS } else { 0 }) {
                    attribute_name(out, self.name(attr.name));
                    out.extend(b" = ");
                    self.show_cell(out, attr.value, depth);
                    out.extend(b"; ");
                }
                if attrs.len() > ITEMS || depth >= DEPTH {
                    out.extend("… ".as_bytes());
                }
                out.push(b'}');
            }
            View::Lambda(_) => out.extend("«function»".as_bytes()),
            View::PrimOp(p) => out.extend(format!("«built-in {}»", p.name).as_bytes()),
            View::Partial(_) => out.extend("«partially applied function»".as_bytes()),
            View::Attrs(_) => out.extend(b"{ }"),
            View::List(_) => out.extend(b"[ ]"),
            _ => {
                let _ = self.print_into(out, v, 0, &mut HashSet::default());
            }
        }
    }

    fn show_cell(&self, out: &mut Vec<u8>, r: Ref<'h>, depth: usize) {
        match r.peek() {
            Some(v) => self.show_into(out, v, depth + 1),
            None => out.extend("…".as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_like_printf_g() {
        let check = |x: f64, expect: &str| assert_eq!(float_general(x), expect);
        check(1e10, "1e+10");
        check(1.0 / 3.0, "0.333333");
        check(123456789.0, "1.23457e+08");
        check(100000.0, "100000");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(2.5, "2.5");
        check(999999.5, "1e+06");
    }
}
