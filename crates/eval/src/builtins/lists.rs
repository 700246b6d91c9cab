//! Lists.

use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, EvalResult, Ref, Value};

pub(super) const TABLE: &[PrimOp] = &[
    PrimOp::new("map", 2, map),
    PrimOp::new("filter", 2, filter),
    PrimOp::new("foldl'", 3, foldl),
    PrimOp::new("genList", 2, gen_list),
    PrimOp::new("sort", 2, sort),
    PrimOp::new("length", 1, |ev, args| Ok(Value::int(ev.force_list(args[0])?.len() as i64))),
    PrimOp::new("head", 1, |ev, args| match ev.force_list(args[0])?.first() {
        Some(first) => ev.force(first),
        None => Err(EvalError::invalid("the first element of an empty list does not exist")),
    }),
    PrimOp::new("tail", 1, |ev, args| match ev.force_list(args[0])?.split_first() {
        Some((_, rest)) => Ok(Value::list(rest)),
        None => Err(EvalError::invalid("the tail of an empty list does not exist")),
    }),
    PrimOp::new("elemAt", 2, elem_at),
    PrimOp::new("elem", 2, |ev, args| {
        for item in ev.force_list(args[1])? {
            if ev.equal_cells(args[0], item)? {
                return Ok(Value::bool(true));
            }
        }
        Ok(Value::bool(false))
    }),
    PrimOp::new("any", 2, |ev, args| any_all(ev, args, true)),
    PrimOp::new("all", 2, |ev, args| any_all(ev, args, false)),
    PrimOp::new("concatLists", 1, |ev, args| {
        let lists = ev.force_list(args[0])?;
        let parts = lists.iter().map(|l| ev.force_list(l)).collect::<EvalResult<Vec<_>>>()?;
        Ok(ev.concat_lists(&parts))
    }),
    PrimOp::new("concatMap", 2, concat_map),
    PrimOp::new("partition", 2, partition),
    PrimOp::new("groupBy", 2, group_by),
    PrimOp::new("genericClosure", 1, generic_closure),
];

fn map<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let list = ev.force_list(args[1])?;
    if list.is_empty() {
        return Ok(Value::list(list));
    }
    ev.force_function(args[0])?;
    Ok(Value::list(ev.list_from(list.len(), |i| ev.lazy_call(args[0], list[i]))))
}

fn gen_list<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let len = ev.force_int(args[1])?;
    if len < 0 {
        return Err(EvalError::invalid(format!("cannot create a list of size {len}")));
    }
    if len > u32::MAX as i64 {
        return Err(EvalError::invalid(format!("a list of size {len} is too long")));
    }
    ev.force_function(args[0])?;
    Ok(Value::list(ev.list_from(len as usize, |i| ev.cell(Value::int_app(args[0], i as i64)))))
}

fn filter<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let list = ev.force_list(args[1])?;
    if list.is_empty() {
        return Ok(Value::list(list));
    }
    let f = ev.force_function(args[0])?;
    let mut kept = Vec::with_capacity(list.len());
    for item in list {
        if call_predicate(ev, f, &[item])? {
            kept.push(*item);
        }
    }
    if kept.len() == list.len() {
        return Ok(Value::list(list));
    }
    Ok(ev.list(&kept))
}

fn call_predicate<'h>(ev: &Evaluator<'h>, f: Value<'h>, args: &[Ref<'h>]) -> EvalResult<bool> {
    let v = ev.call(f, args)?;
    v.as_bool().ok_or_else(|| ev.expected("a Boolean", v)).frame(nbv_diag::Span::NONE, || {
        "while evaluating the result of a predicate".to_owned()
    })
}

fn foldl<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let f = ev.force_function(args[0])?;
    let list = ev.force_list(args[2])?;
    let Some((last, init)) = list.split_last() else { return ev.force(args[1]) };
    let mut acc = args[1];
    for item in init {
        let v = ev.call(f, &[acc, item])?;
        acc = ev.cell(v);
    }
    ev.call(f, &[acc, last])
}

fn elem_at<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let list = ev.force_list(args[0])?;
    let index = ev.force_int(args[1])?;
    match usize::try_from(index).ok().and_then(|i| list.get(i)) {
        Some(item) => ev.force(item),
        None => Err(EvalError::invalid(format!("list index {index} is out of bounds of a list of {} elements", list.len()))),
    }
}

fn any_all<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>], stop: bool) -> EvalResult<Value<'h>> {
    let f = ev.force_function(args[0])?;
    for item in ev.force_list(args[1])? {
        if call_predicate(ev, f, &[item])? == stop {
            return Ok(Value::bool(stop));
        }
    }
    Ok(Value::bool(!stop))
}

fn concat_map<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let f = ev.force_function(args[0])?;
    let mut parts = Vec::new();
    for item in ev.force_list(args[1])? {
        let v = ev.call(f, &[item])?;
        parts.push(v.as_list().ok_or_else(|| ev.expected("a list", v))?);
    }
    Ok(ev.concat_lists(&parts))
}

fn partition<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let f = ev.force_function(args[0])?;
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for item in ev.force_list(args[1])? {
        if call_predicate(ev, f, &[item])? { right.push(*item) } else { wrong.push(*item) }
    }
    Ok(ev.attrs(vec![
        Attr { name: sym::RIGHT, pos: 0, value: ev.cell(ev.list(&right)) },
        Attr { name: sym::WRONG, pos: 0, value: ev.cell(ev.list(&wrong)) },
    ]))
}

fn group_by<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let f = ev.force_function(args[0])?;
    let mut groups: std::collections::BTreeMap<_, Vec<Ref<'h>>> = std::collections::BTreeMap::new();
    for item in ev.force_list(args[1])? {
        let v = ev.call(f, &[item])?;
        let name = ev.force_plain_string(ev.cell(v))?.symbol(ev.symbols());
        groups.entry(name).or_default().push(item);
    }
    let attrs: Vec<Attr<'h>> =
        groups.into_iter().map(|(name, items)| Attr { name, pos: 0, value: ev.cell(ev.list(&items)) }).collect();
    Ok(Value::attrs(ev.sorted_attrs(&attrs)))
}

fn sort<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let list = ev.force_list(args[1])?;
    if list.is_empty() {
        return Ok(Value::list(list));
    }
    let f = ev.force_function(args[0])?;
    for item in list {
        ev.force(item)?;
    }
    let is_less_than = matches!(f.view(), crate::value::View::PrimOp(p) if p.name == "lessThan");
    let mut less = |a: Ref<'h>, b: Ref<'h>| -> EvalResult<bool> {
        if is_less_than {
            return ev.less(ev.force(a)?, ev.force(b)?);
        }
        call_predicate(ev, f, &[a, b])
    };
    let mut items = list.to_vec();
    super::sort::sort(&mut items, &mut less)?;
    Ok(ev.list(&items))
}

fn generic_closure<'h>(ev: &Evaluator<'h>, args: &[Ref<'h>]) -> EvalResult<Value<'h>> {
    let attrs = ev.force_attrs(args[0])?;
    let get = |name| attrs.get(name).map(|a| a.value).ok_or_else(|| ev.missing_attribute(attrs, name));
    let mut queue: std::collections::VecDeque<Ref<'h>> = ev.force_list(get(sym::START_SET)?)?.iter().copied().collect();
    if queue.is_empty() {
        return Ok(Value::list(&[]));
    }
    let operator = ev.force_function(get(sym::OPERATOR)?)?;
    let mut result: Vec<Ref<'h>> = Vec::new();
    // Keys seen so far, sorted by `<`.
    let mut keys: Vec<Value<'h>> = Vec::new();
    while let Some(item) = queue.pop_front() {
        let set = ev.force_attrs(item)?;
        let Some(key) = set.get(sym::KEY) else { return Err(ev.missing_attribute(set, sym::KEY)) };
        let key = ev.force(key.value)?;
        let (mut low, mut high) = (0, keys.len());
        let mut is_new = true;
        while low < high {
            let mid = (low + high) / 2;
            if ev.less(keys[mid], key)? {
                low = mid + 1;
            } else if ev.less(key, keys[mid])? {
                high = mid;
            } else {
                is_new = false;
                break;
            }
        }
        if !is_new {
            continue;
        }
        keys.insert(low, key);
        result.push(item);
        let more = ev.call(operator, &[item])?;
        let more = more.as_list().ok_or_else(|| ev.expected("a list", more))?;
        queue.extend(more.iter().copied());
    }
    Ok(ev.list(&result))
}
