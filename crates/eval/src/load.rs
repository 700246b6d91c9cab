//! Texts and files: parse, compile, evaluate, import once.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nbv_diag::Origin;
use nbv_syntax::{Arena, ParseOptions, Parsed, parse};

use crate::compile::{Compiled, ExtraScope, compile};
use crate::env::Env;
use crate::error::{EvalError, ResultExt};
use crate::evaluator::Evaluator;
use crate::primop::PrimOp;
use crate::sym;
use crate::value::{Attr, Attrs, EvalResult, Ref, Str, Value, View};
use crate::world::FileKind;

/// Loads one resolved file; the argument is its path as a string.
static LOAD_FILE: PrimOp = PrimOp::new("import", 1, |ev, args| {
    let path = ev.force_string(args[0])?;
    ev.load_file(&to_path(path.bytes()), None)
});

/// Bytes of a path value as a path.
pub(crate) fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

impl<'h> Evaluator<'h> {
    /// Evaluates an expression; relative paths in it start at `base`.
    pub fn eval_expr(&self, text: impl AsRef<[u8]>, base: &Path) -> EvalResult<Value<'h>> {
        self.eval_source(Origin::String, text.as_ref(), base)
    }

    /// Evaluates a text of any origin.
    pub fn eval_source(&self, origin: Origin, text: &[u8], base: &Path) -> EvalResult<Value<'h>> {
        let code = self.load(origin, text, base, None)?;
        self.run_code(&code)
    }

    /// Evaluates a file, or the `default.nix` of a folder. Each file is evaluated once.
    pub fn eval_file(&self, path: &Path) -> EvalResult<Value<'h>> {
        self.force(self.import_cell(path)?)
    }

    /// The desugared text of an expression, as `--parse` prints it. Undefined variables are errors.
    pub fn parse_to_text(&self, origin: Origin, text: &[u8], base: &Path) -> EvalResult<Vec<u8>> {
        self.with_parsed(origin, text, base, |ev, parsed| {
            compile(ev, parsed, None)?;
            Ok(nbv_syntax::print(parsed, ev.symbols()))
        })
    }

    fn with_parsed<T>(
        &self,
        origin: Origin,
        text: &[u8],
        base: &Path,
        f: impl FnOnce(&Self, &Parsed<'_>) -> EvalResult<T>,
    ) -> EvalResult<T> {
        let source = self.shared.sources.add(origin, Arc::from(text));
        // Perf: the tree is only needed until it is compiled; its memory is used again for the next file.
        let mut arena = self.parse_arena.take().unwrap_or_else(Arena::new);
        arena.reset();
        let settings = &self.shared.settings;
        let options = ParseOptions {
            base_path: base.as_os_str().as_bytes(),
            features: settings.features.clone(),
            stack_limit: self.stack_limit,
            lint_url_literals: settings.lint_url_literals,
            lint_short_path_literals: settings.lint_short_path_literals,
            lint_absolute_path_literals: settings.lint_absolute_path_literals,
        };
        let result = match parse(&source.text, source.base, self.symbols(), &arena, &options) {
            Ok(parsed) => self.tell_warnings(&parsed).and_then(|()| f(self, &parsed)),
            Err(d) => Err(EvalError::from(*d)),
        };
        self.parse_arena.set(Some(arena));
        result
    }

    fn tell_warnings(&self, parsed: &Parsed<'_>) -> EvalResult<()> {
        for warning in &parsed.warnings {
            let options = nbv_diag::RenderOptions::default();
            let text = nbv_diag::render(warning, &self.shared.sources, &options);
            let text = text.strip_prefix("warning[syntax::lint]: ").unwrap_or(&text);
            self.say(crate::world::MessageKind::Warning, text.trim_end())?;
        }
        Ok(())
    }

    fn load(&self, origin: Origin, text: &[u8], base: &Path, extra: Option<&ExtraScope<'h>>) -> EvalResult<Compiled<'h>> {
        self.with_parsed(origin, text, base, |ev, parsed| compile(ev, parsed, extra))
    }

    fn run_code(&self, code: &Compiled<'h>) -> EvalResult<Value<'h>> {
        let frame = Env::new(self.arena, std::ptr::null(), code.frame as usize);
        self.eval(frame, code.root)
    }

    fn load_file(&self, path: &Path, extra: Option<&ExtraScope<'h>>) -> EvalResult<Value<'h>> {
        let text = match crate::builtins::core_file(path) {
            Some(text) => text.to_vec(),
            None => self.world().read_file(path).map_err(|e| self.io_error("cannot read", path, e))?,
        };
        let base = path.parent().unwrap_or(Path::new("/"));
        let code = self.load(Origin::File(path.to_owned()), &text, base, extra)?;
        self.run_code(&code)
    }

    /// "cannot read `/x`: no such file".
    #[cold]
    pub fn io_error(&self, what: &str, path: &Path, e: crate::world::WorldError) -> EvalError {
        EvalError::new("eval::io", format!("{what} `{}`: {}", path.display(), e.message)).told(e)
    }

    /// The cell of a file's value.
    pub fn import_cell(&self, path: &Path) -> EvalResult<Ref<'h>> {
        let imports = || self.shared.imports.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(&cell) = imports().get(path) {
            return Ok(cell);
        }
        let resolved = self.resolve_file(path)?;
        let mut imports = imports();
        if let Some(&cell) = imports.get(&resolved) {
            return Ok(cell);
        }
        let loader = self.cell(Value::primop(&LOAD_FILE));
        let cell = self.lazy_call(loader, self.cell(self.str(resolved.as_os_str().as_bytes())));
        imports.insert(resolved, cell);
        Ok(cell)
    }

    /// Follows symbolic links of the last component and adds `default.nix` to a folder.
    pub fn resolve_file(&self, path: &Path) -> EvalResult<PathBuf> {
        let resolved = || self.shared.resolved.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = resolved().get(path) {
            return Ok(known.clone());
        }
        if crate::builtins::core_file(path).is_some() {
            return Ok(path.to_owned());
        }
        let mut at = path.to_owned();
        let world = self.world();
        for _ in 0..1024 {
            let kind = world.file_kind(&at).map_err(|e| self.io_error("cannot look at", &at, e))?;
            match kind {
                Some(FileKind::Symlink) => {
                    let target = world.read_link(&at).map_err(|e| self.io_error("cannot follow", &at, e))?;
                    let joined = at.parent().unwrap_or(Path::new("/")).join(target);
                    at = to_path(&crate::evaluator::normalise_path(joined.as_os_str().as_bytes()));
                }
                Some(FileKind::Directory) => {
                    at.push("default.nix");
                    break;
                }
                Some(_) => break,
                None => {
                    let e = EvalError::new("eval::io", format!("the file `{}` does not exist", at.display()));
                    return Err(e);
                }
            }
        }
        if at != path {
            resolved().insert(path.to_owned(), at.clone());
        }
        Ok(at)
    }

    /// Coerces a finished value to an absolute path, building what its context needs first.
    pub fn coerce_to_path(&self, v: Value<'h>) -> EvalResult<Str<'h>> {
        let s = match v.view() {
            View::Path(p) => return Ok(p),
            View::String(s) => s,
            _ => self.coerce_to_string(v, false, false)?,
        };
        if s.bytes().first() != Some(&b'/') {
            return Err(EvalError::new(
                "eval::path",
                format!("the string `{}` is not an absolute path", s.to_str_lossy()),
            ));
        }
        crate::builtins::realise_context(self, s)?;
        let path = crate::evaluator::normalise_path(s.bytes());
        Ok(self.make_str(&path, s.context()))
    }

    /// `builtins.import`.
    pub(crate) fn import(&self, path: Ref<'h>) -> EvalResult<Value<'h>> {
        let v = self.force(path)?;
        let path = self.coerce_to_path(v)?;
        if let Some(drv) = crate::builtins::import_drv(self, path.bytes())? {
            return Ok(drv);
        }
        let path = to_path(path.bytes());
        let cell = self.import_cell(&path)?;
        self.force(cell).frame(nbv_diag::Span::NONE, || format!("while evaluating the file `{}`", path.display()))
    }

    /// `builtins.scopedImport`: the file sees the set's attributes as variables; not cached.
    pub(crate) fn scoped_import(&self, scope: Ref<'h>, path: Ref<'h>) -> EvalResult<Value<'h>> {
        let scope = self.force_attrs(scope)?;
        let v = self.force(path)?;
        let path = to_path(self.coerce_to_path(v)?.bytes());
        let resolved = self.resolve_file(&path)?;
        let extra: ExtraScope<'h> = scope.iter().map(|a| (a.name, a.value)).collect();
        self.load_file(&resolved, Some(&extra))
    }

    /// Calls a function whose arguments are a pattern with those of `args` that it names, as
    /// `nix-instantiate` does for the top of a file. Other values stay as they are.
    pub fn auto_call(&self, v: Value<'h>, args: Attrs<'h>) -> EvalResult<Value<'h>> {
        if let Some(functor) = v.as_attrs().and_then(|a| a.get(sym::FUNCTOR)) {
            let f = self.force(functor.value)?;
            let inner = self.call(f, &[self.cell(v)])?;
            return self.auto_call(inner, args);
        }
        let Some(pattern) = v.next_parameter().and_then(|p| p.pattern) else { return Ok(v) };
        let mut given: Vec<Attr<'h>> = if pattern.has_ellipsis { args.iter().collect() } else { Vec::new() };
        for formal in pattern.formals {
            match args.get(formal.name) {
                Some(_) if pattern.has_ellipsis => {}
                Some(attr) => given.push(attr),
                None if formal.default.is_none() => {
                    let name = self.display(formal.name);
                    return Err(EvalError::new(
                        "eval::missing-argument",
                        format!("the function has an argument without a value: `{name}`"),
                    )
                    .at(nbv_diag::Span::new(formal.pos, formal.pos + self.name(formal.name).len() as u32))
                    .hint(format!("give it with `--arg {name} EXPRESSION` or `--argstr {name} STRING`")));
                }
                None => {}
            }
        }
        let given = self.cell(self.attrs(given));
        self.call(v, &[given])
    }

    /// The value at an attribute path such as `a.b.0."c.d"`, calling functions on the way with `args`.
    pub fn find_along_path(&self, v: Value<'h>, path: &str, args: Attrs<'h>) -> EvalResult<Value<'h>> {
        let mut v = v;
        for name in split_attr_path(path)? {
            v = self.auto_call(v, args)?;
            let missing = |message: String| EvalError::new("eval::missing-attribute", message);
            v = match v.view() {
                View::Attrs(attrs) => {
                    let symbol = self.intern(name.as_bytes());
                    match attrs.get(symbol) {
                        Some(attr) => self.force(attr.value)?,
                        None => {
                            let names: Vec<_> = attrs.iter().map(|a| self.display(a.name)).collect();
                            let e = missing(format!("attribute `{name}` in selection path `{path}` not found"));
                            return Err(match nbv_diag::did_you_mean(&name, names.iter().map(|n| &**n)) {
                                Some(hint) => e.hint(hint),
                                None => e,
                            });
                        }
                    }
                }
                View::List(items) => match name.parse::<usize>().ok().map(|i| items.get(i)) {
                    Some(Some(item)) => self.force(item)?,
                    Some(None) => {
                        return Err(missing(format!("list index {name} of the selection path `{path}` is out of range")));
                    }
                    None => return Err(missing(format!("`{name}` of the selection path `{path}` is not a list index"))),
                },
                _ => {
                    return Err(self.expected("a set", v).note(format!("before `{name}` of the selection path `{path}`")));
                }
            };
        }
        self.auto_call(v, args)
    }
}

fn split_attr_path(path: &str) -> EvalResult<Vec<String>> {
    let mut parts = Vec::new();
    if path.is_empty() {
        return Ok(parts);
    }
    let mut part = String::new();
    let mut is_quoted = false;
    for c in path.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    if is_quoted {
        return Err(EvalError::invalid(format!("missing closing quote in the selection path `{path}`")));
    }
    parts.push(part);
    Ok(parts)
}
