# bin/switch-to-configuration: changes a running machine to this configuration.
#
# It works from the text of the units: those that are no longer there are stopped, those that changed are restarted or
# reloaded as their X- lines say, new ones that the default unit wants are started.
{ config, lib, pkgs, ... }:
{
  options.system.switch.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = "Whether the toplevel has switch-to-configuration.";
  };
  config.system.build.switchToConfiguration = pkgs.writeScript "switch-to-configuration"
    ("#!${pkgs.runtimeShell}\nexport PATH=${lib.makeBinPath (with pkgs; [ coreutils gnugrep gnused diffutils findutils config.systemd.package ])}\n"
    + builtins.readFile ./switch.sh);
}
