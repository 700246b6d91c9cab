# systemd.user.*: units of users' own managers.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.systemd.user;
  kinds = import ../../lib/systemd-options.nix { inherit lib; };
  sdLib = import ../../lib/systemd-lib.nix { inherit lib config pkgs; };
  from = "/usr/share/nbv/systemd/user";
  unitConfig = suffix: { config, name, ... }: {
    config = {
      name = lib.mkOptionDefault "${name}${suffix}";
      unitConfig = sdLib.unitSection config;
    };
  };
  serviceConfig = { config, name, ... }:
    let
      script = what: text: "${sdLib.shellScript "${name}-${what}" text}/bin/${sdLib.mkPathSafeName "${name}-${what}"}";
      path = config.path ++ lib.optionals config.enableDefaultPath [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused ];
    in
    {
      config = {
        environment.PATH = lib.mkIf (config.path != [ ]) (lib.mkDefault (lib.makeBinPath path));
        serviceConfig = lib.mkMerge [
          (lib.mkIf (config.script != "") { ExecStart = script "start" config.script; })
          (lib.mkIf (config.preStart != "") { ExecStartPre = [ (script "pre-start" config.preStart) ]; })
          (lib.mkIf (config.postStart != "") { ExecStartPost = [ (script "post-start" config.postStart) ]; })
          (lib.mkIf (config.reload != "") { ExecReload = script "reload" config.reload; })
          (lib.mkIf (config.preStop != "") { ExecStop = script "pre-stop" config.preStop; })
          (lib.mkIf (config.postStop != "") { ExecStopPost = script "post-stop" config.postStop; })
        ];
      };
    };
  of = modules: suffix: description: mkOption {
    type = types.attrsOf (types.submodule ([ kinds.common kinds.triggers ] ++ modules ++ [ (unitConfig suffix) ]));
    default = { };
    inherit description;
  };
  each = kind: suffix: toUnit: lib.mapAttrs' (n: v: { name = "${n}${suffix}"; value = toUnit v; }) kind;
in
{
  options.systemd.user = {
    units = mkOption {
      type = types.attrsOf (types.submodule [ kinds.concreteUnit ({ name, config, ... }: { config.unit = lib.mkDefault (sdLib.makeUnit name config); }) ]);
      default = { };
      description = "Units of users as whole files.";
    };
    services = of [ kinds.service serviceConfig ] ".service" "Services of users.";
    sockets = of [ kinds.socket ] ".socket" "Sockets of users.";
    timers = of [ kinds.timer ] ".timer" "Timers of users.";
    paths = of [ kinds.path ] ".path" "Paths of users.";
    slices = of [ kinds.slice ] ".slice" "Slices of users.";
    targets = of [ ] ".target" "Targets of users.";
    extraConfig = mkOption { type = types.lines; default = ""; description = "Lines of user.conf."; };
    generators = mkOption { type = types.attrsOf types.path; default = { }; description = "Generators of users' managers."; };
    tmpfiles.rules = mkOption { type = types.listOf types.str; default = [ ]; description = "Rules of tmpfiles.d for all users."; };
    additionalUpstreamUserUnits = mkOption { type = types.listOf types.str; default = [ ]; internal = true; description = "Further units of systemd's own that users have."; };
  };
  config = {
    systemd.user.units =
      each cfg.services ".service" sdLib.serviceToUnit
      // each cfg.sockets ".socket" sdLib.socketToUnit
      // each cfg.targets ".target" sdLib.targetToUnit
      // each cfg.timers ".timer" sdLib.timerToUnit
      // each cfg.paths ".path" sdLib.pathToUnit
      // each cfg.slices ".slice" sdLib.sliceToUnit;
    systemd.user.timers = lib.mapAttrs
      (name: service: { wantedBy = [ "timers.target" ]; timerConfig.OnCalendar = service.startAt; })
      (lib.filterAttrs (_: service: service.enable && service.startAt != [ ]) cfg.services);
    environment.etc = {
      "systemd/user".source = pkgs.nbvFarm "user-units" (sdLib.unitEntries {
        inherit (cfg) units;
        inherit (config.systemd) packages;
        packageFolders = [ "etc/systemd/user" "lib/systemd/user" ];
        inherit from;
        upstream = lib.unique ([
          "basic.target" "default.target" "exit.target" "graphical-session-pre.target" "graphical-session.target" "paths.target"
          "shutdown.target" "sockets.target" "timers.target" "systemd-exit.service" "session.slice" "app.slice" "background.slice"
        ] ++ cfg.additionalUpstreamUserUnits);
      });
    }
    // lib.optionalAttrs (cfg.extraConfig != "") { "systemd/user.conf".text = "[Manager]\n${cfg.extraConfig}"; }
    // lib.optionalAttrs (cfg.tmpfiles.rules != [ ]) { "xdg/user-tmpfiles.d/00-nixos.conf".text = lib.concatMapStrings (r: "${r}\n") cfg.tmpfiles.rules; }
    // lib.mapAttrs' (n: source: { name = "systemd/user-generators/${n}"; value = { inherit source; }; }) cfg.generators;
  };
}
