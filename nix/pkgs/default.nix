# The package set, as `import <nixpkgs> { }` gives it: Debian's packages behind nixpkgs' names and functions.
#
# Not here: the option library (../nixos), the functions without packages (../lib).
{
  # "x86_64-linux", or an attribute set with `system`
  localSystem ? { system = args.system or builtins.currentSystem; },
  system ? null,
  # accepted for nixpkgs' sake; what is built for is always what is built on
  crossSystem ? null,
  config ? { },
  overlays ? [ ],
  ...
}@args:

import ./set.nix {
  lib = import ../lib;
  system =
    let
      given = if system != null then system else localSystem;
      build = if builtins.isAttrs given then given.system else given;
      host = if crossSystem == null then build else if builtins.isAttrs crossSystem then crossSystem.system else crossSystem;
    in
    if host == build then
      build
    else
      throw "nixpkgs: crossSystem \"${host}\" differs from localSystem \"${build}\"; Debian's packages are native: set localSystem to \"${host}\"";
  inherit config overlays;
}
