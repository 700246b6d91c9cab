# Looking at values while they are evaluated; tests of functions.
{ lib }:
let
  inherit (builtins) attrNames filter hasAttr isAttrs isFunction isList map mapAttrs substring trace deepSeq seq;
  shorten = depth: v:
    if depth == 0 then
      (if isList v then (if v == [ ] then [ ] else "[…]")
      else if isAttrs v then (if v == { } then { } else "{…}")
      else v)
    else if isList v then map (shorten (depth - 1)) v
    else if isAttrs v then mapAttrs (_: shorten (depth - 1)) v
    else v;
in
rec {
  traceIf = pred: msg: x: if pred then trace msg x else x;
  traceValFn = f: x: trace (f x) x;
  traceVal = traceValFn lib.id;
  traceSeq = x: y: trace (deepSeq x x) y;
  traceSeqN = depth: x: y:
    let s = lib.generators.toPretty { } (shorten depth x); in trace (deepSeq s s) y;
  traceValSeqFn = f: v: traceValFn f (deepSeq v v);
  traceValSeq = traceValSeqFn lib.id;
  traceValSeqNFn = f: depth: v: traceSeqN depth (f v) v;
  traceValSeqN = traceValSeqNFn lib.id;
  traceFnSeqN = depth: name: f: v:
    let res = f v; in
    traceSeqN (depth + 1) { fn = name; from = v; to = res; } res;
  addErrorContext = builtins.addErrorContext;
  unknownModule = "<unknown-file>";
  # The tests { testX = { expr; expected; } } that do not hold: list of { name, expected, result }.
  runTests = tests:
    lib.concatMap
      (name:
        let
          test = tests.${name};
          expr = if test ? expected then test.expr else (builtins.tryEval (deepSeq test.expr test.expr)).success;
          expected = test.expected or (!(test ? expectedError));
        in
        if (lib.hasPrefix "test" name || builtins.elem name (tests.tests or [ ])) && expr != expected
        then [ { inherit name expected; result = expr; } ] else [ ])
      (filter (n: n != "tests") (attrNames tests));
  throwTestFailures = { failures, description ? "tests", ... }:
    if failures == [ ] then [ ]
    else throw "${toString (builtins.length failures)} ${description} failed:\n${lib.concatMapStringsSep "\n" (f: "- ${f.name}: expected ${lib.generators.toPretty { } f.expected}, got ${lib.generators.toPretty { } f.result}") failures}";
  testAllTrue = expr: { inherit expr; expected = map (_: true) expr; };
}
