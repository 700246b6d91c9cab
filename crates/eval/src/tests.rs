//! The language, by small programs: text in, printed value or error code and place out.

use std::path::Path;

use crate::testing::{with_evaluator, with_files};

/// Each program's strict value, as printed.
fn check_values(programs: &[(&str, &str)]) {
    with_evaluator(|ev| {
        for (text, expect) in programs {
            let printed = ev.eval_expr(text, Path::new("/base")).and_then(|v| {
                ev.force_deep(ev.cell(v))?;
                ev.print(v)
            });
            match printed {
                Ok(out) => assert_eq!(String::from_utf8_lossy(&out), *expect, "of {text}"),
                Err(e) => panic!("{text}: {e:?}"),
            }
        }
    });
}

/// Each program's error code and the text that the error marks.
fn check_errors(programs: &[(&str, &str, &str)]) {
    with_evaluator(|ev| {
        for (text, code, marked) in programs {
            let result = ev.eval_expr(text, Path::new("/")).and_then(|v| ev.force_deep(ev.cell(v)));
            let Err(e) = result else { panic!("{text} does not fail") };
            assert_eq!(e.code(), *code, "of {text}");
            let span = e.diagnostic().primary;
            let source = ev.sources().source_of(span.pos()).unwrap_or_else(|| panic!("{text}: no place"));
            let range = (span.start - source.base) as usize..(span.end - source.base) as usize;
            assert_eq!(String::from_utf8_lossy(&source.text[range]), *marked, "of {text}");
        }
    });
}

#[test]
fn scopes_nest_and_shadow() {
    check_values(&[
        ("let x = 1; in let y = x; x = 2; in [ x y ]", "[ 2 2 ]"),
        ("let a = b; b = 1; in a", "1"),
        ("rec { a = b + 1; b = 2; }", "{ a = 3; b = 2; }"),
        ("let x = 1; in { inherit x; y = rec { inherit x; z = x; }; }", "{ x = 1; y = { x = 1; z = 1; }; }"),
        ("let x = 1; in with { x = 2; y = 3; }; [ x y ]", "[ 1 3 ]"),
        ("with { x = 1; }; with { x = 2; }; x", "2"),
        ("with { a = with { b = 5; }; b; }; a", "5"),
        ("(a: b: c: [ a b c ]) 1 2 3", "[ 1 2 3 ]"),
        ("let f = a: b: c: [ a b c ]; g = f 1; h = g 2; in [ (h 3) (h 4) (g 5 6) ]", "[ [ 1 2 3 ] [ 1 2 4 ] [ 1 5 6 ] ]"),
        ("(a: a: a) 1 2", "2"),
        ("let f = x: let y = x + 1; g = z: y + z; in if x > 3 then g 1 else let w = f (x + 1); in w + g 0; in f 1", "15"),
        ("let map' = f: xs: [ (let y = 1; in f y) (let y = 2; in f y) ]; in map' (y: y * 10) [ ]", "[ 10 20 ]"),
        ("let { body = a; a = 7; }", "7"),
        ("let __sub = a: b: \"shadow\"; in 5 - 2", "\"shadow\""),
        ("with { __sub = a: b: 0; }; 5 - 2", "3"),
        ("(rec { __overrides = { a = 2; }; x = a; a = 1; }).x", "2"),
    ]);
}

#[test]
fn patterns_bind_defaults_and_the_whole() {
    check_values(&[
        ("({ a, b ? a + 1, ... }@all: [ a b all.c ]) { a = 1; c = 3; }", "[ 1 2 3 ]"),
        ("(all@{ a ? all.b, b }: a) { b = 4; }", "4"),
        ("(x: { a ? x, b ? a }: [ a b ]) 1 { }", "[ 1 1 ]"),
        ("builtins.functionArgs ({ a, b ? 1 }: a)", "{ a = false; b = true; }"),
        ("builtins.functionArgs ((x: { a }: a) 1)", "{ a = false; }"),
        ("builtins.functionArgs (x: { a }: a)", "{ }"),
    ]);
    check_errors(&[
        ("({ a }: a) { }", "eval::missing-argument", "({ a }: a) { }"),
        ("({ a }: a) { a = 1; bb = 2; }", "eval::unexpected-argument", "({ a }: a) { a = 1; bb = 2; }"),
        ("({ a, a }: a) { }", "syntax::error", "a"),
    ]);
}

#[test]
fn sets_merge_while_they_are_read() {
    check_values(&[
        ("{ a.b = 1; a = { c = 2; }; a.d.e = 3; }", "{ a = { b = 1; c = 2; d = { e = 3; }; }; }"),
        ("{ ${\"x\"} = 1; ${null} = 2; }", "{ x = 1; }"),
        ("let s = \"q\"; in { a.${s}.c = 1; }", "{ a = { q = { c = 1; }; }; }"),
        ("{ a = { b = 1; }; } // { a = 2; c = 3; }", "{ a = 2; c = 3; }"),
        ("{ a.b = 1; } ? a.b && !({ } ? a.b)", "true"),
        ("{ a.b = 1; }.a.c or 5 + 1", "6"),
        ("{ inherit (rec { a = 1; b = a; }) a b; }", "{ a = 1; b = 1; }"),
        ("builtins.attrNames { b = 1; a = 2; \"1\" = 3; _x = 4; }", "[ \"1\" \"_x\" \"a\" \"b\" ]"),
    ]);
    check_errors(&[
        ("{ a = 1; a = 2; }", "syntax::duplicate-attribute", "a"),
        ("{ a.b = 1; a.b = 2; }", "syntax::duplicate-attribute", "a.b"),
        ("{ a = 1; }.bcd", "eval::missing-attribute", "{ a = 1; }.bcd"),
        ("(1).a", "eval::type", "1"),
    ]);
}

#[test]
fn strings_and_paths_read_as_in_cpp_nix() {
    check_values(&[
        ("\"a\\n\\t\\\"\\${x}$${y}\"", "\"a\\n\\t\\\"\\${x}$\\${y}\""),
        ("''\n    a\n      b ''${x} ''\\n\n  ''", "\"a\\n  b \\${x} \\n\\n\""),
        ("''  x''", "\"x\""),
        ("[ ./a/../b /c/./d ]", "[ /base/b /c/d ]"),
        ("./a + \"/../b\"", "/base/b"),
        ("[ http://x.org/y x:x ]", "[ \"http://x.org/y\" \"x:x\" ]"),
        ("let x = \"q\"; in ./a-${x}/b", "/base/a-q/b"),
        ("[ 01.5 0.5.5 ]", "[ 1 0.5 0.5 0.5 ]"),
    ]);
}

#[test]
fn operators_have_their_precedence() {
    check_values(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("-1 + 2", "1"),
        ("!true || true && false == false -> true", "true"),
        ("[ 1 ] ++ [ 2 ] ++ [ 3 ] == [ 1 2 3 ]", "true"),
        ("{ a = 1; } // { b = 2; } == { b = 2; a = 1; }", "true"),
        ("[ 1 2 ] < [ 1 3 ] && \"a\" < \"b\" && 1 < 1.5", "true"),
        ("1 == 1.0 && (x: x) != (x: x)", "true"),
        ("let f = x: x; in [ f ] == [ f ]", "true"),
        ("-(-0.0)", "0"),
    ]);
    check_errors(&[
        ("1 == 2 == 3", "syntax::error", "=="),
        ("9223372036854775807 + 1", "eval::overflow", "9223372036854775807 + 1"),
        ("(-9223372036854775807 - 1) / -1", "eval::overflow", "(-9223372036854775807 - 1) / -1"),
        ("1 / 0", "eval::division-by-zero", "1 / 0"),
        ("[ ] < { }", "eval::type", "[ ] < { }"),
        ("1 + \"a\"", "eval::type", "\"a\""),
    ]);
}

#[test]
fn failures_are_caught_and_come_again() {
    check_values(&[
        ("let x = throw \"x\"; in [ (builtins.tryEval x) (builtins.tryEval x) ]", "[ { success = false; value = false; } { success = false; value = false; } ]"),
        ("(builtins.tryEval (assert false; 1)).success", "false"),
        ("(builtins.tryEval { a = throw \"x\"; }).success", "true"),
    ]);
    check_errors(&[
        ("builtins.tryEval (abort \"x\")", "eval::abort", "abort \"x\""),
        ("assert 1 == 2; 3", "eval::assertion", "1 == 2"),
        ("let x = x; in x", "eval::infinite-recursion", "x"),
        ("let a = b; b = { c = a; }.c; in a", "eval::infinite-recursion", "{ c = a; }.c"),
        ("undefinedVariable", "eval::undefined-variable", "undefinedVariable"),
        ("1 2", "eval::not-a-function", "1 2"),
    ]);
}

#[test]
fn deep_recursion_is_an_error_and_no_crash() {
    check_errors(&[
        ("let f = n: 1 + f (n + 1); in f 0", "eval::stack-overflow", "f (n + 1)"),
        ("(x: x x) (x: x x)", "eval::stack-overflow", "x x"),
        ("let a = { __functor = self: self; }; in a 1", "eval::stack-overflow", "a 1"),
        ("let xs = builtins.genList (i: if i == 0 then 0 else builtins.elemAt xs (i - 1)) 100000; in builtins.elemAt xs 99999", "eval::stack-overflow", "builtins.elemAt xs (i - 1)"),
    ]);
    check_values(&[("let f = n: if n == 0 then 0 else 1 + f (n - 1); in f 9000", "9000")]);
}

#[test]
fn suggestions_come_from_what_is_in_reach() {
    with_evaluator(|ev| {
        let hint = |text: &str| {
            let e = ev.eval_expr(text, Path::new("/")).err().unwrap();
            e.diagnostic().hints.first().cloned().unwrap_or_default()
        };
        assert_eq!(hint("{ openssh = 1; }.opensh"), "did you mean `openssh`?");
        assert_eq!(hint("let config = 1; in confg"), "did you mean `config`?");
        assert_eq!(hint("with { config = 1; }; confg"), "did you mean `config`?");
        assert_eq!(hint("({ config }: 1) { confg = 1; }"), "is it given as `confg`?");
        assert_eq!(hint("({ config ? 1 }: 1) { confg = 1; }"), "did you mean `config`?");
    });
}

#[test]
fn files_are_imported_once_and_recorded() {
    let files = [
        ("/p/default.nix", "{ a = import ./a.nix; b = (import ./a.nix).n; d = import ./d; }"),
        ("/p/a.nix", "builtins.trace \"once\" { n = 1; }"),
        ("/p/d/default.nix", "import ../a.nix"),
        ("/p/loop.nix", "import ./loop.nix"),
        ("/p/scoped.nix", "x + y"),
    ];
    with_files(&files, |ev| {
        let v = ev.eval_file(Path::new("/p")).unwrap();
        let v = ev.force_deep(ev.cell(v)).unwrap();
        assert_eq!(ev.print(v).unwrap(), b"{ a = { n = 1; }; b = 1; d = \xc2\xabrepeated\xc2\xbb; }");
        let read = ev.files_read();
        assert_eq!(read, ["/p/default.nix", "/p/a.nix", "/p/d/default.nix"].map(Path::new));
        let e = ev.eval_file(Path::new("/p/loop.nix")).err().unwrap();
        assert_eq!(e.code(), "eval::infinite-recursion");
        let v = ev.eval_expr("scopedImport { x = 1; y = 2; } /p/scoped.nix", Path::new("/")).unwrap();
        assert_eq!(v.as_int(), Some(3));
    });
}

#[test]
fn an_interrupted_evaluation_stops() {
    with_evaluator(|ev| {
        let stop = ev.interrupter();
        let endless = "builtins.genericClosure { startSet = [ { key = 0; } ]; operator = x: [ { key = x.key + 1; } ]; }";
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                stop();
            });
            let e = ev.eval_expr(endless, Path::new("/")).err().unwrap();
            assert_eq!(e.code(), "eval::interrupted");
        });
    });
}

#[test]
fn json_goes_both_ways() {
    with_evaluator(|ev| {
        let json = serde_json::json!({ "a": [1, 2.5, null, true, "x"], "b": {} });
        let v = ev.from_json(&json);
        let (back, context) = ev.to_json(ev.cell(v)).unwrap();
        assert_eq!(back, json);
        assert!(context.is_empty());
    });
}

#[test]
fn the_library_can_fail_with_a_diagnostic() {
    with_evaluator(|ev| {
        let text = "builtins.nbvError { code = \"options::unknown\"; message = \"no such option\"; hint = \"look\"; notes = [ \"n\" ]; }";
        let e = ev.eval_expr(text, Path::new("/")).err().unwrap();
        assert_eq!((e.code(), e.message()), ("options::unknown", "no such option"));
        assert_eq!((e.diagnostic().hints.as_slice(), e.diagnostic().notes.as_slice()), (&["look".to_owned()][..], &["n".to_owned()][..]));
    });
}
