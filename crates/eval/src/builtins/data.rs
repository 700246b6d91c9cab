//! Values to and from JSON, XML and TOML.

use std::collections::HashSet;

use nbv_diag::Span;

use crate::context::Context;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::json::{Event, Reader, write_string};
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Value, View};
use crate::xml::Writer;

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("toJSON", 1, |ev, args| {
        let mut out = Vec::new();
        let mut context = Context::empty();
        write_json(ev, args[0], true, &mut out, &mut context)?;
        Ok(ev.str_with(out, context))
    }),
    PrimOp::new("fromJSON", 1, |ev, args| {
        let text = ev.force_plain_string(args[0])?;
        read_json(ev, text.bytes())
    }),
    PrimOp::new("toXML", 1, |ev, args| {
        let (text, context) = ev.to_xml(args[0], true, false)?;
        Ok(ev.str_with(text, context))
    }),
    PrimOp::new("fromTOML", 1, |ev, args| {
        let text = ev.force_plain_string(args[0])?;
        from_toml(ev, text.bytes())
    }),
];

/// Writes the JSON of a value. With `copy`, paths are copied to the store, else written as they are.
pub(crate) fn write_json<'h>(
    ev: &Evaluator<'h>,
    r: Ref<'h>,
    copy: bool,
    out: &mut Vec<u8>,
    context: &mut Context<'h>,
) -> EvalResult<()> {
    let v = ev.force(r)?;
    write_json_value(ev, v, copy, out, context)
}

fn write_json_value<'h>(
    ev: &Evaluator<'h>,
    v: Value<'h>,
    copy: bool,
    out: &mut Vec<u8>,
    context: &mut Context<'h>,
) -> EvalResult<()> {
    let string = |out: &mut Vec<u8>, text: &[u8]| {
        write_string(out, text).map_err(|at| {
            EvalError::new("eval::json", format!("JSON serialization error: invalid UTF-8 byte at index {at}: 0x{:02X}", text[at]))
        })
    };
    match v.view() {
        View::Null => out.extend_from_slice(b"null"),
        View::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        View::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        View::Float(x) => out.extend_from_slice(crate::number::json(x).as_bytes()),
        View::String(s) => {
            *context = ev.join_contexts(*context, s.context());
            string(out, s.bytes())?;
        }
        View::Path(p) => {
            let text = if copy { super::copy_to_store(ev, p)? } else { p };
            *context = ev.join_contexts(*context, text.context());
            string(out, text.bytes())?;
        }
        View::List(items) => ev.deeper(|| {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json(ev, item, copy, out, context)
                    .frame(Span::NONE, || format!("while evaluating element {i} of a list"))?;
            }
            out.push(b']');
            Ok(())
        })?,
        View::Attrs(attrs) => ev.deeper(|| {
            if let Some(f) = attrs.get(sym::TO_STRING) {
                let f = ev.force(f.value)?;
                let text = ev.call(f, &[ev.cell(v)])?;
                let text = ev
                    .coerce_to_string(text, false, false)
                    .frame(Span::NONE, || "while evaluating the result of `__toString`".to_owned())?;
                *context = ev.join_contexts(*context, text.context());
                return string(out, text.bytes());
            }
            if let Some(path) = attrs.get(sym::OUT_PATH) {
                return write_json(ev, path.value, copy, out, context);
            }
            out.push(b'{');
            for (i, attr) in attrs.by_name(ev.symbols()).into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                string(out, ev.name(attr.name))?;
                out.push(b':');
                let at = Span::new(attr.pos, attr.pos);
                write_json(ev, attr.value, copy, out, context)
                    .frame(at, || format!("while evaluating the attribute `{}`", ev.display(attr.name)))?;
            }
            out.push(b'}');
            Ok(())
        })?,
        View::Lambda(_) | View::PrimOp(_) | View::Partial(_) | View::Thunk => {
            return Err(EvalError::type_error(format!("cannot convert {} to JSON", v.kind().describe())));
        }
    }
    Ok(())
}

/// The value of a JSON text.
pub(crate) fn read_json<'h>(ev: &Evaluator<'h>, text: &[u8]) -> EvalResult<Value<'h>> {
    enum Open<'h> {
        List(Vec<Ref<'h>>),
        Set(Vec<Attr<'h>>, Option<nbv_syntax::Symbol>),
    }
    let fail = |e: crate::json::JsonError| EvalError::new("eval::json", format!("invalid JSON: {e}"));
    let mut reader = Reader::new(text);
    let mut open: Vec<Open<'h>> = Vec::new();
    let mut result = None;
    while let Some(event) = reader.next().map_err(fail)? {
        let value = match event {
            Event::Null => Value::null(),
            Event::Bool(b) => Value::bool(b),
            Event::Int(n) => Value::int(n),
            Event::Float(x) => Value::float(x),
            Event::String(s) => ev.str(s.as_bytes()),
            Event::Key(name) => {
                if let Some(Open::Set(_, key)) = open.last_mut() {
                    *key = Some(ev.intern(name.as_bytes()));
                }
                continue;
            }
            Event::ArrayStart => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::ObjectStart => {
                open.push(Open::Set(Vec::new(), None));
                continue;
            }
            Event::ArrayEnd | Event::ObjectEnd => match open.pop() {
                Some(Open::List(items)) => ev.list(&items),
                Some(Open::Set(mut attrs, _)) => {
                    // The last of equal names wins.
                    attrs.reverse();
                    ev.attrs(attrs)
                }
                None => continue,
            },
        };
        match open.last_mut() {
            None => result = Some(value),
            Some(Open::List(items)) => items.push(ev.cell(value)),
            Some(Open::Set(attrs, key)) => {
                if let Some(name) = key.take() {
                    attrs.push(Attr { name, pos: 0, value: ev.cell(value) });
                }
            }
        }
    }
    result.ok_or_else(|| EvalError::new("eval::json", "invalid JSON: the text is empty"))
}

impl<'h> Evaluator<'h> {
    /// The JSON of a value, byte for byte as `builtins.toJSON` has it.
    pub fn json_text(&self, r: Ref<'h>) -> EvalResult<Vec<u8>> {
        let mut out = Vec::new();
        write_json(self, r, true, &mut out, &mut Context::empty())?;
        Ok(out)
    }

    /// The XML of a value as `toXML` and `--xml` write it. Without `strict`, what is not evaluated yet stays `<unevaluated />`; with
    /// `location`, attributes and functions carry their place.
    pub fn to_xml(&self, r: Ref<'h>, strict: bool, location: bool) -> EvalResult<(Vec<u8>, Context<'h>)> {
        let mut xml = Xml { ev: self, strict, location, out: Writer::new(), context: Context::empty(), seen: HashSet::new() };
        xml.out.open("expr", &[]);
        xml.value(r)?;
        Ok((xml.out.finish(), xml.context))
    }
}

struct Xml<'e, 'h> {
    ev: &'e Evaluator<'h>,
    strict: bool,
    location: bool,
    out: Writer,
    context: Context<'h>,
    seen: HashSet<Vec<u8>>,
}

impl<'h> Xml<'_, 'h> {
    fn force(&self, r: Ref<'h>) -> EvalResult<Option<Value<'h>>> {
        if self.strict { self.ev.force(r).map(Some) } else { Ok(r.peek()) }
    }

    /// Attributes `column`, `line` and `path` of a place.
    fn place(&self, pos: u32) -> Vec<(&'static str, Vec<u8>)> {
        if !self.location || pos == 0 {
            return Vec::new();
        }
        let Some(at) = self.ev.sources().locate(nbv_diag::Pos(pos)) else { return Vec::new() };
        let mut out = vec![("column", at.column.to_string().into_bytes()), ("line", at.line.to_string().into_bytes())];
        if let Some(path) = at.path() {
            out.push(("path", path.display().to_string().into_bytes()));
        }
        out
    }

    fn open(&mut self, name: &'static str, attributes: &mut Vec<(&'static str, Vec<u8>)>) {
        attributes.sort();
        let attributes: Vec<(&'static str, &[u8])> = attributes.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        self.out.open(name, &attributes);
    }

    fn value(&mut self, r: Ref<'h>) -> EvalResult<()> {
        let ev = self.ev;
        let Some(v) = self.force(r)? else {
            self.out.empty("unevaluated", &[]);
            return Ok(());
        };
        let single = |out: &mut Writer, name, value: &[u8]| out.empty(name, &[("value", value)]);
        match v.view() {
            View::Null => self.out.empty("null", &[]),
            View::Bool(b) => single(&mut self.out, "bool", if b { b"true" } else { b"false" }),
            View::Int(n) => single(&mut self.out, "int", n.to_string().as_bytes()),
            View::Float(x) => single(&mut self.out, "float", crate::number::print(x).as_bytes()),
            View::String(s) => {
                self.context = ev.join_contexts(self.context, s.context());
                single(&mut self.out, "string", s.bytes());
            }
            View::Path(p) => single(&mut self.out, "path", p.bytes()),
            View::List(items) => {
                self.out.open("list", &[]);
                ev.deeper(|| items.iter().try_for_each(|item| self.value(item)))?;
                self.out.close();
            }
            View::Attrs(attrs) if ev.is_derivation(attrs)? => {
                let mut attributes = Vec::new();
                let mut drv = Vec::new();
                for (symbol, name) in [(sym::DRV_PATH, "drvPath"), (sym::OUT_PATH, "outPath")] {
                    if let Some(attr) = attrs.get(symbol)
                        && let Some(text) = self.force(attr.value)?.and_then(Value::as_string)
                    {
                        if name == "drvPath" {
                            drv = text.bytes().to_vec();
                        }
                        attributes.push((name, text.bytes().to_vec()));
                    }
                }
                self.open("derivation", &mut attributes);
                if !drv.is_empty() && self.seen.insert(drv) {
                    self.attributes(attrs)?;
                } else {
                    self.out.empty("repeated", &[]);
                }
                self.out.close();
            }
            View::Attrs(attrs) => {
                self.out.open("attrs", &[]);
                self.attributes(attrs)?;
                self.out.close();
            }
            View::Lambda(_) | View::Partial(_) if v.next_parameter().is_some() => {
                let Some(parameter) = v.next_parameter() else { return Ok(()) };
                let mut attributes = self.place(parameter.span.start);
                self.open("function", &mut attributes);
                let arg = parameter.name.map(|s| ev.name(s));
                match parameter.pattern {
                    None => {
                        let name = arg.unwrap_or(b"_");
                        self.out.empty("varpat", &[("name", name)]);
                    }
                    Some(pattern) => {
                        let mut attributes = Vec::new();
                        if pattern.has_ellipsis {
                            attributes.push(("ellipsis", b"1".to_vec()));
                        }
                        if let Some(name) = arg {
                            attributes.push(("name", name.to_vec()));
                        }
                        self.open("attrspat", &mut attributes);
                        let mut names: Vec<&[u8]> = pattern.formals.iter().map(|f| ev.name(f.name)).collect();
                        names.sort_unstable();
                        for name in names {
                            self.out.empty("attr", &[("name", name)]);
                        }
                        self.out.close();
                    }
                }
                self.out.close();
            }
            View::Lambda(_) | View::PrimOp(_) | View::Partial(_) | View::Thunk => self.out.empty("unevaluated", &[]),
        }
        Ok(())
    }

    fn attributes(&mut self, attrs: Attrs<'h>) -> EvalResult<()> {
        let ev = self.ev;
        ev.deeper(|| {
            for attr in attrs.by_name(ev.symbols()) {
                let mut attributes = self.place(attr.pos);
                attributes.push(("name", ev.name(attr.name).to_vec()));
                self.open("attr", &mut attributes);
                self.value(attr.value)
                    .frame(Span::new(attr.pos, attr.pos), || format!("while evaluating the attribute `{}`", ev.display(attr.name)))?;
                self.out.close();
            }
            Ok(())
        })
    }
}

fn from_toml<'h>(ev: &Evaluator<'h>, text: &[u8]) -> EvalResult<Value<'h>> {
    let fail = |what: String| EvalError::new("eval::toml", format!("while parsing TOML: {what}"));
    let text = std::str::from_utf8(text).map_err(|e| fail(format!("the text is not UTF-8 at byte {}", e.valid_up_to())))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string().trim_end().to_owned()))?;
    toml_table(ev, &table)
}

fn toml_table<'h>(ev: &Evaluator<'h>, table: &toml::Table) -> EvalResult<Value<'h>> {
    let mut attrs = Vec::with_capacity(table.len());
    for (name, value) in table {
        no_null(name)?;
        attrs.push(ev.attr(name, toml_value(ev, value)?));
    }
    Ok(ev.attrs(attrs))
}

fn no_null(text: &str) -> EvalResult<()> {
    if text.contains('\0') {
        return Err(EvalError::new("eval::toml", "input string cannot be represented as a Nix string because it contains null bytes"));
    }
    Ok(())
}

fn toml_value<'h>(ev: &Evaluator<'h>, value: &toml::Value) -> EvalResult<Value<'h>> {
    Ok(match value {
        toml::Value::String(s) => {
            no_null(s)?;
            ev.str(s.as_bytes())
        }
        toml::Value::Integer(n) => Value::int(*n),
        toml::Value::Float(x) => Value::float(*x),
        toml::Value::Boolean(b) => Value::bool(*b),
        toml::Value::Array(items) => {
            let items: Vec<Ref<'h>> =
                items.iter().map(|i| toml_value(ev, i).map(|v| ev.cell(v))).collect::<EvalResult<_>>()?;
            ev.list(&items)
        }
        toml::Value::Table(table) => toml_table(ev, table)?,
        toml::Value::Datetime(time) if ev.settings().features.parse_toml_timestamps => {
            ev.attrs(vec![ev.attr("_type", ev.str("timestamp")), ev.attr("value", ev.str(timestamp(time)))])
        }
        toml::Value::Datetime(_) => {
            return Err(EvalError::new("eval::toml", "while parsing TOML: Dates and times are not supported")
                .hint("`--extra-experimental-features parse-toml-timestamps` allows them"));
        }
    })
}

/// A time with its fraction of a second rounded up to 0, 3, 6 or 9 digits.
fn timestamp(time: &toml::value::Datetime) -> String {
    let mut out = String::new();
    if let Some(d) = time.date {
        out += &format!("{:04}-{:02}-{:02}", d.year, d.month, d.day);
        if time.time.is_some() {
            out.push('T');
        }
    }
    if let Some(t) = time.time {
        out += &format!("{:02}:{:02}:{:02}", t.hour, t.minute, t.second);
        let digits = format!("{:09}", t.nanosecond);
        let used = digits.trim_end_matches('0').len().next_multiple_of(3);
        if used > 0 {
            out.push('.');
            out += &digits[..used];
        }
    }
    match time.offset {
        None => {}
        Some(toml::value::Offset::Z) => out.push('Z'),
        Some(toml::value::Offset::Custom { minutes: 0 }) => out.push('Z'),
        Some(toml::value::Offset::Custom { minutes }) => {
            let sign = if minutes < 0 { '-' } else { '+' };
            let m = minutes.unsigned_abs();
            out += &format!("{sign}{:02}:{:02}", m / 60, m % 60);
        }
    }
    out
}
