# The journal.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.journald;
in
{
  options.services.journald = {
    console = mkOption { type = types.str; default = ""; example = "/dev/tty1"; description = "A terminal that messages are also written to."; };
    rateLimitInterval = mkOption { type = types.str; default = "30s"; description = "The interval of rateLimitBurst."; };
    rateLimitBurst = mkOption { type = types.int; default = 10000; description = "How many messages a service may write in an interval."; };
    storage = mkOption { type = types.enum [ "persistent" "volatile" "auto" "none" ]; default = "volatile"; description = "Where the journal is kept: in memory unless said otherwise, because machines are short-lived."; };
    audit = mkOption { type = types.nullOr types.bool; default = false; description = "Whether the kernel's audit messages are taken."; };
    forwardToSyslog = mkOption { type = types.bool; default = false; description = "Whether messages go to a syslog daemon too."; };
    extraConfig = mkOption { type = types.lines; default = ""; example = "Storage=volatile"; description = "Lines of journald.conf."; };
  };
  config = {
    systemd.additionalUpstreamSystemUnits = [ "systemd-journald.service" "systemd-journald.socket" "systemd-journald-dev-log.socket" ]
      ++ lib.optionals (cfg.storage == "persistent" || cfg.storage == "auto") [ "systemd-journal-flush.service" ];
    systemd.upstreamWants = [
      "sockets.target.wants/systemd-journald.socket"
      "sockets.target.wants/systemd-journald-dev-log.socket"
      "sysinit.target.wants/systemd-journald.service"
    ] ++ lib.optionals (cfg.storage == "persistent" || cfg.storage == "auto") [ "sysinit.target.wants/systemd-journal-flush.service" ];
    environment.etc."systemd/journald.conf".text = ''
      [Journal]
      Storage=${cfg.storage}
      RateLimitInterval=${cfg.rateLimitInterval}
      RateLimitBurst=${toString cfg.rateLimitBurst}
      ${lib.optionalString (cfg.console != "") "ForwardToConsole=yes\nTTYPath=${cfg.console}\n"}ForwardToSyslog=${lib.boolToYesNo cfg.forwardToSyslog}
      ForwardToWall=no
      ReadKMsg=no
      ${lib.optionalString (cfg.storage == "volatile") "RuntimeMaxUse=16M\n"}${lib.optionalString (cfg.audit != null) "Audit=${lib.boolToYesNo cfg.audit}\n"}${cfg.extraConfig}
    '';
    users.groups.systemd-journal.gid = config.ids.gids.systemd-journal;
  };
}
