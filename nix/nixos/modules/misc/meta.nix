# Attributes that modules carry about themselves, and the arguments `utils` and `lib`.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    meta = {
      maintainers = mkOption { type = types.listOf types.raw; internal = true; default = [ ]; description = "Who looks after each module."; };
      doc = mkOption { type = types.raw; internal = true; default = null; description = "Documentation of a module."; };
      buildDocsInSandbox = mkOption { type = types.bool; internal = true; default = true; description = "Accepted for compatibility."; };
    };
    lib = mkOption {
      type = types.attrsOf types.attrs;
      default = { };
      description = "Functions that modules offer to others.";
    };
    documentation = {
      enable = mkOption { type = types.bool; default = false; description = "Whether to install documentation; the layer has none."; };
      nixos.enable = mkOption { type = types.bool; default = false; description = "Whether to install the manual."; };
      man.enable = mkOption { type = types.bool; default = false; description = "Whether to install manual pages."; };
      info.enable = mkOption { type = types.bool; default = false; description = "Whether to install info pages."; };
      doc.enable = mkOption { type = types.bool; default = false; description = "Whether to install other documents."; };
    };
  };
  config._module.args.utils = import ../../lib/utils.nix { inherit lib config pkgs; };
}
