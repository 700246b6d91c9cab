# Evaluates the modules of one machine, with those of this library.
{
  # used where the configuration does not say: nixpkgs.hostPlatform or nixpkgs.localSystem
  system ? builtins.currentSystem or null
, pkgs ? null
, lib ? import ../../lib
, baseModules ? import ../modules/module-list.nix
, extraModules ? [ ]
, modules
, modulesLocation ? null
, specialArgs ? { }
, extraArgs ? { }
, check ? true
, prefix ? [ ]
  # system -> package set, where the caller shares sets between machines
, pkgsFor ? null
  # folder of the nixpkgs tree that the modules lie in, or null: it has the modules that this library lacks
, tree ? null
}:
let
  located = if modulesLocation == null then modules else map (lib.setDefaultModuleLocation modulesLocation) modules;
  fromCaller = {
    _file = "lib/eval-config.nix";
    key = "lib/eval-config.nix";
    config = lib.mkMerge [
      {
        _module.args = {
          inherit baseModules extraModules;
          modules = located;
          noUserModules = noUserModules;
        } // extraArgs;
        _module.check = lib.mkDefault check;
      }
      (if system == null then { } else { nixpkgs.system = lib.mkDefault system; })
      (if pkgs == null then { } else { _module.args.pkgs = lib.mkForce pkgs; })
      (if pkgsFor == null then { } else { nixpkgs.packageSets = pkgsFor; })
    ];
  };
  evaluate = ms: lib.evalModules {
    class = "nixos";
    inherit prefix;
    modules = baseModules ++ extraModules ++ [ fromCaller ] ++ ms;
    specialArgs = { modulesPath = if tree == null then toString ../modules else "${tree}/nixos/modules"; } // specialArgs;
  };
  noUserModules = evaluate [ ];
  treeModules = import ./tree-modules.nix { inherit lib; root = tree; pkgs = pkgsFor' system; };
  pkgsFor' = if pkgsFor != null then pkgsFor else system: import ../../pkgs { localSystem = { inherit system; }; };
  fromTree =
    if tree == null then [ ]
    else
      let
        base = [
          { _file = "lib/eval-config.nix"; inherit (treeModules) ids; _module.optionalFiles = lib.tree.below treeModules.folder; }
        ] ++ located;
      in
      base ++ treeModules.needed (more: evaluate (base ++ more ++ [ { _module.check = lib.mkForce false; } ]));
  result = evaluate (if tree == null then located else fromTree);
in
result // {
  inherit lib extraArgs;
  inherit (result._module.args) pkgs;
}
