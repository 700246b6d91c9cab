# Assertions with messages; for `assert`.
{ lib }:
rec {
  assertMsg = pred: message: pred || builtins.throw message;
  assertOneOf = name: value: valid:
    assertMsg (builtins.elem value valid)
      "${name} must be one of ${lib.generators.toPretty { } valid}, but is: ${lib.generators.toPretty { } value}";
  assertEachOneOf = name: values: valid:
    assertMsg (builtins.all (v: builtins.elem v valid) values)
      "each element in ${name} must be one of ${lib.generators.toPretty { } valid}, but is: ${lib.generators.toPretty { } values}";
  checkAssertWarn = assertions: warnings: value:
    let
      failed = map (x: x.message) (builtins.filter (x: !x.assertion) assertions);
    in
    if failed != [ ] then throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (x: "- ${x}") failed}"
    else lib.showWarnings warnings value;
}
