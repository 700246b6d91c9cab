//! The tree as text, desugared, as `nix-instantiate --parse` prints it.

use crate::ast::{AttrSet, AttrValue, E, ExprKind, Key, Op, Parsed, SetId};
use crate::{Symbol, Symbols};

/// Prints a parsed text on one line.
pub fn print(parsed: &Parsed<'_>, symbols: &Symbols) -> Vec<u8> {
    let mut p = Printer { parsed, symbols, out: Vec::new() };
    p.expr(parsed.root);
    p.out
}

struct Printer<'p, 'a> {
    parsed: &'p Parsed<'a>,
    symbols: &'p Symbols,
    out: Vec<u8>,
}

/// Whether a name needs no quotes (keywords but `or` do).
fn is_plain_name(name: &[u8]) -> bool {
    let Some((first, rest)) = name.split_first() else { return false };
    (first.is_ascii_alphabetic() || *first == b'_')
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'\'' | b'-'))
        && !matches!(name, b"if" | b"then" | b"else" | b"assert" | b"with" | b"let" | b"in" | b"rec" | b"inherit")
}

fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for (i, &b) in text.iter().enumerate() {
        match b {
            b'"' | b'\\' => out.extend([b'\\', b]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            b'$' if text.get(i + 1) == Some(&b'{') => out.extend(b"\\$"),
            b => out.push(b),
        }
    }
    out.push(b'"');
}

impl<'a> Printer<'_, 'a> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn symbol(&mut self, symbol: Symbol) {
        self.out.extend_from_slice(self.symbols.name(symbol));
    }

    fn name(&mut self, symbol: Symbol) {
        let name = self.symbols.name(symbol);
        if is_plain_name(name) { self.out.extend_from_slice(name) } else { quote(&mut self.out, name) }
    }

    fn binary(&mut self, a: E<'a>, op: &str, b: E<'a>) {
        self.text("(");
        self.expr(a);
        self.text(op);
        self.expr(b);
        self.text(")");
    }

    fn primop(&mut self, name: &str, a: E<'a>, b: E<'a>) {
        self.text("(");
        self.text(name);
        self.text(" ");
        self.expr(a);
        self.text(" ");
        self.expr(b);
        self.text(")");
    }

    fn path(&mut self, path: &[Key<'a>]) {
        for (i, key) in path.iter().enumerate() {
            if i > 0 {
                self.text(".");
            }
            match key {
                Key::Static(s, _) => self.name(*s),
                Key::Dynamic(e) => {
                    self.text("\"${");
                    self.expr(e);
                    self.text("}\"");
                }
            }
        }
    }

    fn join(&mut self, parts: &[E<'a>]) {
        self.text("(");
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                self.text(" + ");
            }
            self.expr(part);
        }
        self.text(")");
    }

    fn sorted(&self, set: &AttrSet<'a>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..set.attrs.len()).collect();
        order.sort_by(|&a, &b| self.symbols.name(set.attrs[a].name).cmp(self.symbols.name(set.attrs[b].name)));
        order
    }

    fn bindings(&mut self, id: SetId) {
        let set = self.parsed.set(id);
        let order = self.sorted(set);
        let of = |value: fn(&AttrValue<'a>) -> Option<u32>, n: u32| {
            order.iter().copied().filter(move |&i| value(&set.attrs[i].value) == Some(n))
        };
        let inherited = |v: &AttrValue<'a>| matches!(v, AttrValue::Inherited).then_some(0);
        let from = |v: &AttrValue<'a>| match v {
            AttrValue::InheritedFrom(n) => Some(*n),
            _ => None,
        };
        if of(inherited, 0).next().is_some() {
            self.text("inherit");
            for i in of(inherited, 0) {
                self.text(" ");
                self.name(set.attrs[i].name);
            }
            self.text("; ");
        }
        for (n, e) in set.inherit_from.iter().enumerate() {
            if of(from, n as u32).next().is_none() {
                continue;
            }
            self.text("inherit (");
            self.expr(e);
            self.text(")");
            for i in of(from, n as u32) {
                self.text(" ");
                self.name(set.attrs[i].name);
            }
            self.text("; ");
        }
        for &i in &order {
            if let AttrValue::Plain(e) = set.attrs[i].value {
                self.name(set.attrs[i].name);
                self.text(" = ");
                self.expr(e);
                self.text("; ");
            }
        }
        for d in &set.dynamic {
            self.text("\"${");
            self.expr(d.name);
            self.text("}\" = ");
            self.expr(d.value);
            self.text("; ");
        }
    }

    fn set(&mut self, id: SetId) {
        if self.parsed.set(id).is_recursive {
            self.text("rec ");
        }
        self.text("{ ");
        self.bindings(id);
        self.text("}");
    }

    fn expr(&mut self, e: E<'a>) {
        match e.kind {
            ExprKind::Int(n) => self.text(&n.to_string()),
            ExprKind::Float(x) => self.text(&float_general(x)),
            ExprKind::String(s) => quote(&mut self.out, s),
            ExprKind::Path(p) => self.out.extend_from_slice(p),
            ExprKind::HomePath(p) => {
                self.text("~");
                self.out.extend_from_slice(p);
            }
            ExprKind::SearchPath(p) => {
                self.text("(__findFile __nixPath ");
                quote(&mut self.out, p);
                self.text(")");
            }
            ExprKind::Var(s) => self.symbol(s),
            ExprKind::CurPos => self.text("__curPos"),
            ExprKind::Interpolate(parts) | ExprKind::PathInterpolate(parts) => self.join(parts),
            ExprKind::Select { base, rest } => {
                self.text("(");
                self.expr(base);
                self.text(").");
                self.path(rest.path);
                if let Some(default) = rest.default {
                    self.text(" or (");
                    self.expr(default);
                    self.text(")");
                }
            }
            ExprKind::HasAttr { base, path } => {
                self.text("((");
                self.expr(base);
                self.text(") ? ");
                self.path(path);
                self.text(")");
            }
            ExprKind::Lambda(l) => {
                self.text("(");
                if let Some(formals) = l.formals {
                    self.text("{ ");
                    let mut list: Vec<_> = formals.list.iter().collect();
                    list.sort_by(|a, b| self.symbols.name(a.name).cmp(self.symbols.name(b.name)));
                    for (i, f) in list.iter().enumerate() {
                        if i > 0 {
                            self.text(", ");
                        }
                        self.symbol(f.name);
                        if let Some(default) = f.default {
                            self.text(" ? ");
                            self.expr(default);
                        }
                    }
                    if formals.has_ellipsis {
                        self.text(if list.is_empty() { "..." } else { ", ..." });
                    }
                    self.text(" }");
                    if l.arg.is_some() {
                        self.text(" @ ");
                    }
                }
                if let Some((arg, _)) = l.arg {
                    self.symbol(arg);
                }
                self.text(": ");
                self.expr(l.body);
                self.text(")");
            }
            ExprKind::Call(items) => {
                self.text("(");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.text(" ");
                    }
                    self.expr(item);
                }
                self.text(")");
            }
            ExprKind::Let { set, body } => {
                self.text("(let ");
                self.bindings(set);
                self.text("in ");
                self.expr(body);
                self.text(")");
            }
            ExprKind::LetBody(set) => {
                self.text("(");
                self.set(set);
                self.text(").body");
            }
            ExprKind::Set(set) => self.set(set),
            ExprKind::List(items) => {
                self.text("[ ");
                for item in items {
                    self.text("(");
                    self.expr(item);
                    self.text(") ");
                }
                self.text("]");
            }
            ExprKind::If([cond, yes, no]) => {
                self.text("(if ");
                self.expr(cond);
                self.text(" then ");
                self.expr(yes);
                self.text(" else ");
                self.expr(no);
                self.text(")");
            }
            ExprKind::Assert(cond, body) => {
                self.text("assert ");
                self.expr(cond);
                self.text("; ");
                self.expr(body);
            }
            ExprKind::With(set, body) => {
                self.text("(with ");
                self.expr(set);
                self.text("; ");
                self.expr(body);
                self.text(")");
            }
            ExprKind::Not(e) => {
                self.text("(! ");
                self.expr(e);
                self.text(")");
            }
            ExprKind::Negate(e) => {
                self.text("(__sub 0 ");
                self.expr(e);
                self.text(")");
            }
            ExprKind::Binary(op, a, b) => match op {
                Op::Equal => self.binary(a, " == ", b),
                Op::NotEqual => self.binary(a, " != ", b),
                Op::And => self.binary(a, " && ", b),
                Op::Or => self.binary(a, " || ", b),
                Op::Implies => self.binary(a, " -> ", b),
                Op::Update => self.binary(a, " // ", b),
                Op::Concat => self.binary(a, " ++ ", b),
                Op::Add => self.binary(a, " + ", b),
                Op::Sub => self.primop("__sub", a, b),
                Op::Mul => self.primop("__mul", a, b),
                Op::Div => self.primop("__div", a, b),
                Op::Less => self.primop("__lessThan", a, b),
                Op::Greater => self.primop("__lessThan", b, a),
                Op::LessEqual => {
                    self.text("(! ");
                    self.primop("__lessThan", b, a);
                    self.text(")");
                }
                Op::GreaterEqual => {
                    self.text("(! ");
                    self.primop("__lessThan", a, b);
                    self.text(")");
                }
            },
        }
    }
}

/// `%g` with six significant digits.
fn float_general(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
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
