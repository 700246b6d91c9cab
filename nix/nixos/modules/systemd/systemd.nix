# systemd.*: units in full generality, the manager's configuration.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types mkIf literalExpression optionalString optional optionals;
  inherit (builtins) mapAttrs map concatMap;
  cfg = config.systemd;
  kinds = import ../../lib/systemd-options.nix { inherit lib; };
  sdLib = import ../../lib/systemd-lib.nix { inherit lib config pkgs; };

  unitConfig = suffix: { config, name, ... }: {
    config = {
      name = lib.mkOptionDefault "${name}${suffix}";
      unitConfig = sdLib.unitSection config;
    };
  };
  defaultPath = [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused cfg.package ];
  serviceConfig = { config, name, ... }:
    let
      script = what: text: "${sdLib.shellScript "${name}-${what}" text}/bin/${sdLib.mkPathSafeName "${name}-${what}"}";
      path = config.path ++ optionals config.enableDefaultPath defaultPath;
    in
    {
      config = {
        environment.PATH = mkIf (path != [ ]) (lib.mkDefault (lib.makeBinPath path));
        serviceConfig = lib.mkMerge [
          (mkIf (config.script != "") { ExecStart = script "start" config.script + optionalString (config.scriptArgs != "") " ${config.scriptArgs}"; })
          (mkIf (config.preStart != "") { ExecStartPre = [ (script "pre-start" config.preStart) ]; })
          (mkIf (config.postStart != "") { ExecStartPost = [ (script "post-start" config.postStart) ]; })
          (mkIf (config.reload != "") { ExecReload = script "reload" config.reload; })
          (mkIf (config.preStop != "") { ExecStop = script "pre-stop" config.preStop; })
          (mkIf (config.postStop != "") { ExecStopPost = script "post-stop" config.postStop; })
        ];
      };
    };
  mountConfig = { config, ... }: {
    config = {
      name = "${sdUtils.escapeSystemdPath config.where}.mount";
      mountConfig = {
        What = config.what;
        Where = config.where;
      } // lib.optionalAttrs (config.type != "") { Type = config.type; }
      // lib.optionalAttrs (config.options != "") { Options = config.options; };
    };
  };
  automountConfig = { config, ... }: {
    config = {
      name = "${sdUtils.escapeSystemdPath config.where}.automount";
      automountConfig.Where = config.where;
    };
  };
  sdUtils = import ../../lib/utils.nix { inherit lib config pkgs; };

  submodules = {
    services = types.submodule [ kinds.common kinds.triggers kinds.service (unitConfig ".service") serviceConfig ];
    sockets = types.submodule [ kinds.common kinds.triggers kinds.socket (unitConfig ".socket") ];
    timers = types.submodule [ kinds.common kinds.triggers kinds.timer (unitConfig ".timer") ];
    paths = types.submodule [ kinds.common kinds.triggers kinds.path (unitConfig ".path") ];
    slices = types.submodule [ kinds.common kinds.triggers kinds.slice (unitConfig ".slice") ];
    targets = types.submodule [ kinds.common kinds.triggers (unitConfig ".target") ];
    mounts = types.submodule [ kinds.common kinds.triggers kinds.mount unitConfig' mountConfig ];
    automounts = types.submodule [ kinds.common kinds.triggers kinds.automount unitConfig' automountConfig ];
    units = types.submodule [ kinds.concreteUnit ({ name, config, ... }: { config.unit = lib.mkDefault (sdLib.makeUnit name config); }) ];
  };
  unitConfig' = { config, ... }: { config.unitConfig = sdLib.unitSection config; };
  many = type: description: mkOption { type = types.attrsOf type; default = { }; inherit description; };
  # All units of the kinds as whole files, by name.
  concreteOf = c:
    let
      each = kind: suffix: toUnit: lib.mapAttrs' (n: v: { name = "${n}${suffix}"; value = toUnit v; }) kind;
    in
    each c.services ".service" sdLib.serviceToUnit
    // each c.sockets ".socket" sdLib.socketToUnit
    // each c.targets ".target" sdLib.targetToUnit
    // each c.timers ".timer" sdLib.timerToUnit
    // each c.paths ".path" sdLib.pathToUnit
    // each c.slices ".slice" sdLib.sliceToUnit;
  unnamed = list: toUnit: builtins.listToAttrs (map (m: { inherit (m) name; value = toUnit m; }) list);
in
{
  options.systemd = {
    package = mkOption { type = types.package; default = pkgs.systemd; defaultText = literalExpression "pkgs.systemd"; description = "The systemd package."; };
    packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages whose units (lib/systemd/system) are available."; };
    units = many submodules.units "Units as whole files.";
    services = many submodules.services "Services.";
    sockets = many submodules.sockets "Sockets.";
    timers = many submodules.timers "Timers.";
    paths = many submodules.paths "Paths.";
    slices = many submodules.slices "Slices.";
    targets = many submodules.targets "Targets.";
    mounts = mkOption { type = types.listOf submodules.mounts; default = [ ]; description = "Mounts."; };
    automounts = mkOption { type = types.listOf submodules.automounts; default = [ ]; description = "Automounts."; };
    generators = mkOption { type = types.attrsOf types.path; default = { }; example = { systemd-gpt-auto-generator = "/dev/null"; }; description = "Generators by name; /dev/null takes one out of effect."; };
    shutdown = mkOption { type = types.attrsOf types.path; default = { }; description = "Programs run at the end of a shutdown."; };
    defaultUnit = mkOption { type = types.str; default = "multi-user.target"; description = "The unit that the boot ends in."; };
    ctrlAltDelUnit = mkOption { type = types.str; default = "reboot.target"; description = "The unit started by Ctrl-Alt-Del."; };
    globalEnvironment = mkOption { type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ])); default = { }; description = "Environment of all services."; };
    managerEnvironment = mkOption { type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ])); default = { }; description = "Environment of PID 1."; };
    enableEmergencyMode = mkOption { type = types.bool; default = false; description = "Whether a failed mount stops the boot in an emergency shell."; };
    enableCgroupAccounting = mkOption { type = types.bool; default = false; description = "Whether resources are counted for every unit."; };
    enableUnifiedCgroupHierarchy = mkOption { type = types.bool; default = true; internal = true; description = "Accepted for compatibility."; };
    extraConfig = mkOption { type = types.lines; default = ""; example = "DefaultLimitCORE=infinity"; description = "Lines of the section [Manager] of system.conf."; };
    settings.Manager = mkOption { type = types.attrsOf kinds.unitOption; default = { }; description = "The section [Manager] of system.conf."; };
    watchdog = {
      device = mkOption { type = types.nullOr types.path; default = null; description = "The watchdog's device."; };
      runtimeTime = mkOption { type = types.nullOr types.str; default = null; description = "The time after which the watchdog resets a machine that hangs."; };
      rebootTime = mkOption { type = types.nullOr types.str; default = null; description = "The time in which a reboot must be done."; };
      kexecTime = mkOption { type = types.nullOr types.str; default = null; description = "The time in which a kexec must be done."; };
    };
    sleep.extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of sleep.conf."; };
    oomd.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility; Debian's layer has no oomd unless added."; };
    coredump = {
      enable = mkOption { type = types.bool; default = false; description = "Whether systemd-coredump keeps core dumps."; };
      extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of coredump.conf."; };
    };
  };

  config = {
    systemd.units =
      concreteOf cfg
      // unnamed cfg.mounts sdLib.mountToUnit
      // unnamed cfg.automounts sdLib.automountToUnit;
    # startAt
    systemd.timers = lib.mapAttrs
      (name: service: {
        wantedBy = [ "timers.target" ];
        timerConfig.OnCalendar = service.startAt;
      })
      (lib.filterAttrs (_: service: service.enable && service.startAt != [ ]) cfg.services);
    systemd.settings.Manager = {
      DefaultEnvironment = mkIf (cfg.globalEnvironment != { }) (lib.concatStringsSep " " (lib.mapAttrsToList
        (n: v: builtins.toJSON "${n}=${toString v}") (lib.filterAttrs (_: v: v != null) cfg.globalEnvironment)));
      ManagerEnvironment = mkIf (cfg.managerEnvironment != { }) (lib.concatStringsSep " " (lib.mapAttrsToList
        (n: v: builtins.toJSON "${n}=${toString v}") (lib.filterAttrs (_: v: v != null) cfg.managerEnvironment)));
      WatchdogDevice = mkIf (cfg.watchdog.device != null) cfg.watchdog.device;
      RuntimeWatchdogSec = mkIf (cfg.watchdog.runtimeTime != null) cfg.watchdog.runtimeTime;
      RebootWatchdogSec = mkIf (cfg.watchdog.rebootTime != null) cfg.watchdog.rebootTime;
      KExecWatchdogSec = mkIf (cfg.watchdog.kexecTime != null) cfg.watchdog.kexecTime;
      DefaultIPAccounting = mkIf cfg.enableCgroupAccounting true;
      DefaultCPUAccounting = mkIf cfg.enableCgroupAccounting true;
      DefaultIOAccounting = mkIf cfg.enableCgroupAccounting true;
    };
    environment.etc = {
      "systemd/system.conf".text = "[Manager]\n${sdLib.attrsToSection cfg.settings.Manager}${cfg.extraConfig}";
    }
    // lib.optionalAttrs (cfg.sleep.extraConfig != "") { "systemd/sleep.conf".text = "[Sleep]\n${cfg.sleep.extraConfig}"; }
    // lib.optionalAttrs (cfg.coredump.enable) { "systemd/coredump.conf".text = "[Coredump]\n${cfg.coredump.extraConfig}"; }
    // lib.mapAttrs' (n: source: { name = "systemd/system-generators/${n}"; value = { inherit source; }; }) cfg.generators
    // lib.mapAttrs' (n: source: { name = "systemd/system-shutdown/${n}"; value = { inherit source; }; }) cfg.shutdown;
    assertions = concatMap
      (name:
        let c = cfg.services.${name}.serviceConfig; in
        lib.optional (c.Type or "" == "oneshot" && lib.elem (c.Restart or "no") [ "always" "on-success" ]) {
          assertion = false;
          message = "Service '${name}.service' with 'Type=oneshot' cannot have 'Restart=always' or 'Restart=on-success'";
        })
      (builtins.attrNames cfg.services);
  };
}
