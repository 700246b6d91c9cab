# Paths in a nixpkgs tree of the user's: what in it this library stands for.
#
# A test or module that lies in such a tree imports its neighbours by relative paths. Modules of NixOS that this library
# has are taken from here, the others from the tree.
{ lib }:
let
  inherit (builtins) elemAt match pathExists stringLength substring toString;
  own = toString ../.;
in
rec {
  # { root, rest } of a path below the folder `nixos` of a tree, or null: "/p/nixos/tests/x.nix" is { root = "/p"; rest = "tests/x.nix"; }.
  split = path:
    let found = match "(.*)/nixos/((modules|tests|lib)(/.*)?)" path; in
    if found == null || elemAt found 0 == own || !(isTree (elemAt found 0)) then null
    else { root = elemAt found 0; rest = elemAt found 1; };
  isTree = root: root != "" && pathExists (root + "/nixos/modules/module-list.nix") && pathExists (root + "/lib");

  # The file to load for a module's path.
  resolve = path:
    if match ".*/nixos/modules/.*" path == null then path
    else
      let
        found = split path;
        ours = own + "/nixos/" + found.rest;
      in
      if found != null && pathExists ours then ours else path;
  # The same of something that may be imported: a path stays a path.
  resolveModule = m:
    let
      given = toString m;
      path = resolve given;
    in
    if path == given then m else path;

  # Whether `path` lies below `folder`.
  below = folder: path: substring 0 (stringLength folder + 1) path == "${folder}/";
}
