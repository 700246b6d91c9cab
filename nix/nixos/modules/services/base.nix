# The parts of a running system that machines do without until something asks: logins on the console, D-Bus, udev,
# the login manager, the clock's synchronisation.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkMerge mkOption types;
  cfg = config.services;
  screen = config.virtualisation.graphics;

  flag = default: description: mkOption {
    type = types.bool;
    inherit default description;
  };

  # Debian's own configuration reads folders in /usr that are not there; NixOS' reads those of the packages named.
  busPackages = lib.unique cfg.dbus.packages;
  busConfig = kind: pkgs.writeText "dbus-${kind}.conf" ''
    <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
    <busconfig>
      <type>${kind}</type>
      ${
        if kind == "system" then
          ''
            <user>messagebus</user>
              <fork/>
              <servicehelper>/usr/lib/dbus-1.0/dbus-daemon-launch-helper</servicehelper>
              <auth>EXTERNAL</auth>
              <listen>unix:path=/run/dbus/system_bus_socket</listen>
              <policy context="default">
                <allow user="*"/>
                <deny own="*"/>
                <deny send_type="method_call"/>
                <allow send_type="signal"/>
                <allow send_requested_reply="true" send_type="method_return"/>
                <allow send_requested_reply="true" send_type="error"/>
                <allow receive_type="method_call"/>
                <allow receive_type="method_return"/>
                <allow receive_type="error"/>
                <allow receive_type="signal"/>
                <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
                <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
                <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
                <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus" send_member="UpdateActivationEnvironment"/>
              </policy>
              <policy user="root">
                <allow send_destination="org.freedesktop.systemd1"/>
                <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
              </policy>''
        else
          ''
            <keep_umask/>
              <listen>unix:tmpdir=/tmp</listen>
              <auth>EXTERNAL</auth>
              <policy context="default">
                <allow send_destination="*" eavesdrop="true"/>
                <allow eavesdrop="true"/>
                <allow own="*"/>
              </policy>''
      }
    ${lib.concatMapStrings (
      package: "  <servicedir>${package}/share/dbus-1/${kind}-services</servicedir>\n  <includedir>${package}/share/dbus-1/${kind}.d</includedir>\n  <includedir>${package}/etc/dbus-1/${kind}.d</includedir>\n"
    ) busPackages}</busconfig>
  '';

  rules = pkgs.writeText "99-local.rules" cfg.udev.extraRules;
in
{
  options.services = {
    getty = {
      autologinUser = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "User who is logged in on consoles without being asked.";
      };
      greetingLine = mkOption {
        type = types.str;
        default = ''<<< Welcome to ${config.system.nixos.distroName} ${config.system.nixos.label} (\m) - \l >>>'';
        defaultText = "a line with the system's name";
        description = "First line of the login prompt.";
      };
      helpLine = mkOption {
        type = types.lines;
        default = "";
        description = "Text below it.";
      };
      extraArgs = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Further arguments of agetty.";
      };
      consoles = mkOption {
        type = types.listOf types.str;
        default = lib.optional screen "tty1";
        defaultText = "tty1 for machines with a screen";
        example = [ "hvc0" ];
        description = "Terminals with a login prompt. (NixOS has one on every console; here each costs time at boot.)";
      };
    };

    dbus = {
      enable = flag false "The message bus of the system. (NixOS always has it; here it runs when something needs it.)";
      packages = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Packages whose services and policies the bus knows.";
      };
      implementation = mkOption {
        type = types.enum [ "dbus" ];
        default = "dbus";
        description = "The program.";
      };
    };

    udev = {
      enable = flag false "The device manager. Devices of these machines are made by the kernel; it is needed for rules and names of one's own.";
      packages = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Packages with rules.";
      };
      extraRules = mkOption {
        type = types.lines;
        default = "";
        description = "Rules.";
      };
      extraHwdb = mkOption {
        type = types.lines;
        default = "";
        description = "Accepted for NixOS' sake.";
      };
      path = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Packages whose programs rules run.";
      };
    };

    logind = {
      enable = flag false "The login manager: sessions of users, /run/user, shutdown by the power button.";
      lidSwitch = mkOption {
        type = types.str;
        default = "ignore";
        description = "What closing a lid does.";
      };
      extraConfig = mkOption {
        type = types.lines;
        default = "";
        description = "Lines of logind.conf.";
      };
      settings.Login = mkOption {
        type = types.attrsOf (types.oneOf [ types.bool types.int types.str ]);
        default = { };
        description = "Settings of logind.conf.";
      };
      killUserProcesses = flag false "End a user's processes when the user logs out.";
    };

    timesyncd = {
      enable = flag false "Synchronise the clock. (NixOS does by default; the machines get the host's time at their start.)";
      servers = mkOption {
        type = types.listOf types.str;
        default = config.networking.timeServers;
        defaultText = "networking.timeServers";
        description = "Time servers.";
      };
      extraConfig = mkOption {
        type = types.lines;
        default = "";
        description = "Lines of timesyncd.conf.";
      };
    };

    resolved = {
      enable = flag false "systemd's resolver.";
      fallbackDns = mkOption {
        type = types.nullOr (types.listOf types.str);
        default = null;
        description = "Servers where no others are known.";
      };
      dnssec = mkOption {
        type = types.str;
        default = "false";
        description = "Whether answers are validated.";
      };
      extraConfig = mkOption {
        type = types.lines;
        default = "";
        description = "Lines of resolved.conf.";
      };
    };

    cron = {
      enable = flag (cfg.cron.systemCronJobs != [ ]) "The cron daemon.";
      systemCronJobs = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "*/5 * * * * root date >> /tmp/cron.log" ];
        description = "Lines of the system's crontab.";
      };
      mailto = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Where output goes.";
      };
    };
  };

  config = mkMerge [
    {
      environment.etc.issue.text = "${cfg.getty.greetingLine}\n${cfg.getty.helpLine}\n";
      systemd.services."getty@" = mkIf (cfg.getty.consoles != [ ] || cfg.logind.enable) {
        description = "Login on %I";
        aliases = [ "autovt@.service" ];
        after = [ "systemd-user-sessions.service" ];
        restartIfChanged = false;
        unitConfig.IgnoreOnIsolate = true;
        serviceConfig = {
          Type = "idle";
          ExecStart = lib.concatStringsSep " " (
            [ "/usr/bin/agetty" "--noclear" "--login-program" "/usr/bin/login" ]
            ++ lib.optionals (cfg.getty.autologinUser != null) [ "--autologin" cfg.getty.autologinUser ]
            ++ cfg.getty.extraArgs
            ++ [ "%I" "$TERM" ]
          );
          Restart = "always";
          RestartSec = 0;
          UtmpIdentifier = "%I";
          TTYPath = "/dev/%I";
          TTYReset = true;
          TTYVHangup = true;
          StandardInput = "tty";
          StandardOutput = "tty";
          SendSIGHUP = true;
          KillMode = "process";
          UnsetEnvironment = "LANG LANGUAGE LC_CTYPE LC_NUMERIC LC_TIME LC_COLLATE LC_MONETARY LC_MESSAGES LC_PAPER LC_NAME LC_ADDRESS LC_TELEPHONE LC_MEASUREMENT LC_IDENTIFICATION";
        };
      };
      systemd.units = lib.listToAttrs (
        map (terminal: lib.nameValuePair "getty@${terminal}.service" { wantedBy = [ "multi-user.target" ]; }) cfg.getty.consoles
      );
    }

    (mkIf cfg.dbus.enable {
      users.users.messagebus = {
        isSystemUser = true;
        group = "messagebus";
        uid = 4;
        description = "D-Bus system message bus daemon user";
        home = "/run/dbus";
      };
      users.groups.messagebus.gid = 4;
      services.dbus.packages = [ pkgs.systemd pkgs.dbus ];
      environment.systemPackages = [ pkgs.dbus ];
      environment.etc."dbus-1/system.conf".source = busConfig "system";
      environment.etc."dbus-1/session.conf".source = busConfig "session";
      systemd.sockets.dbus = {
        description = "D-Bus system message bus socket";
        wantedBy = [ "sockets.target" ];
        socketConfig.ListenStream = "/run/dbus/system_bus_socket";
      };
      systemd.services.dbus = {
        description = "D-Bus system message bus";
        requires = [ "dbus.socket" ];
        restartIfChanged = false;
        serviceConfig = {
          Type = "notify";
          NotifyAccess = "main";
          ExecStart = "${pkgs.dbus}/bin/dbus-daemon --config-file=/etc/dbus-1/system.conf --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only";
          ExecReload = "${pkgs.dbus}/bin/dbus-send --print-reply --system --type=method_call --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig";
          OOMScoreAdjust = -900;
        };
      };
    })

    (mkIf cfg.udev.enable {
      systemd.additionalUpstreamSystemUnits = [
        "systemd-udevd-control.socket" "systemd-udevd-kernel.socket" "systemd-udevd.service" "systemd-udev-trigger.service" "systemd-udev-settle.service"
      ];
      systemd.upstreamWants = [
        "sockets.target.wants/systemd-udevd-control.socket" "sockets.target.wants/systemd-udevd-kernel.socket"
        "sysinit.target.wants/systemd-udevd.service" "sysinit.target.wants/systemd-udev-trigger.service"
      ];
      environment.etc."udev/rules.d/99-local.rules" = mkIf (cfg.udev.extraRules != "") { source = rules; };
      environment.etc."udev/rules.d/50-packages.rules" = mkIf (cfg.udev.packages != [ ]) {
        source = pkgs.runCommand "package-rules" { } ''
          touch $out
          for package in ${lib.concatStringsSep " " (map toString cfg.udev.packages)}; do
            for file in $package/lib/udev/rules.d/*.rules $package/etc/udev/rules.d/*.rules; do cat "$file" >> $out; done
          done
        '';
      };
    })

    # The power button of a machine with a keyboard is the login manager's.
    (mkIf (cfg.logind.enable && screen) {
      services.udev.enable = lib.mkDefault true;
      boot.kernelModules = [ "button" "evdev" ];
    })

    (mkIf cfg.logind.enable {
      services.dbus.enable = true;
      systemd.additionalUpstreamSystemUnits = [
        "systemd-logind.service" "user@.service" "user-runtime-dir@.service" "systemd-user-sessions.service"
      ] ++ lib.optional (!pkgs.stdenv.hostPlatform.isi686) "systemd-logind-varlink.socket";
      systemd.upstreamWants = [ "multi-user.target.wants/systemd-logind.service" "multi-user.target.wants/systemd-user-sessions.service" ];
      systemd.services.systemd-logind.environment = { };
      environment.etc."systemd/logind.conf".text = ''
        [Login]
        KillUserProcesses=${if cfg.logind.killUserProcesses then "yes" else "no"}
        HandleLidSwitch=${cfg.logind.lidSwitch}
        ${lib.concatStrings (lib.mapAttrsToList (key: value: "${key}=${if builtins.isBool value then (if value then "yes" else "no") else toString value}\n") cfg.logind.settings.Login)}${cfg.logind.extraConfig}
      '';
      services.dbus.packages = [ pkgs.libpam-systemd ];
    })

    (mkIf cfg.timesyncd.enable {
      users.users.systemd-timesync = {
        isSystemUser = true;
        group = "systemd-timesync";
      };
      users.groups.systemd-timesync = { };
      services.dbus.packages = [ pkgs.systemd-timesyncd ];
      environment.etc."systemd/timesyncd.conf".text = "[Time]\nNTP=${lib.concatStringsSep " " cfg.timesyncd.servers}\n${cfg.timesyncd.extraConfig}\n";
      systemd.additionalUpstreamSystemUnits = [ "systemd-timesyncd.service" ];
      systemd.upstreamWants = [ "multi-user.target.wants/systemd-timesyncd.service" ];
    })

    (mkIf cfg.resolved.enable {
      users.users.systemd-resolve = {
        isSystemUser = true;
        group = "systemd-resolve";
      };
      users.groups.systemd-resolve = { };
      services.dbus = {
        enable = true;
        packages = [ pkgs.systemd-resolved ];
      };
      networking.nameservers = lib.mkBefore [ "127.0.0.53" ];
      environment.etc."systemd/resolved.conf".text = ''
        [Resolve]
        DNSSEC=${cfg.resolved.dnssec}
        ${lib.optionalString (cfg.resolved.fallbackDns != null) "FallbackDNS=${lib.concatStringsSep " " cfg.resolved.fallbackDns}"}
        ${cfg.resolved.extraConfig}
      '';
      systemd.additionalUpstreamSystemUnits = [ "systemd-resolved.service" ];
      systemd.upstreamWants = [ "multi-user.target.wants/systemd-resolved.service" ];
    })

    (mkIf cfg.cron.enable {
      environment.etc.crontab.source = pkgs.writeText "crontab" ''
        SHELL=${pkgs.bash}/bin/bash
        PATH=/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin
        ${lib.optionalString (cfg.cron.mailto != null) "MAILTO=\"${cfg.cron.mailto}\""}
        ${lib.concatStringsSep "\n" cfg.cron.systemCronJobs}
      '';
      security.pam.services.cron = { };
      systemd.tmpfiles.rules = [ "d /var/spool/cron/crontabs 1730 root root -" "d /etc/cron.d 0755 root root -" ];
      systemd.services.cron = {
        description = "Cron daemon";
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.cron}/bin/cron -f";
      };
    })
  ];
}
