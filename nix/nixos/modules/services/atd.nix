# The daemon of `at`, for commands at a given time.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.atd;
in
{
  options.services.atd = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = "Run atd.";
    };
    allowEveryone = mkOption {
      type = types.bool;
      default = false;
      description = "Let all users queue commands without setuid programs: the queue's folder is everybody's.";
    };
  };

  config = mkIf cfg.enable {
    environment.systemPackages = [ pkgs.at ];
    # Debian's at runs as this user.
    users.users.daemon = {
      isSystemUser = true;
      uid = 1;
      group = "daemon";
    };
    users.groups.daemon = { };
    # Without this file Debian's at lets only root.
    environment.etc."at.deny".text = "";
    security.pam.services.atd = { };
    security.wrappers = mkIf (!cfg.allowEveryone) (lib.genAttrs [ "at" "atq" "atrm" ] (program: {
      source = "${pkgs.at}/bin/${program}";
      owner = "daemon";
      group = "daemon";
      setuid = true;
      setgid = true;
    }));
    systemd.tmpfiles.rules =
      let mode = if cfg.allowEveryone then "1777" else "1770"; in
      [ "d /var/spool/cron 0755 root root -" "d /var/spool/cron/atjobs ${mode} daemon daemon -" "d /var/spool/cron/atspool ${mode} daemon daemon -" "f /var/spool/cron/atjobs/.SEQ 0660 daemon daemon - 0" ];
    systemd.services.atd = {
      description = "Job Execution Daemon (atd)";
      documentation = [ "man:atd(8)" ];
      wantedBy = [ "multi-user.target" ];
      path = [ pkgs.at ];
      serviceConfig = {
        Type = "forking";
        ExecStart = "${pkgs.at}/bin/atd";
      };
    };
  };
}
