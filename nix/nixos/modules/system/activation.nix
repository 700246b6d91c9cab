# Activation: what makes a machine of a toplevel, at boot and at a switch.
#
# One program (crate guest) does it from a list of lines, `activate.manifest` (docs/booting.md has the format), without
# starting a process. Scripts of system.activationScripts run too, all in one bash, and only if there are any.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (builtins) concatStringsSep elem filter map;
  cfg = config.system;

  field = s: lib.replaceStrings [ "\\" "\t" "\n" ] [ "\\\\" "\\t" "\\n" ] (toString s);
  line = fields: concatStringsSep "\t" (map field fields) + "\n";

  scriptType = types.coercedTo types.lines lib.noDepEntry (types.submodule {
    options = {
      deps = mkOption { type = types.listOf types.str; default = [ ]; description = "Scripts that run before this one."; };
      text = mkOption { type = types.lines; description = "The script."; };
      supportsDryActivation = mkOption { type = types.bool; default = false; description = "Whether the script heeds NIXOS_ACTION=dry-activate."; };
    };
  });
  scripts = cfg.activationScripts;
  given = filter (n: scripts.${n}.text != "") (lib.attrNames scripts);
  body = name: ''
    #### ${name}
    _localstatus=0
    ${scripts.${name}.text}
    if (( _localstatus > 0 )); then printf "activation script '%s' failed (%s)\n" ${lib.escapeShellArg name} "$_localstatus" >&2; fi
  '';
  ordered = lib.textClosureMap lib.id (lib.mapAttrs (name: s: { inherit (s) deps; text = if s.text == "" then "" else body name; }) scripts) (lib.attrNames scripts);
  program = pkgs.writeShellScript "activation-scripts" ''
    export PATH=${lib.makeBinPath (with pkgs; [ coreutils gnugrep findutils getent shadow util-linux ])}
    _status=0
    trap '_status=1; _localstatus=$?' ERR
    ${ordered}
    exit $_status
  '';

  # A virtual file of the embedded library, put there by the program; elsewhere only a name.
  activate =
    let path = ../../../guest + "/${config.nixpkgs.hostPlatform.system}/activate"; in
    if builtins.pathExists path then "${path}" else "/nixpkgs/guest/${config.nixpkgs.hostPlatform.system}/activate";
  linesType = lib.mkOptionType {
    name = "activation lines";
    description = "list of lists of fields";
    check = v: builtins.isList v && lib.all builtins.isList v;
    merge = _: defs: lib.concatMap (d: d.value) defs;
    emptyValue.value = [ ];
  };
in
{
  options.system = {
    activationScripts = mkOption {
      type = types.attrsOf scriptType;
      default = { };
      example = lib.literalExpression ''{ stdio.text = "..."; }'';
      description = "Shell scripts that run at every boot and switch, after users, groups and /etc are made.";
    };
    userActivationScripts = mkOption {
      type = types.attrsOf scriptType;
      default = { };
      description = "Shell scripts that run for users when they log in.";
    };
    activatable = mkOption { type = types.bool; default = true; description = "Whether the toplevel has an activation."; };
    activation.manifest = mkOption {
      type = linesType;
      default = [ ];
      internal = true;
      description = "Lines of the activation program, each a list of fields; mkOrder says where: groups and users are applied first in any case.";
    };
    activation.program = mkOption {
      type = types.str;
      internal = true;
      default = activate;
      description = "The activation program.";
    };
  };
  config = {
    # Names that scripts of the user's may depend on; the program has done their work before scripts run.
    system.activationScripts = lib.genAttrs
      [ "stdio" "specialfs" "users" "groups" "hashes" "etc" "var" "binsh" "usrbinenv" "hostname" "domain" "nix" "modprobe" "wrappers" "udevd" "tmpfs" "stage-2" ]
      (_: "");
    system.activation.manifest = lib.mkMerge [
      (lib.mkIf (given != [ ]) (lib.mkOrder 2000 [ [ "script" "activationScripts" "${program}" ] ]))
      (lib.mkOrder 3000 [ [ "exec" "/usr/lib/systemd/systemd" ] ])
    ];
    system.build.activationManifest = "nbv-activate 1\n" + lib.concatMapStrings line cfg.activation.manifest;
    system.build.activationScript = program;
  };
}
