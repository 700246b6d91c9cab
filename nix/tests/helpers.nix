# Making tests.
rec {
  is = expr: expected: { inherit expr expected; };
  # `value` must fail. Diagnostics of the project's own evaluator are not caught by tryEval: there the runner forces
  # `value` itself and looks at the error.
  fails = value: { failing = value; } // is
    (if builtins ? nbvError then false else (builtins.tryEval (builtins.deepSeq value value)).success)
    false;
}
