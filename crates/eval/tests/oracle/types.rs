//! Types of generated expressions, and the signatures of builtins in a small notation.

/// What an expression evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    Int,
    Float,
    Bool,
    Str,
    Null,
    Path,
    /// Whatever.
    Any,
    List(Box<Type>),
    /// A set of unknown names.
    Map(Box<Type>),
    /// A set with these names.
    Set(Vec<(&'static str, Type)>),
    Function(Box<Type>, Box<Type>),
    /// A variable of a signature.
    Var(u8),
}

/// Reads a type: `i f b s n p ?` for the simple ones, `A`…`D` variables, `[t]`, `{t}`, `(t>t)`, `<name:t,…>`.
pub(crate) fn parse(text: &mut &'static str) -> Type {
    let (first, rest) = text.split_at(1);
    *text = rest;
    let skip = |text: &mut &'static str| *text = &text[1..];
    match first {
        "i" => Type::Int,
        "f" => Type::Float,
        "b" => Type::Bool,
        "s" => Type::Str,
        "n" => Type::Null,
        "p" => Type::Path,
        "?" => Type::Any,
        "[" | "{" => {
            let inner = Box::new(parse(text));
            skip(text);
            if first == "[" { Type::List(inner) } else { Type::Map(inner) }
        }
        "(" => {
            let from = parse(text);
            skip(text);
            let to = parse(text);
            skip(text);
            Type::Function(Box::new(from), Box::new(to))
        }
        "<" => {
            let mut fields = Vec::new();
            loop {
                let colon = text.find(':').unwrap();
                let name = &text[..colon];
                *text = &text[colon + 1..];
                fields.push((name, parse(text)));
                let end = text.as_bytes()[0];
                skip(text);
                if end == b'>' {
                    return Type::Set(fields);
                }
            }
        }
        other => Type::Var(other.as_bytes()[0]),
    }
}

/// Finds what the variables of `pattern` stand for when it is `t`.
pub(crate) fn unify(pattern: &Type, t: &Type, found: &mut Vec<(u8, Type)>) -> bool {
    match (pattern, t) {
        (Type::Var(v), t) => match found.iter().find(|(known, _)| known == v) {
            Some((_, known)) => known == t,
            None => {
                found.push((*v, t.clone()));
                true
            }
        },
        (Type::List(a), Type::List(b)) | (Type::Map(a), Type::Map(b)) => unify(a, b, found),
        (Type::Function(a, b), Type::Function(c, d)) => unify(a, c, found) && unify(b, d, found),
        (Type::Set(a), Type::Set(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((n, a), (m, b))| n == m && unify(a, b, found))
        }
        (a, b) => a == b,
    }
}

/// `t` with its variables replaced; unknown ones by what `other` gives.
pub(crate) fn replace(t: &Type, found: &mut Vec<(u8, Type)>, other: &mut impl FnMut() -> Type) -> Type {
    match t {
        Type::Var(v) => match found.iter().find(|(known, _)| known == v) {
            Some((_, known)) => known.clone(),
            None => {
                let new = other();
                found.push((*v, new.clone()));
                new
            }
        },
        Type::List(a) => Type::List(Box::new(replace(a, found, other))),
        Type::Map(a) => Type::Map(Box::new(replace(a, found, other))),
        Type::Function(a, b) => {
            let a = replace(a, found, other);
            Type::Function(Box::new(a), Box::new(replace(b, found, other)))
        }
        Type::Set(fields) => Type::Set(fields.iter().map(|(n, t)| (*n, replace(t, found, other))).collect()),
        simple => simple.clone(),
    }
}

/// Versions of C++ Nix as (major, minor).
pub(crate) type Version = (u32, u32);

/// Builtins: name, types of arguments and result, the version since which C++ Nix has it as 2.34 has it.
pub(crate) const BUILTINS: &[(&str, &str, Version)] = &[
    ("map", "(A>B)[A]:[B]", (2, 0)),
    ("filter", "(A>b)[A]:[A]", (2, 0)),
    ("foldl'", "(B>(A>B))B[A]:B", (2, 0)),
    ("head", "[A]:A", (2, 0)),
    ("tail", "[A]:[A]", (2, 0)),
    ("length", "[A]:i", (2, 0)),
    ("elem", "A[A]:b", (2, 0)),
    ("any", "(A>b)[A]:b", (2, 0)),
    ("all", "(A>b)[A]:b", (2, 0)),
    ("concatLists", "[[A]]:[A]", (2, 0)),
    ("concatMap", "(A>[B])[A]:[B]", (2, 0)),
    ("partition", "(A>b)[A]:<right:[A],wrong:[A]>", (2, 0)),
    ("groupBy", "(A>s)[A]:{[A]}", (2, 16)),
    ("attrNames", "{A}:[s]", (2, 0)),
    ("attrValues", "{A}:[A]", (2, 0)),
    ("catAttrs", "s[{A}]:[A]", (2, 0)),
    ("hasAttr", "s{A}:b", (2, 0)),
    ("getAttr", "s{A}:A", (2, 0)),
    ("intersectAttrs", "{B}{A}:{A}", (2, 0)),
    ("listToAttrs", "[<name:s,value:A>]:{A}", (2, 16)),
    ("mapAttrs", "(s>(A>B)){A}:{B}", (2, 0)),
    ("removeAttrs", "{A}[s]:{A}", (2, 0)),
    ("zipAttrsWith", "(s>([A]>B))[{A}]:{B}", (2, 6)),
    ("isInt", "?:b", (2, 0)),
    ("isFloat", "?:b", (2, 0)),
    ("isBool", "?:b", (2, 0)),
    ("isString", "?:b", (2, 0)),
    ("isNull", "?:b", (2, 0)),
    ("isList", "?:b", (2, 0)),
    ("isAttrs", "?:b", (2, 0)),
    ("isPath", "?:b", (2, 3)),
    ("isFunction", "?:b", (2, 0)),
    ("typeOf", "?:s", (2, 0)),
    ("toString", "i:s", (2, 0)),
    ("toString", "f:s", (2, 0)),
    ("toString", "b:s", (2, 0)),
    ("toString", "[i]:s", (2, 0)),
    ("toString", "[[s]]:s", (2, 0)),
    ("toString", "p:s", (2, 0)),
    // Floats had six digits in JSON.
    ("toJSON", "i:s", (2, 0)),
    ("toJSON", "f:s", (2, 24)),
    ("toJSON", "s:s", (2, 0)),
    ("toJSON", "[A]:s", (2, 24)),
    ("toJSON", "{A}:s", (2, 24)),
    // Floats of whole numbers and lambdas' forms were printed otherwise.
    ("toXML", "?:s", (2, 24)),
    ("stringLength", "s:i", (2, 0)),
    ("substring", "iis:s", (2, 4)),
    ("concatStringsSep", "s[s]:s", (2, 0)),
    ("replaceStrings", "[s][s]s:s", (2, 16)),
    ("splitVersion", "s:[s]", (2, 0)),
    ("compareVersions", "ss:i", (2, 0)),
    ("parseDrvName", "s:<name:s,version:s>", (2, 0)),
    ("baseNameOf", "s:s", (2, 20)),
    ("baseNameOf", "p:s", (2, 0)),
    ("dirOf", "s:s", (2, 0)),
    ("dirOf", "p:p", (2, 0)),
    ("placeholder", "s:s", (2, 0)),
    ("unsafeDiscardStringContext", "s:s", (2, 0)),
    ("unsafeDiscardOutputDependency", "s:s", (2, 0)),
    ("hasContext", "s:b", (2, 0)),
    ("getContext", "s:{?}", (2, 0)),
    ("add", "ii:i", (2, 25)),
    ("sub", "ii:i", (2, 25)),
    ("mul", "ii:i", (2, 25)),
    ("div", "ii:i", (2, 25)),
    ("add", "fi:f", (2, 0)),
    ("sub", "if:f", (2, 0)),
    ("mul", "ff:f", (2, 0)),
    ("div", "fi:f", (2, 0)),
    ("bitAnd", "ii:i", (2, 0)),
    ("bitOr", "ii:i", (2, 0)),
    ("bitXor", "ii:i", (2, 0)),
    ("ceil", "f:i", (2, 27)),
    ("floor", "f:i", (2, 27)),
    ("floor", "i:i", (2, 27)),
    ("lessThan", "ii:b", (2, 0)),
    ("lessThan", "fi:b", (2, 0)),
    ("lessThan", "ss:b", (2, 0)),
    ("lessThan", "[i][i]:b", (2, 5)),
    ("seq", "?A:A", (2, 0)),
    ("deepSeq", "?A:A", (2, 0)),
    ("addErrorContext", "sA:A", (2, 0)),
    ("fromJSON", "s:?", (2, 25)),
    ("functionArgs", "(A>B):{b}", (2, 0)),
    ("pathExists", "p:b", (2, 0)),
];
