# Errors of the library with a code, the place of the definition, and a hint; and words for values.
{ lib }:
let
  inherit (builtins) typeOf isString isAttrs toJSON substring stringLength filter map sort concatStringsSep;
in
rec {
  # Fails. `pos` is null or what `unsafeGetAttrPos` gives. The evaluator of this project shows it with an excerpt of
  # the source; others get one text.
  fail = { code, message, pos ? null, hint ? null, notes ? [ ] }:
    if builtins ? nbvError then builtins.nbvError { inherit code message pos hint notes; }
    else throw (concatStringsSep "\n" (
      [ ((if pos == null then "" else "${showPos pos}: ") + message) ]
      ++ map (n: "  note: ${n}") notes
      ++ (if hint == null then [ ] else [ "  hint: ${hint}" ])));

  showPos = pos: "${pos.file}:${toString pos.line}:${toString (pos.column or 0)}";

  # Where a definition { file; pos ? null; value; } stands.
  where = def:
    let pos = posOf [ def ]; in
    if pos != null then showPos pos else def.file or "<unknown-file>";
  # The first place among definitions. Sets that functions of this folder made (setAttrByPath) have their place here,
  # which helps nobody.
  posOf = defs:
    let found = filter (d: d.pos or null != null && !(lib.hasPrefix folder d.pos.file)) defs; in
    if found == [ ] then null else (builtins.head found).pos;
  folder = toString ./. + "/";

  # A value in words, looking at its outermost shape only.
  describe = v:
    let
      t = typeOf v;
      text = if stringLength v > 60 then substring 0 60 v + "..." else v;
    in
    if t == "string" then "the string ${toJSON (builtins.unsafeDiscardStringContext text)}"
    else if t == "int" then "the integer ${toString v}"
    else if t == "float" then "the number ${toString v}"
    else if t == "bool" then "the boolean ${if v then "true" else "false"}"
    else if t == "null" then "null"
    else if t == "path" then "the path ${toString v}"
    else if t == "list" then (if v == [ ] then "an empty list" else "a list")
    else if t == "lambda" then "a function"
    else if v.type or null == "derivation" then "a package"
    else if v ? _type && isString v._type then "a value of kind ${v._type}"
    else if v == { } then "an empty set"
    else "a set";
  # Definitions as notes.
  showDefs = defs: map (def: "${where def}: ${describe def.value}") defs;

  # The names closest to `name`, best first, none when all are far.
  nearest = name: names:
    let
      n = stringLength name;
      limit = if n <= 3 then 1 else if n <= 7 then 2 else 3;
      lower = lib.toLower name;
      near = filter (c: c.distance <= limit) (map
        (candidate: {
          inherit candidate;
          distance = lib.strings.levenshtein lower (lib.toLower candidate);
        })
        (filter (c: let d = stringLength c - n; in d <= limit && d >= -limit) names));
    in
    map (c: c.candidate) (sort (a: b: a.distance < b.distance) near);
}
