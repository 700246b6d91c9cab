//! Attribute sets.

use std::collections::HashSet;

use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, EvalResult, Ref, Value};

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("attrNames", 1, attr_names),
    PrimOp::new("attrValues", 1, |ev, args| {
        let sorted = ev.force_attrs(args[0])?.by_name(ev.symbols());
        Ok(Value::list(ev.list_from(sorted.len(), |i| sorted[i].value)))
    }),
    PrimOp::new("getAttr", 2, |ev, args| {
        let name = ev.force_plain_string(args[0])?.symbol(ev.symbols());
        let attrs = ev.force_attrs(args[1])?;
        match attrs.get(name) {
            Some(attr) => ev.force(attr.value),
            None => Err(ev.missing_attribute(attrs, name)),
        }
    }),
    PrimOp::new("hasAttr", 2, |ev, args| {
        let name = ev.force_plain_string(args[0])?.symbol(ev.symbols());
        Ok(Value::bool(ev.force_attrs(args[1])?.get(name).is_some()))
    }),
    PrimOp::new("unsafeGetAttrPos", 2, |ev, args| {
        let name = ev.force_plain_string(args[0])?.symbol(ev.symbols());
        Ok(ev.force_attrs(args[1])?.get(name).map_or(Value::null(), |a| ev.position_value(a.pos)))
    }),
    PrimOp::new("listToAttrs", 1, list_to_attrs),
    PrimOp::new("removeAttrs", 2, remove_attrs),
    PrimOp::new("intersectAttrs", 2, intersect_attrs),
    PrimOp::new("catAttrs", 2, |ev, args| {
        let name = ev.force_plain_string(args[0])?.symbol(ev.symbols());
        let mut found = Vec::new();
        for item in ev.force_list(args[1])? {
            if let Some(attr) = ev.force_attrs(item)?.get(name) {
                found.push(attr.value);
            }
        }
        Ok(ev.list(&found))
    }),
    PrimOp::new("mapAttrs", 2, map_attrs),
    PrimOp::new("zipAttrsWith", 2, zip_attrs_with),
];

fn attr_names<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let sorted = ev.force_attrs(args[0])?.by_name(ev.symbols());
    Ok(Value::list(ev.list_from(sorted.len(), |i| ev.name_cell(sorted[i].name))))
}

fn list_to_attrs<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let list = ev.force_list(args[0])?;
    let mut attrs = Vec::with_capacity(list.len());
    let mut seen = HashSet::<_, nbv_syntax::FxBuild>::default();
    for item in list {
        let set = ev.force_attrs(item)?;
        let Some(name) = set.get(sym::NAME) else { return Err(ev.missing_attribute(set, sym::NAME)) };
        let symbol = ev.force_plain_string(name.value)?.symbol(ev.symbols());
        if !seen.insert(symbol) {
            continue;
        }
        let Some(value) = set.get(sym::VALUE) else { return Err(ev.missing_attribute(set, sym::VALUE)) };
        attrs.push(Attr { name: symbol, pos: value.pos, value: value.value });
    }
    Ok(ev.attrs(attrs))
}

fn remove_attrs<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let mut names = Vec::new();
    for name in ev.force_list(args[1])? {
        names.push(ev.force_plain_string(name)?.symbol(ev.symbols()));
    }
    names.sort_unstable();
    let kept: Vec<Attr<'h>> =
        attrs.iter().filter(|a| names.binary_search(&a.name).is_err()).collect();
    if kept.len() == attrs.bound() {
        return Ok(Value::attrs(attrs));
    }
    Ok(Value::attrs(ev.sorted_attrs(&kept)))
}

/// The attributes of the second set whose names are in the first.
fn intersect_attrs<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let left = ev.force_attrs(args[0])?;
    let right = ev.force_attrs(args[1])?;
    let kept: Vec<Attr<'h>> = if left.bound() < right.bound() {
        left.iter().filter_map(|a| right.get(a.name)).collect()
    } else {
        right.iter().filter(|a| left.get(a.name).is_some()).collect()
    };
    Ok(Value::attrs(ev.sorted_attrs(&kept)))
}

fn map_attrs<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[1])?;
    // As in C++ Nix, the result's attributes have no place; the module system tests for it.
    Ok(Value::attrs(attrs.map(ev.arena, |a| ev.lazy_attr(args[0], a.name, a.value))))
}

fn zip_attrs_with<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    ev.force_function(args[0])?;
    let mut groups: std::collections::BTreeMap<_, Vec<Ref<'h>>> = std::collections::BTreeMap::new();
    for set in ev.force_list(args[1])? {
        for attr in ev.force_attrs(set)? {
            groups.entry(attr.name).or_default().push(attr.value);
        }
    }
    let attrs: Vec<Attr<'h>> = groups
        .into_iter()
        .map(|(name, values)| {
            Attr { name, pos: 0, value: ev.lazy_attr(args[0], name, ev.cell(ev.list(&values))) }
        })
        .collect();
    Ok(Value::attrs(ev.sorted_attrs(&attrs)))
}

