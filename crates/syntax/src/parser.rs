//! The parser: a Pratt parser over the operators, recursive descent for the rest.

use nbv_diag::{Diagnostic, Severity, Span};

use crate::ast::{
    AttrDef, AttrSet, AttrValue, DynamicDef, E, Expr, ExprKind, Formal, Formals, Key, Lambda, Op, Parsed, SelectRest, SetId,
};
use crate::lexer::{Lexer, Part, T, Token};
use crate::{Arena, Features, Symbol, Symbols};

mod bindings;
mod strings;

type R<T> = Result<T, Box<Diagnostic>>;

/// What to do about a discouraged form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lint {
    #[default]
    Ignore,
    Warn,
    Fatal,
}

/// How to parse.
#[derive(Debug, Clone, Default)]
pub struct ParseOptions<'o> {
    /// Absolute folder that relative paths start from.
    pub base_path: &'o [u8],
    pub features: Features,
    /// Lowest stack address to use; 0 when unknown (nesting is then limited by count alone).
    pub stack_limit: usize,
    pub lint_url_literals: Lint,
    pub lint_short_path_literals: Lint,
    pub lint_absolute_path_literals: Lint,
}

/// Nesting that a text may have at most.
const MAX_NESTING: u32 = 10_000;

/// Parses one expression. `base` is the global position of the first byte of `text`.
///
/// ```
/// use nbv_syntax::{Arena, ParseOptions, Symbols, parse, print};
/// let (arena, symbols) = (Arena::new(), Symbols::new());
/// let parsed = parse(b"x: x.a or 1 + 2", 1, &symbols, &arena, &ParseOptions::default()).unwrap();
/// assert_eq!(print(&parsed, &symbols), b"(x: ((x).a or (1) + 2))");
/// ```
pub fn parse<'a>(
    text: &[u8],
    base: u32,
    symbols: &Symbols,
    arena: &'a Arena,
    options: &ParseOptions<'_>,
) -> Result<Parsed<'a>, Box<Diagnostic>> {
    let lexer = Lexer::new(text, base);
    let token = Token { kind: T::Eof, start: 0, end: 0 };
    let or_symbol = symbols.intern(b"or");
    let cur_pos_symbol = symbols.intern(b"__curPos");
    let mut p = Parser {
        lexer,
        token,
        symbols,
        arena,
        options,
        sets: Vec::new(),
        warnings: Vec::new(),
        depth: 0,
        last_end: 0,
        or_symbol,
        cur_pos_symbol,
    };
    p.advance()?;
    let root = p.expr()?;
    if p.token.kind != T::Eof {
        return Err(p.unexpected(&["end of file"]));
    }
    for set in &mut p.sets {
        set.clear_index();
    }
    Ok(Parsed { root, sets: p.sets, warnings: p.warnings })
}

struct Parser<'a, 't> {
    lexer: Lexer<'t>,
    token: Token,
    symbols: &'t Symbols,
    arena: &'a Arena,
    options: &'t ParseOptions<'t>,
    sets: Vec<AttrSet<'a>>,
    warnings: Vec<Diagnostic>,
    depth: u32,
    /// End of the token before the current one.
    last_end: usize,
    or_symbol: Symbol,
    cur_pos_symbol: Symbol,
}

/// Binding powers: (left, right); right < left means right-associative.
fn binary(kind: T) -> Option<(Op, u8, u8, bool)> {
    // (operator, left power, right power, is non-associative)
    Some(match kind {
        T::Arrow => (Op::Implies, 11, 10, false),
        T::OrOr => (Op::Or, 20, 21, false),
        T::AndAnd => (Op::And, 30, 31, false),
        T::EqEq => (Op::Equal, 40, 41, true),
        T::NotEq => (Op::NotEqual, 40, 41, true),
        T::Byte(b'<') => (Op::Less, 50, 51, true),
        T::Byte(b'>') => (Op::Greater, 50, 51, true),
        T::Le => (Op::LessEqual, 50, 51, true),
        T::Ge => (Op::GreaterEqual, 50, 51, true),
        T::Update => (Op::Update, 61, 60, false),
        T::Byte(b'+') => (Op::Add, 80, 81, false),
        T::Byte(b'-') => (Op::Sub, 80, 81, false),
        T::Byte(b'*') => (Op::Mul, 90, 91, false),
        T::Byte(b'/') => (Op::Div, 90, 91, false),
        T::Concat => (Op::Concat, 101, 100, false),
        _ => return None,
    })
}

const NOT_POWER: u8 = 70;
const HAS_ATTR_POWER: u8 = 110;
const NEGATE_POWER: u8 = 120;

impl<'a, 't> Parser<'a, 't> {
    #[inline]
    fn advance(&mut self) -> R<()> {
        self.last_end = self.token.end;
        self.token = self.lexer.next()?;
        Ok(())
    }

    fn span_from(&self, start: usize) -> Span {
        self.lexer.span(start, self.last_end.max(start))
    }

    fn token_span(&self) -> Span {
        self.lexer.span(self.token.start, self.token.end)
    }

    fn token_text(&self) -> &'t [u8] {
        &self.lexer.text[self.token.start..self.token.end]
    }

    #[cold]
    fn unexpected(&self, expected: &[&str]) -> Box<Diagnostic> {
        let mut message = format!("syntax error, unexpected {}", self.token.kind.describe());
        if !expected.is_empty() {
            message += &format!(", expecting {}", expected.join(" or "));
        }
        self.lexer.error(self.token.start, self.token.end, message)
    }

    fn expect(&mut self, kind: T) -> R<()> {
        if self.token.kind != kind {
            return Err(self.unexpected(&[&kind.describe()]));
        }
        self.advance()
    }

    #[inline]
    fn mk(&self, kind: ExprKind<'a>, span: Span) -> E<'a> {
        self.arena.alloc(Expr { kind, span })
    }

    fn new_set(&mut self, set: AttrSet<'a>) -> SetId {
        self.sets.push(set);
        SetId(self.sets.len() as u32 - 1)
    }

    /// Runs `f` one level deeper.
    #[inline]
    fn nested<V>(&mut self, f: impl FnOnce(&mut Self) -> R<V>) -> R<V> {
        let here = 0u8;
        if self.depth >= MAX_NESTING || (&raw const here as usize) < self.options.stack_limit {
            return Err(self.lexer.error(self.token.start, self.token.end, "expressions are nested too deeply"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    fn expr(&mut self) -> R<E<'a>> {
        self.nested(|p| p.expr_function())
    }

    fn expr_function(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        match self.token.kind {
            T::Id => {
                let next = self.lexer.skip_trivia(self.token.end);
                match self.lexer.at(next) {
                    b':' => {
                        let arg = Some((self.symbols.intern(self.token_text()), self.token_span()));
                        self.advance()?;
                        self.advance()?;
                        let body = self.expr()?;
                        return Ok(self.lambda(start, arg, None, body));
                    }
                    b'@' => {
                        let arg = (self.symbols.intern(self.token_text()), self.token_span());
                        self.advance()?;
                        self.advance()?;
                        if self.token.kind != T::Byte(b'{') {
                            return Err(self.unexpected(&["`{`"]));
                        }
                        let formals = self.formals(Some(arg))?;
                        self.expect(T::Byte(b':'))?;
                        let body = self.expr()?;
                        return Ok(self.lambda(start, Some(arg), Some(formals), body));
                    }
                    _ => {}
                }
                self.expr_pipe()
            }
            T::Byte(b'{') if self.is_formals() => {
                let mut formals_at = None;
                let formals = self.formals(None)?;
                if self.token.kind == T::Byte(b'@') {
                    self.advance()?;
                    if self.token.kind != T::Id {
                        return Err(self.unexpected(&["identifier"]));
                    }
                    let arg = (self.symbols.intern(self.token_text()), self.token_span());
                    if formals.list.iter().any(|f| f.name == arg.0) {
                        return Err(self.duplicate_formal(arg.0, arg.1));
                    }
                    formals_at = Some(arg);
                    self.advance()?;
                }
                self.expect(T::Byte(b':'))?;
                let body = self.expr()?;
                Ok(self.lambda(start, formals_at, Some(formals), body))
            }
            T::Assert => {
                self.advance()?;
                let cond = self.expr()?;
                self.expect(T::Byte(b';'))?;
                let body = self.expr()?;
                Ok(self.mk(ExprKind::Assert(cond, body), self.span_from(start)))
            }
            T::With => {
                self.advance()?;
                let set = self.expr()?;
                self.expect(T::Byte(b';'))?;
                let body = self.expr()?;
                Ok(self.mk(ExprKind::With(set, body), self.span_from(start)))
            }
            T::Let if self.lexer.at(self.lexer.skip_trivia(self.token.end)) != b'{' => {
                self.advance()?;
                let set = self.binds(T::In)?;
                if let Some(d) = self.sets[set.0 as usize].dynamic.first() {
                    let span = d.span;
                    return Err(self.diagnostic(span, "dynamic attributes not allowed in let"));
                }
                self.expect(T::In)?;
                let body = self.expr()?;
                Ok(self.mk(ExprKind::Let { set, body }, self.span_from(start)))
            }
            T::If => {
                self.advance()?;
                let cond = self.expr()?;
                self.expect(T::Then)?;
                let yes = self.expr()?;
                self.expect(T::Else)?;
                let no = self.expr()?;
                let parts = self.arena.alloc([cond, yes, no]);
                Ok(self.mk(ExprKind::If(parts), self.span_from(start)))
            }
            _ => self.expr_pipe(),
        }
    }

    #[cold]
    fn diagnostic(&self, span: Span, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::error("syntax::error", message).at(span))
    }

    #[cold]
    fn duplicate_formal(&self, name: Symbol, span: Span) -> Box<Diagnostic> {
        self.diagnostic(span, format!("duplicate formal function argument `{}`", self.symbols.display(name)))
    }

    fn lambda(&self, start: usize, arg: Option<(Symbol, Span)>, formals: Option<Formals<'a>>, body: E<'a>) -> E<'a> {
        let lambda = self.arena.alloc(Lambda { arg, formals, body });
        self.mk(ExprKind::Lambda(lambda), self.span_from(start))
    }

    /// Whether the `{` at the current token begins a pattern.
    fn is_formals(&self) -> bool {
        let l = &self.lexer;
        let i = l.skip_trivia(self.token.end);
        let colon = |i: usize| matches!(l.at(l.skip_trivia(i)), b':' | b'@');
        match l.at(i) {
            b'}' => colon(i + 1),
            b'.' => l.at(i + 1) == b'.',
            b if b.is_ascii_alphabetic() || b == b'_' => {
                let mut end = i + 1;
                while l.at(end).is_ascii_alphanumeric() || matches!(l.at(end), b'_' | b'\'' | b'-') {
                    end += 1;
                }
                let next = l.skip_trivia(end);
                match l.at(next) {
                    b',' | b'?' => true,
                    b'}' => true,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// `{ a, b ? c, ... }`, from the `{` on.
    fn formals(&mut self, arg: Option<(Symbol, Span)>) -> R<Formals<'a>> {
        self.expect(T::Byte(b'{'))?;
        let mut list: Vec<Formal<'a>> = Vec::new();
        let mut has_ellipsis = false;
        loop {
            match self.token.kind {
                T::Byte(b'}') => break,
                T::Ellipsis => {
                    has_ellipsis = true;
                    self.advance()?;
                    break;
                }
                T::Id => {
                    let span = self.token_span();
                    let name = self.symbols.intern(self.token_text());
                    self.advance()?;
                    let mut default = None;
                    if self.token.kind == T::Byte(b'?') {
                        self.advance()?;
                        default = Some(self.expr()?);
                    }
                    list.push(Formal { name, span, default });
                    match self.token.kind {
                        T::Byte(b',') => self.advance()?,
                        T::Byte(b'}') => break,
                        _ => return Err(self.unexpected(&["`}`", "`,`"])),
                    }
                }
                _ => return Err(self.unexpected(&["identifier", "`...`", "`}`"])),
            }
        }
        self.expect(T::Byte(b'}'))?;
        list.sort_by_key(|f| f.name);
        if let Some(pair) = list.windows(2).find(|w| w[0].name == w[1].name) {
            return Err(self.duplicate_formal(pair[1].name, pair[1].span));
        }
        if let Some(f) = arg.and_then(|arg| list.iter().find(|f| f.name == arg.0)) {
            return Err(self.duplicate_formal(f.name, f.span));
        }
        Ok(Formals { list: self.arena.slice(&list), has_ellipsis })
    }

    fn expr_pipe(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let mut left = self.expr_op(0)?;
        match self.token.kind {
            T::PipeInto => {
                while self.token.kind == T::PipeInto {
                    self.check_pipes()?;
                    self.advance()?;
                    let f = self.expr_op(0)?;
                    left = self.call(f, left, start);
                }
                if self.token.kind == T::PipeFrom {
                    return Err(self.unexpected(&[]));
                }
            }
            T::PipeFrom => {
                self.check_pipes()?;
                self.advance()?;
                let arg = self.nested(|p| p.expr_pipe_from())?;
                left = self.call(left, arg, start);
            }
            _ => {}
        }
        Ok(left)
    }

    /// Right operand of `<|`.
    fn expr_pipe_from(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let left = self.expr_op(0)?;
        if self.token.kind != T::PipeFrom {
            return Ok(left);
        }
        self.advance()?;
        let arg = self.nested(|p| p.expr_pipe_from())?;
        Ok(self.call(left, arg, start))
    }

    fn check_pipes(&self) -> R<()> {
        if self.options.features.pipe_operators {
            return Ok(());
        }
        let mut d = Diagnostic::error("syntax::experimental", "experimental feature `pipe-operators` is disabled");
        d.hints.push("`--extra-experimental-features pipe-operators` enables it".into());
        Err(Box::new(d.at(self.token_span())))
    }

    fn call(&self, f: E<'a>, arg: E<'a>, start: usize) -> E<'a> {
        // Calls are flat, whether or not the function was in parentheses.
        let items = match f.kind {
            ExprKind::Call(items) => self.arena.slice(&[items, &[arg]].concat()),
            _ => self.arena.slice(&[f, arg]),
        };
        self.mk(ExprKind::Call(items), self.span_from(start))
    }

    fn expr_op(&mut self, min: u8) -> R<E<'a>> {
        let start = self.token.start;
        let mut left = match self.token.kind {
            T::Byte(b'!') => {
                self.advance()?;
                let e = self.nested(|p| p.expr_op(NOT_POWER))?;
                self.mk(ExprKind::Not(e), self.span_from(start))
            }
            T::Byte(b'-') => {
                self.advance()?;
                let e = self.nested(|p| p.expr_op(NEGATE_POWER))?;
                self.mk(ExprKind::Negate(e), self.span_from(start))
            }
            _ => self.expr_app()?,
        };
        let mut ceiling = u8::MAX;
        loop {
            if self.token.kind == T::Byte(b'?') {
                if HAS_ATTR_POWER < min || HAS_ATTR_POWER >= ceiling {
                    return Ok(left);
                }
                self.advance()?;
                let path = self.attr_path()?;
                left = self.mk(ExprKind::HasAttr { base: left, path }, self.span_from(start));
                ceiling = HAS_ATTR_POWER;
                continue;
            }
            let Some((op, left_power, right_power, is_single)) = binary(self.token.kind) else { return Ok(left) };
            if left_power < min {
                return Ok(left);
            }
            if left_power >= ceiling {
                return Err(self.unexpected(&[]));
            }
            self.advance()?;
            let right = self.nested(|p| p.expr_op(right_power))?;
            left = self.mk(ExprKind::Binary(op, left, right), self.span_from(start));
            ceiling = if is_single { left_power } else { u8::MAX };
        }
    }

    fn starts_simple(&self) -> bool {
        matches!(
            self.token.kind,
            T::Id | T::Int | T::Float | T::Path | T::HomePath | T::SearchPath | T::Uri | T::Let | T::Rec | T::Quote | T::IndOpen
                | T::Byte(b'(') | T::Byte(b'{') | T::Byte(b'[')
        )
    }

    fn expr_app(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let f = self.expr_select()?;
        if !self.starts_simple() {
            return Ok(f);
        }
        let mut items: Vec<E<'a>> = match f.kind {
            ExprKind::Call(items) => items.to_vec(),
            _ => vec![f],
        };
        while self.starts_simple() {
            items.push(self.expr_select()?);
        }
        Ok(self.mk(ExprKind::Call(self.arena.slice(&items)), self.span_from(start)))
    }

    fn expr_select(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let base = self.expr_simple()?;
        match self.token.kind {
            T::Byte(b'.') => {
                self.advance()?;
                let path = self.attr_path()?;
                let mut default = None;
                if self.token.kind == T::OrKw {
                    self.advance()?;
                    default = Some(self.nested(|p| p.expr_select())?);
                }
                let rest = self.arena.alloc(SelectRest { path, default });
                Ok(self.mk(ExprKind::Select { base, rest }, self.span_from(start)))
            }
            T::OrKw => {
                // Compat: `f or` applies `f` to a variable named `or`.
                let or = self.mk(ExprKind::Var(self.or_symbol), self.token_span());
                self.advance()?;
                Ok(self.mk(ExprKind::Call(self.arena.slice(&[base, or])), self.span_from(start)))
            }
            _ => Ok(base),
        }
    }

    fn attr_path(&mut self) -> R<&'a [Key<'a>]> {
        let first = self.key()?;
        if self.token.kind != T::Byte(b'.') {
            return Ok(self.arena.slice(&[first]));
        }
        let mut path = vec![first];
        while self.token.kind == T::Byte(b'.') {
            self.advance()?;
            path.push(self.key()?);
        }
        Ok(self.arena.slice(&path))
    }

    fn key(&mut self) -> R<Key<'a>> {
        let start = self.token.start;
        match self.token.kind {
            T::Id | T::OrKw => {
                let symbol = self.symbols.intern(self.token_text());
                let span = self.token_span();
                self.advance()?;
                Ok(Key::Static(symbol, span))
            }
            T::Quote => {
                let e = self.string()?;
                Ok(self.string_key(e))
            }
            T::DollarCurly => {
                self.advance()?;
                let e = self.expr()?;
                self.expect(T::Byte(b'}'))?;
                let span = self.span_from(start);
                Ok(match e.kind {
                    ExprKind::String(_) => self.string_key(e),
                    kind => Key::Dynamic(self.mk(kind, span)),
                })
            }
            _ => Err(self.unexpected(&["identifier", "`or`", "`${`", "`\"`"])),
        }
    }

    fn string_key(&self, e: E<'a>) -> Key<'a> {
        match e.kind {
            ExprKind::String(text) => Key::Static(self.symbols.intern(text), e.span),
            _ => Key::Dynamic(e),
        }
    }

    fn expr_simple(&mut self) -> R<E<'a>> {
        let start = self.token.start;
        let text = self.token_text();
        let span = self.token_span();
        let kind = match self.token.kind {
            T::Id => match self.symbols.intern(text) {
                symbol if symbol == self.cur_pos_symbol => ExprKind::CurPos,
                symbol => ExprKind::Var(symbol),
            },
            T::Int => match std::str::from_utf8(text).ok().and_then(|t| t.parse::<i64>().ok()) {
                Some(n) => ExprKind::Int(n),
                None => {
                    let message = format!("invalid integer `{}`", String::from_utf8_lossy(text));
                    return Err(self.diagnostic(span, message));
                }
            },
            T::Float => match float(text) {
                Some(x) => ExprKind::Float(x),
                None => {
                    return Err(self.diagnostic(span, format!("invalid float `{}`", String::from_utf8_lossy(text))));
                }
            },
            T::Quote => return self.string(),
            T::IndOpen => return self.indented_string(),
            T::Path | T::HomePath => return self.path(),
            T::SearchPath => ExprKind::SearchPath(self.arena.slice(&text[1..text.len() - 1])),
            T::Uri => {
                self.lint(self.options.lint_url_literals, span, || {
                    format!("URL literals are discouraged; write the string \"{}\" instead", String::from_utf8_lossy(text))
                })?;
                ExprKind::String(self.arena.slice(text))
            }
            T::Byte(b'(') => {
                self.advance()?;
                let e = self.expr()?;
                self.expect(T::Byte(b')'))?;
                return Ok(e);
            }
            T::Let => {
                self.advance()?;
                self.expect(T::Byte(b'{'))?;
                let set = self.binds(T::Byte(b'}'))?;
                self.expect(T::Byte(b'}'))?;
                self.sets[set.0 as usize].is_recursive = true;
                return Ok(self.mk(ExprKind::LetBody(set), self.span_from(start)));
            }
            T::Rec => {
                self.advance()?;
                self.expect(T::Byte(b'{'))?;
                let set = self.binds(T::Byte(b'}'))?;
                self.expect(T::Byte(b'}'))?;
                self.sets[set.0 as usize].is_recursive = true;
                return Ok(self.mk(ExprKind::Set(set), self.span_from(start)));
            }
            T::Byte(b'{') => {
                self.advance()?;
                let set = self.binds(T::Byte(b'}'))?;
                self.expect(T::Byte(b'}'))?;
                return Ok(self.mk(ExprKind::Set(set), self.span_from(start)));
            }
            T::Byte(b'[') => {
                self.advance()?;
                let mut items = Vec::new();
                while self.token.kind != T::Byte(b']') {
                    if !self.starts_simple() {
                        return Err(self.unexpected(&[]));
                    }
                    items.push(self.nested(|p| p.expr_select())?);
                }
                self.advance()?;
                return Ok(self.mk(ExprKind::List(self.arena.slice(&items)), self.span_from(start)));
            }
            T::OrKw => return Err(self.unexpected(&[])),
            _ => return Err(self.unexpected(&[])),
        };
        self.advance()?;
        Ok(self.mk(kind, span))
    }

    fn lint(&mut self, level: Lint, span: Span, message: impl FnOnce() -> String) -> R<()> {
        let severity = match level {
            Lint::Ignore => return Ok(()),
            Lint::Warn => Severity::Warning,
            Lint::Fatal => Severity::Error,
        };
        let mut d = Diagnostic::error("syntax::lint", message()).at(span);
        d.severity = severity;
        if severity == Severity::Error {
            return Err(Box::new(d));
        }
        self.warnings.push(d);
        Ok(())
    }
}

/// A float literal; out of range (also denormal) is none, as `strtod` has it.
fn float(text: &[u8]) -> Option<f64> {
    let x: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let is_zero = text.iter().take_while(|b| !matches!(b, b'e' | b'E')).all(|b| matches!(b, b'0' | b'.'));
    (x.is_normal() || is_zero).then_some(x)
}
