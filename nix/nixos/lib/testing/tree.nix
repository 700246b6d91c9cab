# Tests in a nixpkgs tree, unmodified: what they import of the tree's testing library, package set and option library is
# this library's; their neighbours are the tree's.
{ lib, system, pkgs, root }:
let
  inherit (builtins) attrNames filter isList isPath isString match readFile split toString;
  tests = "${root}/nixos/tests";
  ours = {
    "${root}" = import ../../../pkgs;
    "${root}/default.nix" = import ../../../pkgs;
    "${root}/lib" = lib;
    "${root}/lib/default.nix" = lib;
    "${root}/nixos" = import ../..;
    "${root}/nixos/default.nix" = import ../..;
    "${root}/nixos/lib" = args: import ../. ({ inherit system; tree = root; } // args);
    "${root}/nixos/lib/default.nix" = args: import ../. ({ inherit system; tree = root; } // args);
    "${root}/nixos/lib/testing-python.nix" = args: import ../testing-python.nix (args // { tree = root; });
    "${root}/nixos/lib/eval-config.nix" = args: import ../eval-config.nix ({ tree = root; } // args);
  };

  # `import` of the files below nixos/tests.
  importer = what:
    let path = toString what; in
    if !(isPath what || isString what) then import what
    else ours.${path} or (
      if path == tests || lib.tree.below tests path then builtins.scopedImport { import = importer; } what
      else import (lib.tree.resolveModule what));

  allTests = importer "${tests}/all-tests.nix" { inherit system pkgs; callTest = t: t; };
  # Names in all-tests.nix of the tests of a file ("tests/nat.nix", or "tests/nginx" for tests/nginx/default.nix).
  entriesOf = rest:
    let
      name = lib.removePrefix "tests/" rest;
      spellings = [ name ] ++ lib.optional (baseNameOf name == "default.nix") (dirOf name);
      lines = filter isString (split "\n" (readFile "${tests}/all-tests.nix"));
      entry = line: match "  ([A-Za-z_][A-Za-z0-9_.'-]*|\"[^\"]+\") = .*[ (]\\./([A-Za-z0-9_./+-]+)[ ;){].*" line;
      entries = filter (found: found != null && builtins.elem (builtins.elemAt found 1) spellings) (map entry lines);
      names = map (found: lib.removePrefix "\"" (lib.removeSuffix "\"" (builtins.head found))) entries;
    in
    if !(builtins.pathExists "${tests}/all-tests.nix") then [ ]
    else filter (name: lib.hasAttrByPath (pathOf name) allTests) (lib.unique names);
  # `nat.firewall` is an attribute of a set
  pathOf = name: if allTests ? ${name} then [ name ] else lib.splitString "." name;
  named = name: lib.getAttrFromPath (pathOf name) allTests;
in
{
  import = importer;
  inherit named entriesOf;
}
