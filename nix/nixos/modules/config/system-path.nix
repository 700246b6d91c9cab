# environment.systemPackages and /run/current-system/sw.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  # Programs that every machine has on its path.
  required = with pkgs; [
    bashInteractive coreutils diffutils findutils gawk getent getconf gnugrep gnupatch gnused gnutar gzip bzip2 xz zstd
    hostname less libcap ncurses procps su time util-linux which kmod shadow iproute2 iputils curl cpio
  ];
in
{
  options = {
    environment.systemPackages = mkOption { type = types.listOf types.package; default = [ ]; example = lib.literalExpression "[ pkgs.firefox pkgs.thunderbird ]"; description = "Packages whose programs everybody has on their path."; };
    environment.defaultPackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages that are not necessary but usual; none here, to keep the layer small."; };
    environment.corePackages = mkOption { type = types.listOf types.package; default = required; defaultText = lib.literalExpression "the usual programs"; internal = true; description = "Packages that every machine has."; };
    environment.pathsToLink = mkOption { type = types.listOf types.str; default = [ ]; example = [ "/" ]; description = "Folders of packages that are linked into /run/current-system/sw."; };
    environment.extraOutputsToInstall = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility: a package of Debian's has one output."; };
    environment.extraSetup = mkOption { type = types.lines; default = ""; description = "Shell commands that change the merged tree, with it in $out."; };
    system.path = mkOption { type = types.raw; internal = true; description = "The merged tree of all system packages."; };
  };
  config = {
    environment.systemPackages = config.environment.corePackages ++ config.environment.defaultPackages ++ [ config.systemd.package ];
    environment.pathsToLink = [ "/bin" "/etc/xdg" "/share/applications" "/share/bash-completion" "/share/icons" "/share/mime" "/share/terminfo" "/share/zoneinfo" "/share/nano" ];
    system.path = pkgs.buildEnv {
      name = "system-path";
      paths = config.environment.systemPackages;
      inherit (config.environment) pathsToLink;
      ignoreCollisions = true;
      postBuild = config.environment.extraSetup;
    };
  };
}
