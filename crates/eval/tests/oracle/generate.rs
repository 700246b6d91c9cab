//! Random expressions: mostly well typed, all terminating, over the whole language and the builtins.

use crate::tree::{Node, Part, bare, c, s};
use crate::types::{BUILTINS, Type, Version, parse, replace, unify};

/// Ways in which a C++ Nix older than 2.34 differs from it (and from this evaluator): a name, the first version that is known to be without
/// the difference, what it was. What shows one is not generated for an older program. Builtins have theirs in `types::BUILTINS`.
pub(crate) const CHANGES: &[(&str, Version, &str)] = &[
    ("checked-integers", (2, 25), "integer overflow wrapped around"),
    ("quoted-names", (2, 16), "names of attributes were printed without quotes, or with other escapes"),
    ("dynamic-merge", (2, 20), "dynamic attributes of merged sets were lost"),
    ("string-contexts", (2, 19), "elements of getContext were of other forms"),
    ("json-floats", (2, 24), "floats had six digits in JSON"),
    ("failures", (2, 24), "arguments were checked in another order, or not when a list was empty; what failed first could be caught or not"),
    ("sort", (2, 30), "inconsistent comparators gave another order"),
];

/// A small generator of numbers (xorshift), so that a failure comes again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What makes expressions.
pub(crate) struct Generator {
    pub random: Random,
    /// The program to compare with.
    oracle: Version,
    scope: Vec<(String, Type)>,
    /// Sets that `with` opened: nothing else is known of them.
    next: usize,
    /// Expressions that may still be made for the present one.
    budget: usize,
}

const INTS: &[&str] = &["0", "1", "2", "3", "5", "7", "10", "42", "255", "1000", "(-1)", "(-7)", "65536"];
const BIG: &[&str] = &["9223372036854775807", "(-9223372036854775807 - 1)", "4611686018427387904", "3037000500"];
const FLOATS: &[&str] =
    &["0.0", "1.0", "0.5", "1.5", "(-2.5)", "0.1", ".25", "1.e3", "1.0e-7", "123456.789", "1.0e15", "1.0e16", "3.14159265358979", "1.0e300", "100000.0", "999999.5", "0.30000000000000004"];
const TEXTS: &[&str] = &[
    "", "a", "b", "ab", "abc", "foo", "foo-1.2.3", "x=1", "a b", "é", "日本", "\\n", "\\t", "\\\"", "\\\\", "\\${a}", "$", "$$", "1", "01", "1.0", "-1", "true", "1.2.3pre4",
    "/a/b", "/", "//x//y/", "a/b/", "../c", "name", "value", "_", "{}", "[1,2]", "A", "Z", "z", "aXbXc", ".", "*", "a.b", "\\r", "hello world", "\\u",
];
const NAMES: &[&str] = &["a", "b", "c", "d", "name", "value", "x", "_y", "foo-bar", "z'", "key"];
const ODD_NAMES: &[&str] = &["\"a b\"", "\"\"", "\"1\"", "\"é\"", "\"a.b\"", "\"if\"", "\"or\"", "\"\\${x}\"", "\"a\\nb\"", "\"-\"", "\"_\""];
const PATTERNS: &[&str] = &[
    "a", "a*", "(a)|b", "[a-z]+", "([a-z]+)([0-9.]*)", ".*", "(.*)=(.*)", "(x)?(y)?.*", "[[:alpha:]]*", "a{1,2}", "(a|b)*", "[^X]+", "(aX)*", " ", "/", "\\\\.", "(ab?)+", "^a", "a$",
];

fn list(t: Type) -> Type {
    Type::List(Box::new(t))
}

fn map(t: Type) -> Type {
    Type::Map(Box::new(t))
}

fn function(a: Type, b: Type) -> Type {
    Type::Function(Box::new(a), Box::new(b))
}

impl Generator {
    pub(crate) fn new(seed: u64, oracle: Version) -> Generator {
        Generator { random: Random(seed.max(1)), oracle, scope: Vec::new(), next: 0, budget: 0 }
    }

    /// A whole expression.
    pub(crate) fn expression(&mut self) -> Node {
        self.scope.clear();
        self.next = 0;
        self.budget = 10 + self.random.below(60);
        let t = self.some_type(2, true);
        self.node(&t, 6)
    }

    /// Whether the program to compare with is without a difference.
    pub(crate) fn has(&self, change: &str) -> bool {
        CHANGES.iter().any(|(name, since, _)| *name == change && self.oracle >= *since)
    }

    fn some_type(&mut self, depth: usize, with_functions: bool) -> Type {
        match self.random.below(if depth == 0 { 8 } else { 15 }) {
            0..=2 => Type::Int,
            3 | 4 => Type::Str,
            5 => Type::Bool,
            6 => Type::Float,
            7 => *self.random.of(&[Box::new(Type::Null), Box::new(Type::Path)]).clone(),
            8..=10 => list(self.some_type(depth - 1, with_functions)),
            11 | 12 => map(self.some_type(depth - 1, with_functions)),
            13 => {
                let fields = [("a", self.some_type(depth - 1, false)), ("b", self.some_type(depth - 1, false)), ("c", Type::Int)];
                Type::Set(fields[..1 + self.random.below(3)].to_vec())
            }
            _ if with_functions => function(self.some_type(depth - 1, false), self.some_type(depth - 1, true)),
            _ => Type::Bool,
        }
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        // Names come back, so that scopes hide each other.
        if self.random.one_in(4) { (*self.random.of(&["x", "y", "a", "map'", "b"])).to_owned() } else { format!("v{}", self.next) }
    }

    /// The body of a scope in which `names` are known.
    fn inside(&mut self, names: &[(String, Type)], t: &Type, depth: usize) -> Node {
        let len = self.scope.len();
        let hidden: Vec<(String, Type)> = self.scope.clone();
        self.scope.retain(|(n, _)| !names.iter().any(|(m, _)| n == m));
        self.scope.extend(names.iter().cloned());
        let node = self.node(t, depth);
        self.scope = hidden;
        debug_assert_eq!(self.scope.len(), len);
        node
    }

    fn child(&mut self, t: &Type, depth: usize) -> Part {
        let node = self.node(t, depth);
        // Without its parentheses the text means something else, or nothing; to both programs alike.
        if self.random.one_in(25) { bare(node) } else { c(node) }
    }

    /// An expression of a type; `depth` bounds its nesting.
    fn node(&mut self, t: &Type, depth: usize) -> Node {
        let t = match t {
            Type::Any | Type::Var(_) => &self.some_type(1, false),
            t => t,
        };
        // Now and then a wrong type.
        if self.has("failures") && self.random.one_in(150) {
            let other = self.some_type(1, true);
            return self.leaf(&other, 0);
        }
        // A function that is not called was not looked at in each builtin.
        if matches!(t, Type::Function(..)) && !self.has("failures") {
            return self.leaf(t, depth);
        }
        self.budget = self.budget.saturating_sub(1);
        if depth == 0 || self.budget == 0 {
            return self.leaf(t, 0);
        }
        if self.random.one_in(4)
            && let Some(name) = self.variable(t)
        {
            return Node::leaf(name);
        }
        match self.random.below(10) {
            0..=2 => self.leaf(t, depth),
            3..=5 => self.operation(t, depth - 1),
            6 | 7 => self.form(t, depth - 1),
            _ => self.builtin(t, depth - 1).unwrap_or_else(|| self.operation(t, depth - 1)),
        }
    }

    fn variable(&mut self, t: &Type) -> Option<String> {
        let known: Vec<String> = self.scope.iter().filter(|(_, u)| u == t).map(|(n, _)| n.clone()).collect();
        (!known.is_empty()).then(|| self.random.of(&known).clone())
    }

    /// A name of an attribute as it is written in a definition.
    fn name(&mut self) -> String {
        let odd = self.has("quoted-names") && self.random.one_in(12);
        (*self.random.of(if odd { ODD_NAMES } else { NAMES })).to_owned()
    }

    fn string(&mut self, depth: usize) -> Node {
        let mut parts = Vec::new();
        if self.random.one_in(6) {
            // Of several lines, indented.
            parts.push(s("''"));
            for _ in 0..self.random.below(4) {
                parts.push(s(format!("{}{}", self.random.of(&["\n", "\n  ", "\n    ", "\n\t", "\n \n", ""]), self.random.of(&["a", "b c", "''$", "'''", "''\\n", "$", "é", "  "]))));
                if depth > 0 && self.random.one_in(2) {
                    parts.extend([s("${"), bare(self.node(&Type::Str, depth - 1)), s("}")]);
                }
            }
            parts.push(s((*self.random.of(&["''", "\n''", "\n  ''"])).to_owned()));
            return Node::atom(parts);
        }
        parts.push(s("\""));
        parts.push(s((*self.random.of(TEXTS)).to_owned()));
        if depth > 0 && self.random.one_in(3) {
            let t = self.random.of(&[Type::Str, Type::Str, Type::Str, Type::Path]).clone();
            // A path would be copied.
            let t = if t == Type::Path { Type::Str } else { t };
            parts.extend([s("${"), bare(self.node(&t, depth - 1)), s("}")]);
            parts.push(s((*self.random.of(TEXTS)).to_owned()));
        }
        parts.push(s("\""));
        Node::atom(parts)
    }

    /// A literal.
    fn leaf(&mut self, t: &Type, depth: usize) -> Node {
        match t {
            Type::Int if self.has("checked-integers") && self.random.one_in(20) => Node::leaf(*self.random.of(BIG)),
            Type::Int => Node::leaf(*self.random.of(INTS)),
            Type::Float => Node::leaf(*self.random.of(FLOATS)),
            Type::Bool => Node::leaf(*self.random.of(&["true", "false"])),
            Type::Str => self.string(depth),
            Type::Null => Node::leaf("null"),
            Type::Path => Node::leaf(*self.random.of(&["/x", "/x/y", "/x/y.nix", "./z", "../w", "/a/../b", "/.", "./a.b/c"])),
            Type::List(item) => {
                let mut parts = vec![s("[ ")];
                for _ in 0..self.random.below(4) {
                    parts.push(c(self.node(item, depth.saturating_sub(1))));
                    parts.push(s(" "));
                }
                parts.push(s("]"));
                Node::atom(parts)
            }
            Type::Map(item) => self.set(item, depth),
            Type::Set(fields) => {
                let mut parts = vec![s("{ ")];
                for (name, t) in fields {
                    parts.extend([s(format!("{name} = ")), bare(self.node(t, depth.saturating_sub(1))), s("; ")]);
                }
                parts.push(s("}"));
                Node::atom(parts)
            }
            Type::Function(from, to) => self.lambda(from, to, depth.saturating_sub(1)),
            Type::Any | Type::Var(_) => Node::leaf("null"),
        }
    }

    /// A set of values of one type: names written out, quoted, dynamic, nested, inherited, recursive.
    fn set(&mut self, item: &Type, depth: usize) -> Node {
        let depth = depth.saturating_sub(1);
        let is_rec = self.random.one_in(5);
        let mut parts = vec![s(if is_rec { "rec { " } else { "{ " })];
        let mut used: Vec<String> = Vec::new();
        for _ in 0..self.random.below(4) {
            let name = self.name();
            if used.contains(&name) {
                continue;
            }
            used.push(name.clone());
            if depth > 0 && self.random.one_in(8) {
                // Null leaves it out.
                let value = if self.random.one_in(4) && self.has("dynamic-merge") { Node::leaf("null") } else { Node::leaf(format!("\"{}\"", name.trim_matches('"'))) };
                parts.extend([s("${"), bare(value), s("} = ")]);
            } else if let Some(known) = self.variable(item).filter(|n| self.random.one_in(3) && !used.contains(n) && !is_rec) {
                used.pop();
                used.push(known.clone());
                parts.push(s(format!("inherit {known}; ")));
                continue;
            } else if depth > 0 && self.random.one_in(8) && !name.starts_with('"') {
                let inner = Node::atom(vec![s("{ "), s(format!("{name} = ")), bare(self.node(item, depth)), s("; }")]);
                parts.extend([s("inherit ("), bare(inner), s(format!(") {name}; "))]);
                continue;
            } else {
                parts.push(s(format!("{name} = ")));
            }
            let value = if is_rec && !name.starts_with('"') {
                // Names that come later are known too, but could lead in a circle.
                let before: Vec<(String, Type)> =
                    used.iter().filter(|n| **n != name && !n.starts_with('"')).map(|n| (n.clone(), item.clone())).collect();
                self.inside(&before, item, depth)
            } else {
                self.node(item, depth)
            };
            parts.extend([bare(value), s("; ")]);
        }
        // Of sets that hold sets: definitions that are merged.
        if let Type::Map(inner) = item
            && self.random.one_in(3)
            && !used.iter().any(|n| n == "m")
        {
            parts.extend([s("m.a = "), bare(self.node(inner, depth)), s("; ")]);
            if self.random.one_in(2) {
                parts.extend([s("m = { b = "), bare(self.node(inner, depth)), s("; }; ")]);
            } else {
                parts.extend([s("m.b = "), bare(self.node(inner, depth)), s("; ")]);
            }
        }
        parts.push(s("}"));
        if is_rec { Node::new(parts) } else { Node::atom(parts) }
    }

    fn lambda(&mut self, from: &Type, to: &Type, depth: usize) -> Node {
        if let Type::Set(fields) = from {
            let mut head = String::from("{ ");
            let mut names: Vec<(String, Type)> = Vec::new();
            for (i, (name, t)) in fields.iter().enumerate() {
                if i > 0 {
                    head.push_str(", ");
                }
                head.push_str(name);
                names.push(((*name).to_owned(), t.clone()));
            }
            let mut parts = vec![s(head)];
            if self.random.one_in(2) {
                let t = self.some_type(0, false);
                let default = self.inside(&names.clone(), &t, depth);
                parts.extend([s(", extra ? "), bare(default)]);
                names.push(("extra".to_owned(), t));
            }
            if self.random.one_in(2) {
                parts.push(s(", ..."));
            }
            let whole = self.random.of(&[" }: ", " }@all: ", " }: "]).to_owned();
            if whole.contains("all") {
                names.push(("all".to_owned(), from.clone()));
            }
            parts.push(s(whole));
            parts.push(bare(self.inside(&names, to, depth)));
            return Node::new(parts);
        }
        let name = self.fresh();
        let body = self.inside(&[(name.clone(), from.clone())], to, depth);
        Node::new(vec![s(format!("{name}: ")), bare(body)])
    }

    /// An operator.
    fn operation(&mut self, t: &Type, depth: usize) -> Node {
        let binary = |g: &mut Self, a: &Type, operator: &str, b: &Type| {
            let left = g.child(a, depth);
            Node::new(vec![left, s(format!(" {operator} ")), g.child(b, depth)])
        };
        match t {
            Type::Int => match self.random.below(6) {
                0 => Node::new(vec![s("-"), self.child(t, depth)]),
                1 => binary(self, t, "/", t),
                n => binary(self, t, ["+", "-", "*", "+"][n - 2], t),
            },
            Type::Float => {
                let (a, b) = self.random.of(&[(Type::Int, Type::Float), (Type::Float, Type::Int), (Type::Float, Type::Float)]).clone();
                let operator = *self.random.of(&["+", "-", "*", "/"]);
                binary(self, &a, operator, &b)
            }
            Type::Bool => match self.random.below(9) {
                0 => Node::new(vec![s("!"), self.child(t, depth)]),
                1 => binary(self, t, "&&", t),
                2 => binary(self, t, "||", t),
                3 => binary(self, t, "->", t),
                4 | 5 => {
                    // Functions are equal when they are the same in memory, of which see `same`.
                    let u = self.some_type(2, false);
                    let v = if self.random.one_in(5) { self.some_type(1, false) } else { u.clone() };
                    let operator = *self.random.of(&["==", "!="]);
                    binary(self, &u, operator, &v)
                }
                6 | 7 => {
                    let u = self.random.of(&[Type::Int, Type::Float, Type::Str, list(Type::Int), list(list(Type::Str)), Type::Path]).clone();
                    let operator = *self.random.of(&["<", "<=", ">", ">="]);
                    binary(self, &u, operator, &u)
                }
                _ => {
                    let item = self.some_type(1, false);
                    let names = format!(" ? {}{}", self.name(), if self.random.one_in(4) { ".b" } else { "" });
                    Node::new(vec![self.child(&map(item), depth), s(names)])
                }
            },
            Type::Str => match self.random.below(4) {
                0 => self.string(depth),
                1 => binary(self, t, "+", t),
                2 => {
                    // A text that depends on something.
                    let text = *self.random.of(&[
                        "(derivation { name = \"d\"; system = \"s\"; builder = \"b\"; }).outPath",
                        "(derivation { name = \"e\"; system = \"s\"; builder = \"b\"; outputs = [ \"out\" \"dev\" ]; }).dev.outPath",
                        "(derivation { name = \"d\"; system = \"s\"; builder = \"b\"; }).drvPath",
                        "builtins.toFile \"t\" \"text\"",
                    ]);
                    if self.has("string-contexts") { Node::new(vec![s(text)]) } else { self.string(depth) }
                }
                _ => {
                    let mut parts = vec![s("builtins.concatStringsSep "), self.child(t, depth), s(" ")];
                    parts.push(self.child(&list(Type::Str), depth));
                    Node::new(parts)
                }
            },
            Type::Path => Node::new(vec![self.child(t, depth), s(" + "), c(Node::leaf(*self.random.of(&["\"/q\"", "\"q\"", "\"/../r\"", "/s"])))]),
            Type::List(_) => binary(self, t, "++", t),
            Type::Map(_) => binary(self, t, "//", t),
            Type::Set(fields) => {
                let less = if fields.len() > 1 { Type::Set(fields[..1].to_vec()) } else { t.clone() };
                binary(self, t, "//", &less)
            }
            _ => self.form(t, depth),
        }
    }

    /// A form of the language around or in front of an expression.
    fn form(&mut self, t: &Type, depth: usize) -> Node {
        match self.random.below(17) {
            0 | 1 => Node::new(vec![
                s("if "), bare(self.node(&Type::Bool, depth)), s(" then "), bare(self.node(t, depth)), s(" else "), bare(self.node(t, depth)),
            ]),
            2 | 3 => {
                // Later bindings know earlier ones; written in any order.
                let mut names: Vec<(String, Type)> = Vec::new();
                let mut bindings: Vec<Vec<Part>> = Vec::new();
                for _ in 0..=self.random.below(3) {
                    let u = self.some_type(2, true);
                    let name = self.fresh();
                    if names.iter().any(|(n, _)| *n == name) {
                        continue;
                    }
                    // Its own name means itself inside.
                    let len = self.scope.len();
                    let hidden = self.scope.clone();
                    self.scope.retain(|(n, _)| *n != name);
                    let value = self.inside(&names.clone(), &u, depth);
                    self.scope = hidden;
                    debug_assert_eq!(self.scope.len(), len);
                    bindings.push(vec![s(format!("{name} = ")), bare(value), s("; ")]);
                    names.push((name, u));
                }
                // A binding that hides a name of outside hides it for the earlier ones too: only fresh names may be moved.
                let is_fresh = names.iter().all(|(n, _)| n.starts_with('v'));
                if is_fresh && self.random.one_in(2) {
                    bindings.reverse();
                }
                let fresh: Vec<(String, Type)> = if is_fresh { names } else { names.into_iter().filter(|(n, _)| n.starts_with('v')).collect() };
                let body = self.inside(&fresh, t, depth);
                let mut parts = vec![s("let ")];
                parts.extend(bindings.into_iter().flatten());
                parts.extend([s("in "), bare(body)]);
                Node::new(parts)
            }
            4 => Node::new(vec![s("assert "), bare(self.node(&Type::Bool, depth)), s("; "), bare(self.node(t, depth))]),
            5 => {
                let u = self.some_type(1, true);
                let argument = self.child(&u, depth);
                let lambda = self.lambda(&u, t, depth);
                Node::new(vec![c(lambda), s(" "), argument])
            }
            6 => {
                let u = Type::Set(vec![("a", self.some_type(1, false)), ("b", self.some_type(0, false))]);
                let argument = self.child(&u, depth);
                Node::new(vec![c(self.lambda(&u, t, depth)), s(" "), argument])
            }
            7 => {
                let name = self.name();
                let set = Node::atom(vec![s(format!("{{ {name} = ")), bare(self.node(t, depth)), s("; }")]);
                Node::new(vec![c(set), s(format!(".{name}"))])
            }
            8 => Node::new(vec![self.child(&map(t.clone()), depth), s(format!(".{} or ", self.name())), self.child(t, depth)]),
            9 => {
                let name = self.fresh();
                let body = self.inside(&[(name.clone(), t.clone())], t, depth);
                let set = Node::atom(vec![s(format!("{{ {name} = ")), bare(self.node(t, depth)), s("; }")]);
                Node::new(vec![s("with "), bare(set), s("; "), bare(body)])
            }
            10 => Node::new(vec![s("(builtins.tryEval "), self.child(t, depth), s(").value")]),
            11 => {
                // Recursion with an end.
                let body = self.inside(&[("n".to_owned(), Type::Int), ("less".to_owned(), t.clone())], t, depth);
                let end = self.node(t, depth);
                let count = self.random.below(5);
                Node::new(vec![
                    s("let f = n: if n <= 0 then "), bare(end), s(" else let less = f (n - 1); in "), bare(body), s(format!("; in f {count}")),
                ])
            }
            12 => {
                let items = Node::atom(vec![s("[ "), self.child(t, depth), s(" "), self.child(t, depth), s(" ]")]);
                let index = self.random.below(2);
                Node::new(vec![s("builtins.elemAt "), c(items), s(format!(" {index}"))])
            }
            13 => {
                // A set that is called.
                let u = self.some_type(1, false);
                let body = self.inside(&[("self".to_owned(), Type::Set(vec![("k", Type::Int)])), ("arg".to_owned(), u.clone())], t, depth);
                let functor = Node::atom(vec![s("{ k = "), bare(self.node(&Type::Int, depth)), s("; __functor = self: arg: "), bare(body), s("; }")]);
                Node::new(vec![c(functor), s(" "), self.child(&u, depth)])
            }
            14 if self.random.one_in(3) => {
                let all = if self.has("failures") { 8 } else { 2 };
                let failure = *self.random.of(&["throw \"t\"", "builtins.throw \"u\"", "abort \"a\"", "assert false; 1", "{ }.a", "[ ] + 1", "1 + \"\"", "x: x.y"][..all]);
                Node::new(vec![s(failure)])
            }
            15 => {
                // A fixed point.
                let item = t.clone();
                let first = self.node(&item, depth);
                let second = self.inside(&[("this".to_owned(), Type::Set(vec![("a", item.clone())]))], &item, depth);
                Node::new(vec![
                    s("(let fix = f: let this = f this; in this; in fix (this: { a = "), bare(first), s("; b = "), bare(second), s("; })).b"),
                ])
            }
            _ => self.special(t, depth),
        }
    }

    /// Builtins whose arguments a signature cannot say.
    fn special(&mut self, t: &Type, depth: usize) -> Node {
        match t {
            Type::Str => match self.random.below(4) {
                0 => {
                    let name = self.random.of(&["md5", "sha1", "sha256", "sha512"]).to_owned();
                    Node::new(vec![s(format!("builtins.hashString \"{name}\" ")), self.child(t, depth)])
                }
                1 => {
                    let f = self.inside(&[("self".to_owned(), Type::Set(vec![("v", Type::Str)]))], t, depth);
                    Node::new(vec![s("\"${{ v = "), bare(self.node(t, depth)), s("; __toString = self: "), bare(f), s("; }}\"")])
                }
                2 => Node::new(vec![s("toString "), self.child(&Type::Any, depth)]),
                _ if self.has("json-floats") => Node::new(vec![s("builtins.toJSON "), self.child(&Type::Any, depth)]),
                _ => Node::new(vec![s("builtins.toJSON "), self.child(&list(Type::Str), depth)]),
            },
            Type::List(item) => match self.random.below(6) {
                0 if **item == Type::Str => Node::new(vec![
                    s(format!("builtins.filter builtins.isString (builtins.split \"{}\" ", self.random.of(PATTERNS))), self.child(&Type::Str, depth), s(")"),
                ]),
                1 if matches!(**item, Type::Int | Type::Str | Type::Float | Type::Path) => {
                    let order = *self.random.of(&["builtins.lessThan", "(x: y: x < y)", "(x: y: y < x)", "(x: y: x <= y)", "(x: y: true)", "(x: y: false)"]);
                    let order = if !self.has("sort") && order.contains(['=', 't', 'f']) && !order.starts_with("b") { "builtins.lessThan" } else { order };
                    Node::new(vec![s(format!("builtins.sort {order} ")), self.child(t, depth)])
                }
                2 => {
                    let count = self.random.below(5);
                    let f = self.lambda(&Type::Int, item, depth);
                    Node::new(vec![s("builtins.genList "), c(f), s(format!(" {count}"))])
                }
                3 => Node::new(vec![s("let l = "), bare(self.node(t, depth)), s("; in if l == [ ] then l else builtins.tail l")]),
                4 => Node::new(vec![s("map (m: m.value) "), self.child(&list(Type::Set(vec![("name", Type::Str), ("value", (**item).clone())])), depth)]),
                _ => self.operation(t, depth),
            },
            Type::Bool => match self.random.below(4) {
                0 => Node::new(vec![s(format!("builtins.match \"{}\" ", self.random.of(PATTERNS))), self.child(&Type::Str, depth), s(" == null")]),
                1 => Node::new(vec![s("(builtins.tryEval "), self.child(&Type::Any, depth), s(").success")]),
                2 => Node::new(vec![
                    s("builtins.length (builtins.genericClosure { startSet = [ { key = "), bare(self.node(&Type::Int, depth)),
                    s("; } { key = 1; } ]; operator = i: if i.key > 20 || i.key < 0 then [ ] else [ { key = i.key * 2 + 1; } { key = i.key + 3; } ]; }) > 6"),
                ]),
                _ => Node::new(vec![s("builtins.fromJSON (builtins.toJSON "), self.child(t, depth), s(")")]),
            },
            Type::Float if !self.has("json-floats") => self.operation(t, depth),
            Type::Int | Type::Float | Type::Null => Node::new(vec![s("builtins.fromJSON (builtins.toJSON "), self.child(t, depth), s(")")]),
            Type::Map(item) if matches!(**item, Type::Int | Type::Str | Type::Bool) => match self.random.below(3) {
                0 => Node::new(vec![s("builtins.fromJSON (builtins.toJSON "), self.child(t, depth), s(")")]),
                1 if **item == Type::Bool => Node::new(vec![s("builtins.functionArgs "), c(self.lambda(&Type::Set(vec![("a", Type::Int)]), &Type::Int, depth))]),
                _ => Node::new(vec![s("builtins.removeAttrs "), self.child(t, depth), s(" [ \"a\" \"name\" ]")]),
            },
            _ => self.operation(t, depth),
        }
    }

    /// A call of a builtin with that result.
    fn builtin(&mut self, t: &Type, depth: usize) -> Option<Node> {
        let start = self.random.below(BUILTINS.len());
        for i in 0..BUILTINS.len() {
            let (name, signature, since) = BUILTINS[(start + i) % BUILTINS.len()];
            if since > self.oracle {
                continue;
            }
            let mut text = signature;
            let mut arguments = Vec::new();
            while !text.starts_with(':') {
                arguments.push(parse(&mut text));
            }
            text = &text[1..];
            let result = parse(&mut text);
            let mut found = Vec::new();
            // A result that may be anything fits everywhere, but is seldom wanted.
            if matches!(result, Type::Var(_)) && !self.random.one_in(3) || !unify(&result, t, &mut found) {
                continue;
            }
            let mut parts = vec![s(format!("builtins.{name}"))];
            for argument in &arguments {
                let mut make = || self.some_type(1, false);
                let u = replace(argument, &mut found, &mut make);
                parts.push(s(" "));
                parts.push(self.argument(name, &u, depth));
            }
            return Some(Node::new(parts));
        }
        None
    }

    /// An argument: names for what looks up names, lists with something in them for what takes the first.
    fn argument(&mut self, builtin: &str, t: &Type, depth: usize) -> Part {
        match (builtin, t) {
            ("getAttr" | "hasAttr" | "catAttrs", Type::Str) => c(Node::leaf(format!("\"{}\"", self.random.of(NAMES)))),
            ("head" | "tail", Type::List(item)) => {
                let first = self.child(item, depth);
                c(Node::new(vec![s("[ "), first, s(" ] ++ "), self.child(t, depth)]))
            }
            ("placeholder", Type::Str) => c(Node::leaf("\"out\"")),
            ("substring", Type::Int) => c(Node::leaf(*self.random.of(&["0", "1", "2", "(-1)", "5", "100"]))),
            ("fromJSON", Type::Str) => c(Node::leaf(*self.random.of(&["\"{\\\"a\\\":[1,2.5,null]}\"", "\"1e3\"", "\"[]\"", "\"\\\"\\\\u00e9\\\"\"", "\"-0\"", "\"1.0\""]))),
            // Here 2.34 refuses what is not there.
            _ => self.child(t, depth),
        }
    }
}
