# The older form of tests: `import ./make-test-python.nix ({ pkgs, ... }: { ... })`.
f:
{ system ? builtins.currentSystem, pkgs ? import ../.. { inherit system; }, ... }@args:
(import ../lib/testing-python.nix { inherit system pkgs; }).makeTest
  (if pkgs.lib.isFunction f then f (args // { inherit pkgs system; inherit (pkgs) lib; }) else f)
