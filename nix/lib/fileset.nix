# Sets of files, to be copied to the store.
{ lib }:
let
  inherit (builtins) attrNames isAttrs isList isPath pathExists readDir toString;
  kindOf = path: if lib.filesystem.pathIsDirectory path then "directory" else "regular";
  under = dir: path: dir == "/" || path == dir || lib.hasPrefix (dir + "/") path;
  # { has = path: type: bool } of a file's absolute path
  make = has: { _type = "fileset"; inherit has; };
  coerce = what: v:
    if isAttrs v && v._type or null == "fileset" then v
    else if v ? _isLibCleanSourceWith then
      make (path: type: under (toString v.origSrc) path && v.filter path type)
    else if isPath v then
      (if !(pathExists v) then throw "lib.fileset.${what}: ${toString v} does not exist"
      else
        let p = toString v; in
        if kindOf v == "directory" then make (path: _: under p path) else make (path: _: path == p))
    else throw "lib.fileset.${what}: ${lib.diagnostics.describe v} is no path and no file set";
  # Whether a folder holds a file of the set, at any depth.
  holds = set: dir:
    let entries = readDir dir; in
    lib.any
      (name:
        let p = dir + "/${name}"; in
        if entries.${name} == "directory" then holds set p else set.has (toString p) entries.${name})
      (attrNames entries);
in
rec {
  union = a: b: let x = coerce "union" a; y = coerce "union" b; in make (p: t: x.has p t || y.has p t);
  unions = list:
    let sets = map (coerce "unions") list; in
    make (p: t: lib.any (s: s.has p t) sets);
  intersection = a: b: let x = coerce "intersection" a; y = coerce "intersection" b; in make (p: t: x.has p t && y.has p t);
  difference = a: b: let x = coerce "difference" a; y = coerce "difference" b; in make (p: t: x.has p t && !(y.has p t));
  fileFilter = pred: path:
    let root = toString path; in
    if !isPath path then throw "lib.fileset.fileFilter: the second argument is no path"
    else make (p: type:
      let name = baseNameOf p; in
      under root p && pred { inherit name type; hasExt = ext: lib.hasSuffix ".${ext}" name; });
  maybeMissing = path: if pathExists path then coerce "maybeMissing" path else make (_: _: false);
  fromSource = source: coerce "fromSource" source;
  gitTracked = path: coerce "gitTracked" path;
  toList = set:
    let
      s = coerce "toList" set;
      go = dir:
        let entries = readDir dir; in
        lib.concatMap
          (name:
            let p = dir + "/${name}"; in
            if entries.${name} == "directory" then go p
            else lib.optional (s.has (toString p) entries.${name}) p)
          (attrNames entries);
    in
    if isPath set then (if kindOf set == "directory" then go set else [ set ])
    else throw "lib.fileset.toList: only of a folder's path; use lib.fileset.toSource";
  toSource = { root, fileset }:
    let
      set = coerce "toSource" fileset;
      filter = path: type: if type == "directory" then holds set (/. + path) else set.has path type;
    in
    if !isPath root then throw "lib.fileset.toSource: `root` is ${lib.diagnostics.describe root}; a path is needed"
    else lib.cleanSourceWith { name = "source"; src = root; inherit filter; };
  trace = fileset: value: value;
  traceVal = fileset: fileset;
}
