//! Memory goes with the heap. Alone in its process, whose memory it looks at.

use std::path::Path;
use std::sync::Arc;

use nbv_eval::{EvalError, Evaluator, Heap, Nowhere, Settings};

fn evaluate(text: &str) -> Result<i64, EvalError> {
    let heap = Heap::new();
    let ev = Evaluator::new(&heap, Arc::new(Nowhere), Settings::default(), vec![]);
    let value = ev.eval_expr(text, Path::new("/"))?;
    ev.force_int(ev.cell(value))
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Some megabytes of values, closures, strings, contexts, patterns and errors that are caught.
const WORK: &str = r#"
  let
    numbers = builtins.genList (n: { name = "n${toString n}"; value = builtins.toString n; }) 5000;
    set = builtins.listToAttrs numbers;
    texts = builtins.attrValues (builtins.mapAttrs (n: v: "${n}=${v}") set);
    matched = builtins.filter (t: builtins.match "n([0-9]+)=.*5" t != null) texts;
    caught = builtins.filter (n: (builtins.tryEval (throw "x")).success) numbers;
    drvs = builtins.genList (n: (derivation { name = "d${toString n}"; system = "s"; builder = "b"; }).outPath) 50;
  in builtins.length matched + builtins.length caught + builtins.stringLength (builtins.concatStringsSep "" drvs) * 0
"#;

#[test]
fn memory_is_freed_with_the_heap() {
    nbv_eval::on_big_stack(|| {
        let mut after_some = 0;
        for round in 0..200 {
            assert_eq!(evaluate(WORK).unwrap(), 500);
            assert!(evaluate("builtins.length (x: x)").is_err());
            if round == 20 {
                after_some = resident();
            }
        }
        let now = resident();
        assert!(now < after_some + (8 << 20), "{} KiB after 20 rounds, {} KiB after 200", after_some >> 10, now >> 10);
    });
}
