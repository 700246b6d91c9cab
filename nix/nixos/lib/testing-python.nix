# Tests from expressions, as nixpkgs' nixos/lib/testing-python.nix: makeTest, runTest, evalTest, simpleTest.
{ system ? builtins.currentSystem
, pkgs ? import ../../pkgs { localSystem = { inherit system; }; }
, extraConfigurations ? [ ]
  # folder of the nixpkgs tree that the caller lies in, or null
, tree ? null
, ...
}:
let
  lib = import ../../lib;
  make = import ./testing/one.nix { inherit lib system pkgs tree; };
in
rec {
  inherit pkgs;
  evalTest = module:
    let test = make [ module ]; in
    { _type = "configuration"; inherit (test) config; };
  runTest = module: make [ module ];
  makeTest = { pos ? null, machine ? null, ... }@t: make [
    { _file = if t ? testScript then (builtins.unsafeGetAttrPos "testScript" t).file or "makeTest" else "makeTest"; config = removeAttrs t [ "pos" ]; }
    { defaults.imports = extraConfigurations; }
  ];
  simpleTest = as: makeTest as;
}
