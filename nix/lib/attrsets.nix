# Attribute sets.
{ lib }:
let
  inherit (builtins)
    attrNames attrValues listToAttrs hasAttr getAttr isAttrs intersectAttrs removeAttrs mapAttrs
    filter foldl' head tail length concatMap concatLists elemAt genList isList isString isPath elem zipAttrsWith;
in
rec {
  inherit (builtins) attrNames attrValues listToAttrs hasAttr isAttrs getAttr removeAttrs intersectAttrs mapAttrs catAttrs zipAttrsWith;

  nameValuePair = name: value: { inherit name value; };

  attrByPath = path: default: set:
    let
      n = length path;
      go = i: s:
        if i == n then s
        else if isAttrs s && s ? ${elemAt path i} then go (i + 1) s.${elemAt path i}
        else default;
    in
    go 0 set;
  hasAttrByPath = path: set:
    let
      n = length path;
      go = i: s: i == n || (isAttrs s && s ? ${elemAt path i} && go (i + 1) s.${elemAt path i});
    in
    go 0 set;
  # The longest prefix of `path` that exists in `set`.
  longestValidPathPrefix = path: set:
    let
      n = length path;
      go = i: s: if i < n && isAttrs s && s ? ${elemAt path i} then go (i + 1) s.${elemAt path i} else i;
    in
    lib.take (go 0 set) path;
  setAttrByPath = path: value:
    let
      n = length path;
      go = i: if i == n then value else { ${elemAt path i} = go (i + 1); };
    in
    go 0;
  getAttrFromPath = path: set:
    attrByPath path (throw "cannot find attribute '${lib.concatStringsSep "." path}'") set;
  concatMapAttrs = f: set: foldl' (a: b: a // b) { } (attrValues (mapAttrs f set));

  # Applies updates at paths; [ { path; update = old: new; } ].
  updateManyAttrsByPath =
    let
      go = prefix: hasValue: value: updates:
        let
          here = filter (u: u.path == [ ]) updates;
          below = filter (u: u.path != [ ]) updates;
          byName = builtins.groupBy (u: head u.path) below;
          old = if hasValue then value
            else throw "updateManyAttrsByPath: no value at '${lib.showAttrPath prefix}'";
          set =
            if below == [ ] then old
            else (if hasValue then value else { }) // mapAttrs
              (name: us:
                go (prefix ++ [ name ]) (hasValue && isAttrs value && value ? ${name})
                  (if hasValue then value.${name} or null else null)
                  (map (u: u // { path = tail u.path; }) us))
              byName;
        in
        lib.foldl (v: u: u.update v) (if below == [ ] && here != [ ] && !hasValue then old else set) here;
    in
    updates: value: go [ ] true value updates;

  attrVals = names: set: map (n: set.${n}) names;
  getAttrs = names: set: mapAttrs (n: _: set.${n}) (listToAttrs (map (n: { name = n; value = null; }) names));
  filterAttrs = pred: set: removeAttrs set (filter (n: !(pred n set.${n})) (attrNames set));
  filterAttrsRecursive = pred: set:
    listToAttrs (concatMap
      (name:
        let v = set.${name}; in
        if pred name v then [ { inherit name; value = if isAttrs v then filterAttrsRecursive pred v else v; } ] else [ ])
      (attrNames set));
  foldlAttrs = f: init: set: foldl' (acc: name: f acc name set.${name}) init (attrNames set);
  foldAttrs = op: nul: sets:
    lib.foldr (set: acc: foldl' (a: name: a // { ${name} = op set.${name} (a.${name} or nul); }) acc (attrNames set)) { } sets;
  collect = pred: v:
    if pred v then [ v ] else if isAttrs v then concatMap (collect pred) (attrValues v) else [ ];
  cartesianProduct = sets:
    foldl' (lists: name: concatMap (l: map (v: l // { ${name} = v; }) sets.${name}) lists) [ { } ] (attrNames sets);
  cartesianProductOfSets = cartesianProduct;
  mapCartesianProduct = f: sets: map f (cartesianProduct sets);

  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: attrValues (mapAttrs f set);
  attrsToList = mapAttrsToList nameValuePair;
  mapAttrsRecursive = mapAttrsRecursiveCond (_: true);
  mapAttrsRecursiveCond = cond: f: set:
    let
      go = path: mapAttrs (name: value:
        if isAttrs value && cond value then go (path ++ [ name ]) value else f (path ++ [ name ]) value);
    in
    go [ ] set;
  mapAttrsToListRecursive = mapAttrsToListRecursiveCond (_: _: true);
  mapAttrsToListRecursiveCond = pred: f: set:
    let
      go = path: value:
        if isAttrs value && pred path value
        then concatLists (mapAttrsToList (n: go (path ++ [ n ])) value)
        else [ (f path value) ];
    in
    go [ ] set;
  genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
  genAttrs' = xs: f: listToAttrs (map f xs);

  isDerivation = v: isAttrs v && v.type or null == "derivation";
  # A derivation-like value for an existing store path.
  toDerivation = path:
    let
      path' = builtins.storePath path;
      res = {
        type = "derivation";
        name = lib.sanitizeDerivationName (builtins.substring 33 (-1) (builtins.baseNameOf path'));
        outPath = path';
        outputs = [ "out" ];
        out = res;
        outputName = "out";
      };
    in
    res;
  optionalAttrs = cond: as: if cond then as else { };

  zipAttrsWithNames = names: f: sets:
    listToAttrs (map (name: { inherit name; value = f name (builtins.catAttrs name sets); }) names);
  zipAttrs = zipAttrsWith (_: values: values);
  mergeAttrsList = list:
    # by halves, so that each set is copied log n times
    let
      go = start: end:
        if end - start >= 2 then
          let mid = start + (end - start) / 2; in go start mid // go mid end
        else elemAt list start;
    in
    if list == [ ] then { } else go 0 (length list);

  # Merges right into left, descending where `pred path left right` is false.
  recursiveUpdateUntil = pred: lhs: rhs:
    let
      go = path: zipAttrsWith (name: values:
        let here = path ++ [ name ]; in
        if length values == 1 || pred here (elemAt values 1) (head values)
        then head values
        else go here values);
    in
    go [ ] [ rhs lhs ];
  recursiveUpdate =
    let
      go = l: r: l // mapAttrs
        (name: v:
          if l ? ${name} then
            let old = l.${name}; in if isAttrs v && isAttrs old then go old v else v
          else v)
        r;
    in
    go;
  matchAttrs = pattern: attrs:
    builtins.all
      (n: attrs ? ${n} && (
        let p = pattern.${n}; v = attrs.${n}; in
        if isAttrs p then isAttrs v && matchAttrs p v else p == v))
      (attrNames pattern);
  overrideExisting = old: new: mapAttrs (name: value: new.${name} or value) old;

  # For messages: `a.b."c d"`.
  showAttrPath = path:
    if path == [ ] then "<root attribute path>" else lib.concatMapStringsSep "." lib.strings.escapeNixIdentifier path;

  getOutput = output: pkg: if !(pkg ? outputSpecified) || !pkg.outputSpecified then pkg.${output} or pkg.out or pkg else pkg;
  getFirstOutput = candidates: pkg:
    let
      found = filter (o: pkg ? ${o}) candidates;
    in
    if pkg.outputSpecified or false || found == [ ] then pkg else pkg.${head found};
  getBin = getOutput "bin";
  getLib = getOutput "lib";
  getStatic = getFirstOutput [ "static" "lib" "out" ];
  getDev = getOutput "dev";
  getInclude = getFirstOutput [ "include" "dev" "out" ];
  getMan = getOutput "man";
  chooseDevOutputs = map getDev;

  recurseIntoAttrs = attrs: attrs // { recurseForDerivations = true; };
  dontRecurseIntoAttrs = attrs: attrs // { recurseForDerivations = false; };
  # Union; a name in both is an error.
  unionOfDisjoint = x: y:
    let
      both = attrNames (intersectAttrs x y);
    in
    if both == [ ] then x // y
    else (x // y) // genAttrs both (name: throw "unionOfDisjoint: collision on ${name}");
}
