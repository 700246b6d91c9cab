# The older form of tests: `import ./make-test-python.nix ({ pkgs, ... }: { ... })`.
f:
{ system ? builtins.currentSystem, pkgs ? import ../.. { inherit system; }, ... }@args:
if pkgs.lib.isFunction f then f (args // { inherit pkgs system; inherit (pkgs) lib; }) else f
