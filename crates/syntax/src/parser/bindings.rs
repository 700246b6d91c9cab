//! Bindings of sets and `let`: attribute paths merge here, duplicates are refused.

use super::*;

impl<'a> Parser<'a, '_> {
    /// Bindings up to (not including) `end`.
    pub(super) fn binds(&mut self, end: T) -> R<SetId> {
        let set = self.new_set(AttrSet::default());
        loop {
            match self.token.kind {
                kind if kind == end => return Ok(set),
                T::Inherit => self.inherit(set)?,
                T::Id | T::OrKw | T::Quote | T::DollarCurly => {
                    let start = self.token.start;
                    let path = self.attr_path()?;
                    let span = self.span_from(start);
                    if self.token.kind != T::Byte(b'=') {
                        return Err(self.unexpected(&["`.`", "`=`"]));
                    }
                    self.advance()?;
                    let value = self.expr()?;
                    self.expect(T::Byte(b';'))?;
                    self.add_attr(set, path, span, value)?;
                }
                _ if end == T::Byte(b'}') => return Err(self.unexpected(&["identifier", "`inherit`", "`}`"])),
                _ => return Err(self.unexpected(&["identifier", "`inherit`", "`in`"])),
            }
        }
    }

    pub(super) fn inherit(&mut self, set: SetId) -> R<()> {
        self.advance()?;
        let mut value = AttrValue::Inherited;
        if self.token.kind == T::Byte(b'(') {
            self.advance()?;
            let from = self.expr()?;
            self.expect(T::Byte(b')'))?;
            let froms = &mut self.sets[set.0 as usize].inherit_from;
            value = AttrValue::InheritedFrom(froms.len() as u32);
            froms.push(from);
        }
        loop {
            match self.token.kind {
                T::Byte(b';') => return self.advance(),
                T::Id | T::OrKw | T::Quote | T::DollarCurly => match self.key()? {
                    Key::Static(name, span) => {
                        if let Some(i) = self.sets[set.0 as usize].find(name) {
                            let earlier = self.sets[set.0 as usize].attrs[i].span;
                            return Err(self.duplicate(&[Key::Static(name, span)], span, earlier));
                        }
                        self.sets[set.0 as usize].push(AttrDef { name, span, value });
                    }
                    Key::Dynamic(e) => return Err(self.diagnostic(e.span, "dynamic attributes not allowed in inherit")),
                },
                _ => return Err(self.unexpected(&["identifier", "`;`"])),
            }
        }
    }

    #[cold]
    pub(super) fn duplicate(&self, path: &[Key<'a>], span: Span, earlier: Span) -> Box<Diagnostic> {
        let names: Vec<String> = path
            .iter()
            .map(|k| match k {
                Key::Static(s, _) => self.symbols.display(*s).into_owned(),
                Key::Dynamic(_) => "${…}".to_owned(),
            })
            .collect();
        let message = format!("attribute `{}` is defined twice", names.join("."));
        let d = Diagnostic::error("syntax::duplicate-attribute", message).at(span).label(earlier, "defined first here");
        Box::new(d)
    }

    /// Adds `path = value`, merging sets.
    pub(super) fn add_attr(&mut self, set: SetId, path: &[Key<'a>], span: Span, value: E<'a>) -> R<()> {
        let mut set = set;
        let Some((last, init)) = path.split_last() else { return Ok(()) };
        for (depth, key) in init.iter().enumerate() {
            set = match *key {
                Key::Static(name, _) => match self.sets[set.0 as usize].find(name) {
                    Some(i) => match self.sets[set.0 as usize].attrs[i] {
                        AttrDef { value: AttrValue::Plain(Expr { kind: ExprKind::Set(inner), .. }), .. } => *inner,
                        earlier => return Err(self.duplicate(&path[..=depth], span, earlier.span)),
                    },
                    None => {
                        let inner = self.new_set(AttrSet::default());
                        let e = self.mk(ExprKind::Set(inner), span);
                        self.sets[set.0 as usize].push(AttrDef { name, span, value: AttrValue::Plain(e) });
                        inner
                    }
                },
                Key::Dynamic(name) => {
                    let inner = self.new_set(AttrSet::default());
                    let e = self.mk(ExprKind::Set(inner), span);
                    self.sets[set.0 as usize].dynamic.push(DynamicDef { name, span, value: e });
                    inner
                }
            };
        }
        match *last {
            Key::Static(name, _) => {
                let mut full = path.to_vec();
                self.add_def(set, &mut full, AttrDef { name, span, value: AttrValue::Plain(value) })
            }
            Key::Dynamic(name) => {
                self.sets[set.0 as usize].dynamic.push(DynamicDef { name, span, value });
                Ok(())
            }
        }
    }

    /// Adds one definition; two set literals of one name become one. `path` ends in the name.
    pub(super) fn add_def(&mut self, set: SetId, path: &mut Vec<Key<'a>>, def: AttrDef<'a>) -> R<()> {
        let Some(i) = self.sets[set.0 as usize].find(def.name) else {
            self.sets[set.0 as usize].push(def);
            return Ok(());
        };
        let earlier = self.sets[set.0 as usize].attrs[i];
        let literal = |value: AttrValue<'a>| match value {
            AttrValue::Plain(Expr { kind: ExprKind::Set(id), .. }) => Some(*id),
            _ => None,
        };
        let (Some(into), Some(from)) = (literal(earlier.value), literal(def.value)) else {
            return Err(self.duplicate(path, def.span, earlier.span));
        };
        let source = std::mem::take(&mut self.sets[from.0 as usize]);
        let offset = self.sets[into.0 as usize].inherit_from.len() as u32;
        // Compat: a `rec` of the later set is lost.
        for mut attr in source.attrs {
            if let AttrValue::InheritedFrom(n) = &mut attr.value {
                *n += offset;
            }
            path.push(Key::Static(attr.name, attr.span));
            self.add_def(into, path, attr)?;
            path.pop();
        }
        let target = &mut self.sets[into.0 as usize];
        target.dynamic.extend(source.dynamic);
        target.inherit_from.extend(source.inherit_from);
        Ok(())
    }
}
