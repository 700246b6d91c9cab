# system.stateVersion and what the system says of itself.
{ config, lib, options, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.system.nixos;
in
{
  options.system = {
    stateVersion = mkOption {
      type = types.str;
      default = lib.trivial.release;
      description = "The release whose defaults of stateful services the machine keeps.";
    };
    nixos = {
      version = mkOption { type = types.str; default = "${cfg.release}${cfg.versionSuffix}"; description = "The full version."; };
      release = mkOption { type = types.str; readOnly = true; default = lib.trivial.release; description = "The release."; };
      versionSuffix = mkOption { type = types.str; default = lib.trivial.versionSuffix; description = "What follows the release in the version."; };
      revision = mkOption { type = types.nullOr types.str; default = null; description = "The source's revision."; };
      codeName = mkOption { type = types.str; readOnly = true; default = lib.trivial.codeName; description = "The release's code name."; };
      distroId = mkOption { type = types.str; default = "nixos"; description = "The id in os-release."; };
      distroName = mkOption { type = types.str; default = "NixOS"; description = "The name in os-release."; };
      label = mkOption { type = types.strMatching "[a-zA-Z0-9:_\\.-]*"; default = lib.concatStringsSep "-" (lib.sort (a: b: a < b) cfg.tags ++ [ cfg.version ]); description = "The label of the configuration."; };
      tags = mkOption { type = types.listOf types.str; default = [ ]; description = "Words put before the label."; };
      variant_id = mkOption { type = types.nullOr types.str; default = null; description = "The variant in os-release."; };
      variantName = mkOption { type = types.nullOr types.str; default = null; description = "The variant's name in os-release."; };
      extraOSReleaseArgs = mkOption { type = types.attrsOf types.str; default = { }; description = "Further fields of os-release."; };
      extraLSBReleaseArgs = mkOption { type = types.attrsOf types.str; default = { }; description = "Further fields of lsb-release."; };
    };
    name = mkOption {
      type = types.str;
      default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "The name in the store path of the toplevel.";
    };
    configurationRevision = mkOption { type = types.nullOr types.str; default = null; description = "The revision of the configuration's source."; };
    defaultChannel = mkOption { type = types.str; internal = true; default = ""; description = "Accepted for compatibility."; };
    disableInstallerTools = mkOption { type = types.bool; internal = true; default = true; description = "There is no installer here."; };
    copySystemConfiguration = mkOption { type = types.bool; default = false; description = "Accepted for compatibility; the plan records the configuration."; };
    autoUpgrade.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
  };
  config = {
    environment.systemPackages = [
      (pkgs.writeShellScriptBin "nixos-version" ''
        case "''${1-}" in
          --hash|--revision) echo ${lib.escapeShellArg (if config.system.configurationRevision == null then cfg.revision or "unknown" else config.system.configurationRevision)} ;;
          --configuration-revision) echo ${lib.escapeShellArg (toString config.system.configurationRevision)} ;;
          --json) echo ${lib.escapeShellArg (builtins.toJSON { nixosVersion = cfg.version; inherit (config.system) configurationRevision; })} ;;
          *) echo ${lib.escapeShellArg "${cfg.version} (${cfg.codeName})"} ;;
        esac
      '')
    ];
    environment.etc."os-release".text = lib.concatStrings (lib.mapAttrsToList (n: v: "${n}=${lib.escapeShellArg v}\n") ({
      NAME = cfg.distroName;
      ID = cfg.distroId;
      ID_LIKE = "debian";
      VERSION = "${cfg.release} (${cfg.codeName})";
      VERSION_ID = cfg.release;
      VERSION_CODENAME = lib.toLower cfg.codeName;
      PRETTY_NAME = "${cfg.distroName} ${cfg.release} on Debian";
    }
    // lib.optionalAttrs (cfg.variant_id != null) { VARIANT_ID = cfg.variant_id; }
    // cfg.extraOSReleaseArgs));
    environment.etc."lsb-release".text = lib.concatStrings (lib.mapAttrsToList (n: v: "${n}=${lib.escapeShellArg v}\n") ({
      DISTRIB_ID = cfg.distroId;
      DISTRIB_RELEASE = cfg.release;
      DISTRIB_CODENAME = lib.toLower cfg.codeName;
      DISTRIB_DESCRIPTION = "${cfg.distroName} ${cfg.release}";
      LSB_VERSION = "${cfg.release} (${cfg.codeName})";
    } // cfg.extraLSBReleaseArgs));
  };
}
