# Paths as values.
{ lib }:
let
  inherit (builtins) concatStringsSep elem filter head isPath isString length map match split tail toString;
  parts = s: filter (p: isString p && p != "" && p != ".") (split "/" s);
  reason = s:
    if !isString s then "it is not a string"
    else if s == "" then "it is empty"
    else if builtins.substring 0 1 s == "/" then "it starts with /"
    else if elem ".." (filter isString (split "/" s)) then "it contains a `..` component"
    else null;
in
rec {
  append = path: subpath:
    if !isPath path then throw "lib.path.append: the first argument is no path"
    else let r = reason subpath; in
    if r != null then throw "lib.path.append: the second argument is no valid subpath: ${r}"
    else path + ("/" + subpath);
  hasPrefix = a: b: let x = toString a; y = toString b; in x == "/" || x == y || lib.hasPrefix (x + "/") y;
  removePrefix = a: b:
    if hasPrefix a b then
      let rest = parts (lib.removePrefix (toString a) (toString b)); in
      "./" + (if rest == [ ] then "." else concatStringsSep "/" rest)
    else throw "lib.path.removePrefix: ${toString a} is no prefix of ${toString b}";
  splitRoot = path: { root = /.; subpath = removePrefix /. path; };
  hasStorePathPrefix = path: lib.hasPrefix "${builtins.storeDir}/" (toString path);
  subpath = rec {
    isValid = s: isString s && reason s == null;
    normalise = s:
      let r = reason s; in
      if r != null then throw "lib.path.subpath.normalise: ${r}"
      else let p = parts s; in if p == [ ] then "./." else "./" + concatStringsSep "/" p;
    components = s: if isValid s then parts s else throw "lib.path.subpath.components: ${reason s}";
    join = ss: let p = lib.concatMap (s: components s) ss; in if p == [ ] then "./." else "./" + concatStringsSep "/" p;
  };
}
