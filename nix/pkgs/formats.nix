# pkgs.formats: for each configuration file format a type of its values and a function that makes the file.
#
# The text is made during evaluation, so no program runs. YAML is written as JSON, which is YAML.
{ lib, pkgs }:

let
  inherit (lib) types;

  file = name: text: pkgs.writeText name text;

  # Values of JSON's shape.
  tree =
    description: atoms:
    let
      self = types.oneOf (atoms ++ [ (types.attrsOf self) (types.listOf self) ]) // { inherit description; };
    in
    self;
  scalar = [ types.bool types.int types.float types.str types.path ];

  # Indented JSON: members in the order of their names.
  pretty =
    indent: value:
    let
      deeper = indent + "  ";
      block = open: close: items: if items == [ ] then open + close else "${open}\n${lib.concatMapStringsSep ",\n" (item: deeper + item) items}\n${indent}${close}";
    in
    if builtins.isAttrs value && !(value ? outPath) && !(value ? __toString) then
      block "{" "}" (lib.mapAttrsToList (key: member: "${builtins.toJSON key}: ${pretty deeper member}") value)
    else if builtins.isList value then
      block "[" "]" (map (pretty deeper) value)
    else
      builtins.toJSON value;

  # TOML: scalars and inline values before the tables of a table, as its grammar wants it.
  toml =
    let
      bare = key: builtins.match "[A-Za-z0-9_-]+" key != null;
      quoted = key: if bare key then key else builtins.toJSON key;
      isTable = value: builtins.isAttrs value && !(value ? outPath) && !(value ? __toString);
      isTables = value: builtins.isList value && value != [ ] && lib.all isTable value;
      inline =
        value:
        if isTable value then
          "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (key: member: "${quoted key} = ${inline member}") (present value))} }"
        else if builtins.isList value then
          "[${lib.concatMapStringsSep ", " inline value}]"
        else if value == null then
          throw "formats.toml: null has no form in TOML"
        else
          builtins.toJSON value;
      present = lib.filterAttrs (_: value: value != null);
      table =
        path: value:
        let
          members = present value;
          here = lib.filterAttrs (_: member: !isTable member && !isTables member) members;
          below = lib.filterAttrs (_: isTable) members;
          lists = lib.filterAttrs (_: isTables) members;
          header = key: lib.concatMapStringsSep "." quoted (path ++ [ key ]);
        in
        lib.concatStrings (lib.mapAttrsToList (key: member: "${quoted key} = ${inline member}\n") here)
        + lib.concatStrings (lib.mapAttrsToList (key: member: "\n[${header key}]\n${table (path ++ [ key ]) member}") below)
        + lib.concatStrings (
          lib.mapAttrsToList (
            key: members: lib.concatMapStrings (member: "\n[[${header key}]]\n${table (path ++ [ key ]) member}") members
          ) lists
        );
    in
    table [ ];

  iniScalar = types.nullOr (types.oneOf [ types.bool types.int types.float types.str types.path ]);
  iniAtom =
    { listsAsDuplicateKeys ? false, listToValue ? null, atomsCoercedToLists ? null, ... }:
    if listsAsDuplicateKeys || listToValue != null then types.oneOf [ iniScalar (types.listOf iniScalar) ] else iniScalar;
  # The arguments that only concern how the file is written.
  iniWriter = args: removeAttrs args [ "listToValue" "atomsCoercedToLists" ];
  joinLists =
    args: section:
    if args.listToValue or null == null then section else lib.mapAttrs (_: value: if builtins.isList value then args.listToValue value else value) section;
in
import ./formats-more.nix { inherit lib pkgs tree scalar; json = pretty ""; }
// {
  json = _: {
    type = tree "JSON value" (scalar ++ [ (types.enum [ null ]) ]);
    generate = name: value: file name "${pretty "" value}\n";
  };
  yaml = _: {
    type = tree "YAML value" (scalar ++ [ (types.enum [ null ]) ]);
    generate = name: value: file name "${pretty "" value}\n";
  };
  yaml_1_1 = pkgs.formats.yaml;
  yaml_1_2 = pkgs.formats.yaml;
  toml = _: {
    type = types.attrsOf (tree "TOML value" scalar);
    generate = name: value: file name (toml value);
  };
  ini = args: {
    type = types.attrsOf (types.attrsOf (iniAtom args));
    generate = name: value: file name (lib.generators.toINI (iniWriter args) (lib.mapAttrs (_: joinLists args) value));
  };
  iniWithGlobalSection = args: {
    type = types.submodule {
      options = {
        globalSection = lib.mkOption {
          type = types.attrsOf (iniAtom args);
          default = { };
          description = "Settings before the first section.";
        };
        sections = lib.mkOption {
          type = types.attrsOf (types.attrsOf (iniAtom args));
          default = { };
          description = "Settings by section.";
        };
      };
    };
    generate =
      name: { globalSection ? { }, sections ? { }, ... }:
      file name (
        lib.generators.toINIWithGlobalSection (iniWriter args) {
          globalSection = joinLists args globalSection;
          sections = lib.mapAttrs (_: joinLists args) sections;
        }
      );
  };
  gitIni = args: {
    type = types.attrsOf (types.attrsOf types.anything);
    generate = name: value: file name (lib.generators.toGitINI value);
  };
  keyValue = args: {
    type = types.attrsOf (iniAtom args);
    generate = name: value: file name (lib.generators.toKeyValue (iniWriter args) (joinLists args value));
  };
  systemd = pkgs.formats.ini { listsAsDuplicateKeys = true; };
  configFile = _: pkgs.formats.keyValue { };
  pythonVars = _: {
    type = types.attrsOf (tree "Python value" (scalar ++ [ (types.enum [ null ]) ]));
    generate =
      name: value:
      let
        python =
          given:
          if given == null then "None"
          else if builtins.isBool given then (if given then "True" else "False")
          else if builtins.isAttrs given && !(given ? outPath) then
            "{ ${lib.concatStringsSep ", " (lib.mapAttrsToList (key: member: "${builtins.toJSON key}: ${python member}") given)} }"
          else if builtins.isList given then "[${lib.concatMapStringsSep ", " python given}]"
          else builtins.toJSON given;
      in
      file name (lib.concatStrings (lib.mapAttrsToList (key: member: "${key} = ${python member}\n") value));
  };
}
