//! The evaluator as a library: evaluations do not know of each other; deep laziness.

use std::path::Path;
use std::sync::Arc;

use nbv_eval::{Evaluator, Heap, Nowhere, PrimOp, Settings};

#[test]
fn evaluations_on_several_threads_do_not_know_of_each_other() {
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            scope.spawn(move || {
                nbv_eval::on_big_stack(|| {
                    let heap = Heap::new();
                    // A builtin of the same name in each, with another result.
                    let mine = PrimOp::closure("mine", 1, Arc::new(move |ev, args| Ok(nbv_eval::Value::int(ev.force_int(args[0])? * 10 + thread))));
                    let ev = Evaluator::new(&heap, Arc::new(Nowhere), Settings::default(), vec![mine]);
                    for n in 0..200 {
                        let value = ev.eval_expr(format!("builtins.mine (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: 1) {n}))"), Path::new("/"));
                        assert_eq!(value.unwrap().as_int(), Some(n * 10 + thread));
                    }
                });
            });
        }
    });
}

#[test]
fn a_chain_of_a_million_values_is_forced() {
    nbv_eval::on_big_stack(|| {
        let heap = Heap::new();
        let settings = Settings { max_call_depth: 10_000_000, ..Settings::default() };
        let ev = Evaluator::new(&heap, Arc::new(Nowhere), settings, vec![]);
        for text in [
            "let go = i: acc: if i == 1000000 then acc else go (i + 1) (acc + i); in go 0 0",
            "builtins.head (builtins.foldl' (a: b: [ (builtins.head a + b) ]) [ 0 ] (builtins.genList (x: x) 1000000))",
        ] {
            match ev.eval_expr(text, Path::new("/")) {
                Ok(v) => assert_eq!(v.as_int(), Some(499_999_500_000)),
                // A machine that gives no large stack says so.
                Err(e) => assert_eq!(e.code(), "eval::stack-overflow"),
            }
        }
    });
}
