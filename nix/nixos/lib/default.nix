# `import <nixpkgs/nixos/lib> { lib = ...; }`: what nixpkgs offers for tests and single machines.
{ lib ? import ../../lib, system ? builtins.currentSystem, tree ? null, ... }:
let
  of = module: (lib.evalModules { class = "nixosTest"; modules = [ module { options.hostPkgs = lib.mkOption { type = lib.types.raw; }; config._module.check = false; } ]; }).config.hostPkgs;
  testing = module: import ./testing-python.nix { inherit system tree; pkgs = of module; };
in
{
  evalModules = { modules ? [ ], specialArgs ? { }, prefix ? [ ] }: lib.evalModules {
    inherit modules prefix;
    class = "nixos";
    specialArgs = { modulesPath = toString ../modules; } // specialArgs;
  };
  evalTest = module: (testing module).evalTest module;
  runTest = module: (testing module).runTest module;
}
