# The type of values in unit files.
{ lib }:
let
  inherit (lib) types;
  scalar = types.oneOf [ types.bool types.int types.float types.str types.path types.package ];
  check = v:
    builtins.isString v || builtins.isInt v || builtins.isBool v || builtins.isList v || v == null || scalar.check v;
in
{
  # A scalar, or a list: a line each. An empty text in the list clears what was said before.
  unitOption = lib.mkOptionType {
    name = "systemd option";
    description = "systemd option: a boolean, number, text, path, package, or a list of them";
    inherit check;
    merge = loc: defs:
      if builtins.length defs == 1 then (builtins.head defs).value
      else if builtins.any (d: builtins.isList d.value) defs then
        lib.concatMap (d: lib.toList d.value) defs
      else lib.mergeEqualOption loc defs;
  };
}
