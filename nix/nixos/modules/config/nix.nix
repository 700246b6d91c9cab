# nix.*: there is no Nix inside the machines; its options are accepted.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.nix = {
    enable = mkOption { type = types.bool; default = false; description = "Whether Nix is in the machine; Debian's layer has none."; };
    package = mkOption { type = types.raw; default = null; description = "Accepted for compatibility."; };
    settings = mkOption { type = types.submodule { freeformType = types.attrsOf types.anything; }; default = { }; description = "Settings of nix.conf."; };
    gc = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
    optimise = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
    nixPath = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
    registry = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
    channel.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    extraOptions = mkOption { type = types.lines; default = ""; description = "Accepted for compatibility."; };
    buildMachines = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Accepted for compatibility."; };
    distributedBuilds = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    checkConfig = mkOption { type = types.bool; default = true; description = "Accepted for compatibility."; };
  };
  config.assertions = [
    {
      assertion = !config.nix.enable;
      message = "nix.enable: machines of Debian's packages have no Nix; remove the definition";
    }
  ];
}
