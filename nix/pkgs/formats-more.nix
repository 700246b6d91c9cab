# Further formats of pkgs.formats: libconfig, hocon, javaProperties, lua, php, hcl1.
#
# As formats.nix: a type of values, and a function that makes the file, with its text made during evaluation.
{ lib, pkgs, tree, scalar, json }:

let
  inherit (lib) types concatStrings concatMapStringsSep mapAttrsToList;
  isSet = v: builtins.isAttrs v && !(v ? outPath) && !(v ? __toString);
  free = description: types.attrsOf (tree description (scalar ++ [ (types.enum [ null ]) ]));

  # libconfig: groups, lists in parentheses, and what `lib` marks (hexadecimal, octal, floats, arrays).
  libconfig = rec {
    mark = kind: value: { _type = kind; inherit value; };
    value =
      v:
      if v ? _type && v._type == "array" then "[${concatMapStringsSep ", " value v.value}]"
      else if v ? _type && v._type == "list" then "(${concatMapStringsSep ", " value v.value})"
      else if v ? _type then toString v.value
      else if builtins.isBool v then (if v then "true" else "false")
      else if isSet v then "{ ${settings v}}"
      else if builtins.isList v then "(${concatMapStringsSep ", " value v})"
      else builtins.toJSON v;
    settings = set: concatStrings (mapAttrsToList (key: v: "${key} = ${value v};\n") set);
  };

  lua =
    v:
    if v == null then "nil"
    else if lib.isAttrs v && v._type or null == "lua-inline" then "(${v.expr})"
    else if isSet v then "{ ${concatMapStringsSep ", " (key: "[${builtins.toJSON key}] = ${lua v.${key}}") (builtins.attrNames v)} }"
    else if builtins.isList v then "{ ${concatMapStringsSep ", " lua v} }"
    else builtins.toJSON v;

  # Text in PHP's single quotes.
  php =
    v:
    if v == null then "null"
    else if lib.isAttrs v && v._type or null == "raw" then v.value
    else if isSet v then "[${concatMapStringsSep ", " (key: "${php key} => ${php v.${key}}") (builtins.attrNames v)}]"
    else if builtins.isList v then "[${concatMapStringsSep ", " php v}]"
    else if builtins.isString v || v ? outPath then "'${builtins.replaceStrings [ "\\" "'" ] [ "\\\\" "\\'" ] (toString v)}'"
    else builtins.toJSON v;
in
{
  libconfig = _: {
    type = types.attrsOf types.anything;
    generate = name: value: pkgs.writeText name (libconfig.settings value);
    lib = {
      mkHex = libconfig.mark "hex";
      mkOctal = libconfig.mark "octal";
      mkFloat = libconfig.mark "float";
      mkArray = libconfig.mark "array";
      mkList = libconfig.mark "list";
    };
  };
  # JSON is HOCON.
  hocon = _: {
    type = free "HOCON value";
    generate = name: value: pkgs.writeText name "${json value}\n";
    lib = { };
  };
  hcl1 = _: {
    type = free "HCL value";
    generate = name: value: pkgs.writeText name "${json value}\n";
  };
  javaProperties = { comment ? "Generated", boolToString ? lib.boolToString }: {
    type = types.attrsOf (types.either types.bool types.str);
    generate = name: value: pkgs.writeText name (concatStrings (mapAttrsToList
      (key: v: "${builtins.replaceStrings [ " " ":" "=" ] [ "\\ " "\\:" "\\=" ] key} = ${if builtins.isBool v then boolToString v else v}\n") value));
  };
  lua = { asBindings ? false, columnWidth ? 100, indentWidth ? 2, indentUsingTabs ? false, multiline ? true }: {
    type = types.anything;
    generate = name: value: pkgs.writeText name (
      if asBindings then concatStrings (mapAttrsToList (key: v: "${key} = ${lua v}\n") value) else "return ${lua value}\n"
    );
    lib.mkRaw = expr: { _type = "lua-inline"; inherit expr; };
  };
  php = { finalVariable ? null }: {
    type = free "PHP value";
    generate = name: value: pkgs.writeText name (
      if finalVariable == null then "<?php\nreturn ${php value};\n" else "<?php\n\$${finalVariable} = ${php value};\n"
    );
    lib.mkRaw = value: { _type = "raw"; inherit value; };
  };
}
