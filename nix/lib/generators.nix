# Configuration file formats from Nix values.
{ lib }:
let
  inherit (builtins)
    attrNames concatMap concatStringsSep filter functionArgs head isAttrs isBool isFloat isFunction isInt isList isNull
    isPath isString length map mapAttrs replaceStrings substring toJSON toString typeOf split match elem genList stringLength;
  inherit (lib) mapAttrsToList concatMapStrings concatStrings escape hasPrefix isDerivation;
  fail = what: v: throw "generators.${what}: ${lib.diagnostics.describe v} cannot be written";
in
rec {
  # One value as most line formats write it.
  mkValueStringDefault = { }: v:
    if isInt v then toString v
    else if isDerivation v then toString v
    else if isString v then v
    else if v == true then "true"
    else if v == false then "false"
    else if v == null then "null"
    else if isFloat v then lib.strings.floatToString v
    else if isPath v then toString v
    else if isAttrs v && v ? __toString then toString v
    else fail "mkValueStringDefault" v;
  # `key sep value`, with `sep` escaped in the key.
  mkKeyValueDefault = { mkValueString ? mkValueStringDefault { } }: sep: k: v:
    "${escape [ sep ] k}${sep}${mkValueString v}";

  toKeyValue = { mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false, indent ? "" }: attrs:
    let
      line = k: v: indent + mkKeyValue k v + "\n";
      lines = if listsAsDuplicateKeys then k: v: map (line k) (if isList v then v else [ v ]) else k: v: [ (line k v) ];
    in
    concatStrings (lib.concatLists (mapAttrsToList lines attrs));
  toINI = { mkSectionName ? (name: escape [ "[" "]" ] name), mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false }: sections:
    concatStringsSep "\n" (mapAttrsToList
      (name: values: "[${mkSectionName name}]\n" + toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } values)
      sections);
  toINIWithGlobalSection = { mkSectionName ? (name: escape [ "[" "]" ] name), mkKeyValue ? mkKeyValueDefault { } "=", listsAsDuplicateKeys ? false }@args:
    { globalSection, sections ? { } }:
    (if globalSection == { } then "" else toKeyValue { inherit mkKeyValue listsAsDuplicateKeys; } globalSection + "\n")
    + toINI { inherit mkSectionName mkKeyValue listsAsDuplicateKeys; } sections;
  # git's variant: sections of sections, lists as repeated keys.
  toGitINI = attrs:
    let
      section = path:
        let
          parts = lib.splitString "." path;
          sub = concatStringsSep "." (lib.drop 1 parts);
        in
        if length parts == 1 then head parts else "${head parts} \"${sub}\"";
      value = k: v:
        let
          text = if isString v then "\"${replaceStrings [ "\\" "\"" "\n" "\t" "\b" ] [ "\\\\" "\\\"" "\\n" "\\t" "\\b" ] v}\"" else mkValueStringDefault { } v;
        in
        "\t${k} = ${text}";
      keyValue = k: v: if isList v then concatStringsSep "\n" (map (value k) v) else value k v;
      flat = path: v:
        if isAttrs v && !isDerivation v then
          lib.recursiveUpdate { } (lib.foldl' lib.recursiveUpdate { } (mapAttrsToList (n: flat ([ n ] ++ path)) v))
        else if length path > 1 then
          { ${concatStringsSep "." (lib.reverseList (lib.tail path))}.${head path} = v; }
        else { ${head path} = v; };
    in
    toINI { mkSectionName = section; mkKeyValue = keyValue; } (flat [ ] attrs);
  mkDconfKeyValue = mkKeyValueDefault { mkValueString = v: toString (lib.gvariant.mkValue v); } "=";
  toDconfINI = toINI { mkKeyValue = mkDconfKeyValue; };

  withRecursion = { depthLimit, throwOnDepthLimit ? true }:
    assert isInt depthLimit;
    let
      special = [ "__functor" "__functionArgs" "__toString" "__pretty" ];
      cut = depth:
        if depthLimit != null && depth > depthLimit then
          (if throwOnDepthLimit then throw "generators.withRecursion: deeper than ${toString depthLimit}" else lib.const "<unevaluated>")
        else lib.id;
      go = depth: v:
        let
          eval = name: if elem name special then lib.id else go (depth + 1);
        in
        if isDerivation v then cut (depth + 1) v
        else if isAttrs v then cut depth (mapAttrs (n: eval n) v)
        else if isList v then cut depth (map (go (depth + 1)) v)
        else cut (depth + 1) v;
    in
    go 0;

  # Nix syntax for a value.
  toPretty = { multiline ? true, allowPrettyValues ? false, indent ? "" }:
    let
      go = indent: v:
        let
          newline = if multiline then "\n${indent}  " else " ";
          close = if multiline then "\n${indent}" else " ";
        in
        if isInt v then toString v
        else if isFloat v then builtins.toJSON v
        else if isString v then
          let
            lines = filter (x: !isList x) (split "\n" v);
            quote = replaceStrings [ "\\" "\"" "\${" ] [ "\\\\" "\\\"" "\\\${" ];
            block = "''" + newline + concatStringsSep newline (lib.init lines') + (
              if lib.last lines' == "" then close else newline + lib.last lines') + "''";
            lines' = map (replaceStrings [ "''" "\${" ] [ "'''" "''\${" ]) lines;
          in
          if multiline && length lines > 1 then block else "\"${concatStringsSep "\\n" (map quote lines)}\""
        else if v == true then "true"
        else if v == false then "false"
        else if v == null then "null"
        else if isPath v then toString v
        else if isList v then
          (if v == [ ] then "[ ]" else "[" + newline + lib.concatMapStringsSep newline (go (indent + "  ")) v + close + "]")
        else if lib.isFunction v then
          let
            args = lib.functionArgs v;
            shown = concatStringsSep ", " (mapAttrsToList (n: d: if d then n + "?" else n) args);
          in
          if args == { } then "<function>" else "<function, args: {${shown}}>"
        else if isAttrs v then
          (if allowPrettyValues && v ? __pretty && v ? val then v.__pretty v.val
          else if v == { } then "{ }"
          else if isDerivation v then "<derivation ${v.name or "???"}>"
          else
            "{" + newline
            + concatStringsSep newline (mapAttrsToList
              (name: value: "${lib.strings.escapeNixIdentifier name} = ${builtins.addErrorContext "while evaluating an attribute `${name}`" (go (indent + "  ") value)};")
              v)
            + close + "}")
        else throw "generators.toPretty: unknown value";
    in
    go indent;

  toJSON = { }: builtins.toJSON;
  # JSON is YAML.
  toYAML = toJSON;
  toPlist = { escape ? false }: v:
    let
      esc = if escape then lib.strings.escapeXML else lib.id;
      go = ind: x:
        let tab = ind + "\t"; in
        if x == null then ""
        else if isBool x then "${ind}<${if x then "true" else "false"}/>"
        else if isInt x then "${ind}<integer>${toString x}</integer>"
        else if isString x || isPath x then "${ind}<string>${esc (toString x)}</string>"
        else if isFloat x then "${ind}<real>${toString x}</real>"
        else if isList x then "${ind}<array>\n${concatStringsSep "\n" (map (go tab) x)}\n${ind}</array>"
        else if isAttrs x then
          "${ind}<dict>\n${concatStringsSep "\n" (lib.concatLists (mapAttrsToList (n: y: if y == null then [ ] else [ "${tab}<key>${esc n}</key>" (go tab y) ]) x))}\n${ind}</dict>"
        else fail "toPlist" x;
    in
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n${go "" v}\n</plist>";
  toDhall = { }@args: v:
    if isAttrs v then "{ ${concatStringsSep ", " (mapAttrsToList (k: x: "${k} = ${toDhall args x}") v)} }"
    else if isList v then "[ ${lib.concatMapStringsSep ", " (toDhall args) v} ]"
    else if isInt v then "${if v < 0 then "" else "+"}${toString v}"
    else if isBool v then (if v then "True" else "False")
    else if isFunction v then throw "generators.toDhall: cannot convert a function"
    else if v == null then throw "generators.toDhall: cannot convert a null"
    else builtins.toJSON v;
  mkLuaInline = expr: { _type = "lua-inline"; inherit expr; };
  isLuaInline = v: v._type or null == "lua-inline";
  toLua = { multiline ? true, indent ? "", asBindings ? false }@args: v:
    let
      innerIndent = "${indent}  ";
      sep = if multiline then "\n${innerIndent}" else " ";
      close = if multiline then "\n${indent}" else " ";
      innerArgs = args // { asBindings = false; indent = if asBindings then indent else innerIndent; };
      items = concatStringsSep ",${sep}";
      isBinding = name: match "[a-zA-Z_][a-zA-Z0-9_]*(\\.[a-zA-Z_][a-zA-Z0-9_]*)*" name != null;
      bindings = mapAttrsToList
        (name: value:
          if isBinding name then "${indent}${name} = ${toLua innerArgs value}\n"
          else throw "generators.toLua: attribute \"${name}\" is not a valid Lua binding")
        v;
    in
    if asBindings then concatStrings bindings
    else if v == null then "nil"
    else if isInt v || isFloat v || isString v || isBool v then builtins.toJSON v
    else if isPath v || isDerivation v then builtins.toJSON "${v}"
    else if isList v then (if v == [ ] then "{}" else "{${sep}${items (map (toLua innerArgs) v)}${close}}")
    else if isLuaInline v then "(${v.expr})"
    else if isAttrs v then
      (if v == { } then "{}" else "{${sep}${items (mapAttrsToList (k: x: "[${builtins.toJSON k}] = ${toLua innerArgs x}") v)}${close}}")
    else fail "toLua" v;
}
