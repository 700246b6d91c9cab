# `import <nixpkgs/nixos> { configuration = ...; }`: one machine.
{ configuration ? import <nixos-config>, system ? builtins.currentSystem, specialArgs ? { } }:
let
  eval = import ./lib/eval-config.nix { inherit system specialArgs; modules = [ configuration ]; };
in
{
  inherit (eval) pkgs config options;
  system = eval.config.system.build.toplevel;
  vm = eval.config.system.build.toplevel;
}
