# Declaring options, and merging definitions in the plain ways.
{ lib }:
let
  inherit (builtins)
    isAttrs isList isFunction isBool isString isInt all head tail length concatLists foldl' map filter concatMap attrNames
    elemAt concatStringsSep mapAttrs isPath;
  conflict = loc: defs: hint:
    lib.diagnostics.fail {
      code = "conflicting-definitions";
      message = "the option `${showOption loc}` has conflicting definitions";
      pos = lib.diagnostics.posOf defs;
      notes = lib.diagnostics.showDefs defs;
      inherit hint;
    };
  priorityHint = "`lib.mkForce value` or `lib.mkDefault value` gives one of them precedence";
  # What a value becomes in documentation.
  literal = v: if v ? _type && v ? text then v else { _type = "literalExpression"; text = lib.generators.toPretty { multiline = true; allowPrettyValues = true; } v; };
  showOption = parts:
    concatStringsSep "." (map
      (part:
        if builtins.match "<.*>|\\*|\\[definition .*" part != null then part else lib.strings.escapeNixIdentifier part)
      parts);
in
rec {
  inherit showOption;
  isOption = v: isAttrs v && v._type or null == "option";
  mkOption =
    { default ? null
    , defaultText ? null
    , example ? null
    , description ? null
    , relatedPackages ? null
    , type ? null
    , apply ? null
    , internal ? null
    , visible ? null
    , readOnly ? null
    , ...
    }@attrs: attrs // { _type = "option"; };
  mkEnableOption = name: mkOption {
    default = false;
    example = true;
    description = "Whether to enable ${if isAttrs name then name.text or "" else name}.";
    type = lib.types.bool;
  };
  # `mkPackageOption pkgs "name" { default ? name; nullable ? false; example ? null; extraDescription ? ""; pkgsText ? "pkgs"; }`
  mkPackageOption = pkgs: name: { nullable ? false, default ? name, example ? null, extraDescription ? "", pkgsText ? "pkgs" }:
    let
      name' = if isList name then lib.last name else name;
      path = if isList default then default else [ default ];
      text = "${pkgsText}.${concatStringsSep "." path}";
    in
    mkOption (
      {
        type = (if nullable then lib.types.nullOr else lib.id) lib.types.package;
        description = "The ${name'} package to use." + (if extraDescription == "" then "" else " " + extraDescription);
      }
      // (if default == null then (if nullable then { default = null; } else { }) else {
        default = lib.attrByPath path (throw "${text} (for the option of the package ${name'}) does not exist") pkgs;
        defaultText = literalExpression text;
      })
      // (if example == null then { } else {
        example = literalExpression (if isList example then "${pkgsText}.${concatStringsSep "." example}" else example);
      }));
  mkPackageOptionMD = mkPackageOption;
  # An option that takes whatever is defined and keeps none of it.
  mkSinkUndeclaredOptions = attrs: mkOption ({
    internal = true;
    visible = false;
    default = false;
    description = "Sink for option definitions.";
    type = lib.mkOptionType { name = "sink"; check = _: true; merge = _: _: false; };
    apply = _: throw "Option value is not readable because the option is not declared.";
  } // attrs);

  mergeDefaultOption = loc: defs:
    let list = getValues defs; in
    if length list == 1 then head list
    else if all isFunction list then x: mergeDefaultOption loc (map (f: { file = ""; value = f x; }) list)
    else if all isList list then concatLists list
    else if all isAttrs list then foldl' (a: b: a // b) { } list
    else if all isBool list then foldl' (a: b: a || b) false list
    else if all isString list then concatStringsSep "" list
    else if all isInt list && all (x: x == head list) list then head list
    else conflict loc defs priorityHint;
  mergeOneOption = mergeUniqueOption { message = ""; };
  mergeUniqueOption = args@{ message, merge ? null }: loc: defs:
    if length defs == 1 then (if merge == null then (head defs).value else merge loc defs)
    else if defs == [ ] then throw "the option `${showOption loc}` has no definition to merge"
    else if message == "" then conflict loc defs priorityHint
    else conflict loc defs message;
  mergeEqualOption = loc: defs:
    if defs == [ ] then throw "the option `${showOption loc}` has no definition to merge"
    else if length defs == 1 then (head defs).value
    else
      let first = (head defs).value; in
      if all (d: d.value == first) (tail defs) then first
      else conflict loc defs priorityHint;
  inherit conflict;

  getValues = map (x: x.value);
  getFiles = map (x: x.file);

  # Documentation records of an option tree.
  optionAttrSetToDocList = optionAttrSetToDocList' [ ];
  optionAttrSetToDocList' = _: options:
    concatMap
      (opt:
        let
          name = showOption opt.loc;
          doc = {
            inherit (opt) loc;
            inherit name;
            description = opt.description or null;
            declarations = filter (x: x != "<unknown-file>") (opt.declarations or [ ]);
            internal = opt.internal or false;
            visible = if opt.visible or true == "shallow" then true else opt.visible or true;
            readOnly = opt.readOnly or false;
            type = opt.type.description or "unspecified value";
          }
          // lib.optionalAttrs (opt ? example) { example = literal opt.example; }
          // lib.optionalAttrs (opt ? defaultText || opt ? default) { default = literal (opt.defaultText or opt.default); }
          // lib.optionalAttrs (opt ? relatedPackages && opt.relatedPackages != null) { inherit (opt) relatedPackages; };
          sub = opt.type.getSubOptions opt.loc;
        in
        [ doc ] ++ (if opt.visible or true != "shallow" && sub != { } && doc.visible then optionAttrSetToDocList' opt.loc sub else [ ]))
      (lib.collect isOption options);
  scrubOptionValue = x:
    if lib.isDerivation x then { type = "derivation"; drvPath = x.name; outPath = x.name; name = x.name; }
    else if isList x then map scrubOptionValue x
    else if isAttrs x then mapAttrs (_: scrubOptionValue) (removeAttrs x [ "_args" ])
    else x;
  renderOptionValue = literal;

  literalExpression = text:
    if isString text then { _type = "literalExpression"; inherit text; } else throw "literalExpression expects a string";
  literalCode = language: text: literalMD "```${language}\n${text}\n```";
  literalExample = literalExpression;
  literalDocBook = text: { _type = "literalMD"; inherit text; };
  literalMD = text:
    if isString text then { _type = "literalMD"; inherit text; } else throw "literalMD expects a string";
  mdDoc = text: text;

  showOptionWithDefLocs = opt:
    "${showOption opt.loc}, with values defined in:\n${lib.concatMapStringsSep "\n" (f: "  - ${toString f}") opt.files}\n";
  showFiles = files: lib.concatMapStringsSep " and " (f: "`${toString f}'") files;
  showDefs = defs: lib.concatMapStrings (s: "\n- In ${s}") (lib.diagnostics.showDefs defs);
  unknownModule = "<unknown-file>";
}
