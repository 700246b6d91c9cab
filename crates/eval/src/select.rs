//! What command lines do with a value: gather the derivations in it.

use std::collections::HashSet;

use nbv_diag::Span;

use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::parallel::Wanted;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Value, View};

/// A derivation found in a value.
pub struct Found<'h> {
    /// Its attributes.
    pub attrs: Attrs<'h>,
    /// Attribute path to it, as `a.b.0`.
    pub path: String,
}

impl<'h> Evaluator<'h> {
    /// All derivations in a value: itself, those in its lists, and those in its sets; sets inside are entered when they say
    /// `recurseForDerivations`.
    pub fn derivations(&self, root: Value<'h>, args: Attrs<'h>) -> EvalResult<Vec<Found<'h>>> {
        let mut found = Vec::new();
        let mut done = HashSet::new();
        self.gather(root, "", args, &mut found, &mut done)?;
        let paths: Vec<Ref<'h>> = found.iter().filter_map(|f| Some(f.attrs.get(sym::DRV_PATH)?.value)).collect();
        self.offer(paths.into_iter(), Wanted::Value);
        Ok(found)
    }

    /// Whether the value was no derivation, so that it may hold some.
    fn take(
        &self,
        v: Value<'h>,
        path: &str,
        found: &mut Vec<Found<'h>>,
        done: &mut HashSet<usize>,
    ) -> EvalResult<bool> {
        let Some(attrs) = v.as_attrs() else { return Ok(true) };
        if !self.is_derivation(attrs)? {
            return Ok(true);
        }
        if done.insert(attrs.address()) {
            let name = self.select(attrs, "name")?;
            if name.as_string().is_none() {
                return Err(self.expected("a string", name)).frame(Span::NONE, || "while evaluating the `name` of a derivation".to_owned());
            }
            found.push(Found { attrs, path: path.to_owned() });
        }
        Ok(false)
    }

    fn gather(
        &self,
        v: Value<'h>,
        path: &str,
        args: Attrs<'h>,
        found: &mut Vec<Found<'h>>,
        done: &mut HashSet<usize>,
    ) -> EvalResult<()> {
        let v = self.auto_call(v, args)?;
        if !self.take(v, path, found, done)? {
            return Ok(());
        }
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match v.view() {
            View::Attrs(attrs) => self.deeper(|| {
                let combine = attrs.get(self.intern(b"_combineChannels")).is_some();
                for attr in attrs.by_name(self.symbols()) {
                    let name = self.display(attr.name);
                    if !is_plain(&name) {
                        continue;
                    }
                    let at = Span::new(attr.pos, attr.pos);
                    let inside = below(&name);
                    let value = self.force(attr.value).frame(at, || format!("while evaluating the attribute `{inside}`"))?;
                    if combine {
                        self.gather(value, &inside, args, found, done)?;
                    } else if self.take(value, &inside, found, done)?
                        && let Some(set) = value.as_attrs()
                        && let Some(flag) = set.get(self.intern(b"recurseForDerivations"))
                        && self.force_bool(flag.value)?
                    {
                        self.gather(value, &inside, args, found, done)?;
                    }
                }
                Ok(())
            }),
            View::List(items) => self.deeper(|| {
                for (i, item) in items.iter().enumerate() {
                    let inside = below(&i.to_string());
                    let value = self.force(item)?;
                    if self.take(value, &inside, found, done)? {
                        self.gather(value, &inside, args, found, done)?;
                    }
                }
                Ok(())
            }),
            _ => Err(EvalError::type_error("expression does not evaluate to a derivation (or a set or list of those)")
                .note(format!("it is {}", v.kind().describe()))),
        }
    }

    /// The text of an attribute of a derivation, if it has it.
    pub fn text_attr(&self, attrs: Attrs<'h>, name: &str) -> EvalResult<Option<String>> {
        let Some(attr) = attrs.get(self.intern(name.as_bytes())) else { return Ok(None) };
        let v: Value<'h> = self.force(attr.value)?;
        Ok(Some(self.coerce_to_string(v, false, false)?.to_str_lossy().into_owned()))
    }

    /// A set out of names and cells.
    pub fn set_of(&self, fields: &[(String, Ref<'h>)]) -> Attrs<'h> {
        let attrs = fields.iter().map(|(n, value)| Attr { name: self.intern(n.as_bytes()), pos: 0, value }).collect();
        self.attrs(attrs).as_attrs().unwrap_or(self.common.empty_attrs)
    }
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c))
}
