# The toplevel: a folder that is the whole machine. /run/current-system leads to it.
{ config, lib, pkgs, extendModules, ... }:
let
  inherit (lib) mkOption types;
  inherit (builtins) filter map;
  cfg = config.system;

  failing = filter (x: !x.assertion) config.assertions;
  failed = map (x: x.message) failing;
  # where the first of them is written, if that is outside of this library
  pos =
    let p = builtins.unsafeGetAttrPos "message" (builtins.head failing); in
    if p == null || lib.hasPrefix (toString ../../..) p.file then null else p;
  # All failed assertions are one error.
  asserted = value:
    if failed == [ ] then value
    else lib.diagnostics.fail {
      code = "failed-assertion";
      message = "Failed assertions:\n${lib.concatMapStringsSep "\n" (m: "- ${m}") failed}";
      inherit pos;
      notes = [ "in the machine `${cfg.name}`" ];
    };

  specialisations = lib.mapAttrs
    (_: s: s.configuration.system.build.toplevel)
    config.specialisation;
  entries =
    [
      { name = "init"; path = cfg.activation.program; }
      { name = "activate"; path = cfg.activation.program; }
      { name = "activate.manifest"; text = cfg.build.activationManifest; }
      { name = "etc"; path = "${cfg.build.etc}/etc"; }
      { name = "sw"; path = "${cfg.path}"; }
      { name = "systemd"; path = "${config.systemd.package}"; }
      { name = "kernel-params"; text = lib.concatStringsSep " " config.boot.kernelParams; }
      { name = "nixos-version"; text = cfg.nixos.label; }
      { name = "system"; text = config.nixpkgs.hostPlatform.system; }
      { name = "init-interface-version"; text = "systemd 257"; }
      { name = "bin/switch-to-configuration"; path = "${cfg.build.switchToConfiguration}"; }
    ]
    ++ lib.optional (cfg.configurationRevision != null) { name = "configuration-revision"; text = cfg.configurationRevision; }
    ++ lib.mapAttrsToList (name: path: { name = "specialisation/${name}"; path = "${path}"; }) specialisations
    ++ lib.mapAttrsToList (name: path: { inherit name; path = "${path}"; }) cfg.extraTopLevelLinks;
  base = pkgs.nbvFarm "nixos-system-${cfg.name}-${cfg.nixos.label}" entries;
in
{
  options = {
    system.build = mkOption {
      type = types.submodule { freeformType = types.lazyAttrsOf types.unspecified; };
      default = { };
      description = "Derivations made from the configuration.";
    };
    system.extraTopLevelLinks = mkOption { type = types.attrsOf types.path; default = { }; internal = true; description = "Further links in the toplevel."; };
    system.extraDependencies = mkOption { type = types.listOf types.pathInStore; default = [ ]; description = "Store paths that belong to the machine though nothing refers to them."; };
    system.checks = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that are built with the machine."; };
    system.systemBuilderCommands = mkOption { type = types.lines; default = ""; internal = true; description = "Accepted for compatibility."; };
    system.forbiddenDependenciesRegexes = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
    specialisation = mkOption {
      default = { };
      description = "Further configurations of the machine, which it can be switched to.";
      type = types.attrsOf (types.submodule (local: {
        options = {
          inheritParentConfig = mkOption { type = types.bool; default = true; description = "Whether the machine's own configuration is included."; };
          configuration = mkOption {
            default = { };
            description = "The configuration.";
            type = (if local.config.inheritParentConfig then extendModules { modules = [ { specialisation = lib.mkOverride 0 { }; } ]; }
            else throw "specialisation.${local.name or ""}.inheritParentConfig = false is not supported").type;
            visible = "shallow";
          };
        };
      }));
    };
  };
  config = {
    system.build = {
      # Checked, warnings left to the caller.
      checkedToplevel = asserted base;
      toplevel = lib.showWarnings config.warnings (asserted base);
    };
    environment.etc = lib.mkIf (cfg.extraDependencies != [ ] || cfg.checks != [ ]) {
      "nbv/dependencies".text = lib.concatMapStrings (p: "${p}\n") (cfg.extraDependencies ++ cfg.checks);
    };
  };
}
