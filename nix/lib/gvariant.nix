# GVariant text, as dconf reads it.
{ lib }:
let
  inherit (builtins) isBool isFloat isInt isList isString map;
  make = type: value: text: { _type = "gvariant"; inherit type value; __toString = _: text; };
in
rec {
  isGVariant = v: v._type or "" == "gvariant";
  mkValue = v:
    if isGVariant v then v
    else if isBool v then mkBoolean v
    else if isInt v then mkInt32 v
    else if isFloat v then mkDouble v
    else if isString v then mkString v
    else if isList v then mkArray v
    else throw "gvariant: ${lib.diagnostics.describe v} has no GVariant form; use one of the functions of lib.gvariant";
  mkBoolean = v: make "b" v (lib.boolToString v);
  mkString = v: make "s" v "'${builtins.replaceStrings [ "\\" "'" "\n" ] [ "\\\\" "\\'" "\\n" ] v}'";
  mkObjectpath = v: make "o" v "objectpath '${v}'";
  mkUchar = v: make "y" v "byte ${toString v}";
  mkInt16 = v: make "n" v "int16 ${toString v}";
  mkUint16 = v: make "q" v "uint16 ${toString v}";
  mkInt32 = v: make "i" v (toString v);
  mkUint32 = v: make "u" v "uint32 ${toString v}";
  mkInt64 = v: make "x" v "int64 ${toString v}";
  mkUint64 = v: make "t" v "uint64 ${toString v}";
  mkDouble = v: make "d" v (toString v);
  mkArray = elems:
    let values = map mkValue elems; in
    if values == [ ] then throw "gvariant: an empty array needs its type: mkEmptyArray"
    else make "a${(builtins.head values).type}" values "@a${(builtins.head values).type} [${lib.concatMapStringsSep "," toString values}]";
  mkEmptyArray = type: make "a${type}" [ ] "@a${type} []";
  mkTuple = elems:
    let values = map mkValue elems; t = "(${lib.concatMapStrings (v: v.type) values})"; in
    make t values "@${t} (${lib.concatMapStringsSep "," toString values})";
  mkDictionaryEntry = name: elem:
    let n = mkValue name; v = mkValue elem; t = "{${n.type}${v.type}}"; in
    make t { name = n; value = v; } "@${t} {${toString n},${toString v}}";
  mkVariant = elem: let v = mkValue elem; in make "v" v "<${toString v}>";
  mkNothing = type: make "m${type}" null "@m${type} nothing";
  mkJust = elem: let v = mkValue elem; in make "m${v.type}" v "just ${toString v}";
  type = { string = "s"; boolean = "b"; uchar = "y"; int16 = "n"; uint16 = "q"; int32 = "i"; uint32 = "u"; int64 = "x"; uint64 = "t"; double = "d"; variant = "v"; arrayOf = t: "a${t}"; maybeOf = t: "m${t}"; tupleOf = ts: "(${lib.concatStrings ts})"; dictionaryEntryOf = k: v: "{${k}${v}}"; };
}
