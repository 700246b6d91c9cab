# The options of systemd units. Declarations are plain sets, so that they are evaluated once for all units of a kind.
{ lib }:
let
  inherit (lib) mkOption types literalExpression;
  inherit (systemdLib) unitOption;
  systemdLib = import ./systemd-types.nix { inherit lib; };

  names = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  section = example: description: mkOption {
    type = types.attrsOf unitOption;
    default = { };
    inherit example description;
  };
  shared = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the unit may be started; false masks it.";
    };
    overrideStrategy = mkOption {
      type = types.enum [ "asDropinIfExists" "asDropin" ];
      default = "asDropinIfExists";
      description = "How a unit of a package is changed: by a drop-in file if the package has it, or always by one.";
    };
    requiredBy = names "Units that require this one: starting them starts it, its failure fails them.";
    upheldBy = names "Units that keep this one running.";
    wantedBy = names "Units that want this one: starting them starts it.";
    aliases = names "Other names of the unit.";
  };
in
rec {
  inherit unitOption;
  # systemd.units.NAME: a whole file.
  concreteUnit = {
    options = shared // {
      text = mkOption { type = types.nullOr types.str; default = null; description = "The file's text; null: only links are made."; };
      unit = mkOption { internal = true; type = types.raw; description = "The unit's file in the store, as a folder."; };
    };
  };
  common = {
    options = shared // {
      name = mkOption { type = types.str; description = "The unit's name, with its suffix."; };
      description = mkOption { type = types.singleLineStr; default = ""; description = "A line that describes the unit."; };
      documentation = names "URIs of documentation.";
      requires = names "Units that are started with this one, and whose failure or stop stops it.";
      wants = names "Units that are started with this one.";
      upholds = names "Units that are kept running while this one is.";
      after = names "Units that this one starts after, if both are started.";
      before = names "Units that this one starts before, if both are started.";
      bindsTo = names "Units whose stop, however it comes, stops this one.";
      partOf = names "Units whose stop or restart stops or restarts this one.";
      conflicts = names "Units that cannot run beside this one.";
      requisite = names "Units that must already run when this one is started.";
      unitConfig = section { RequiresMountsFor = "/data"; } "The section [Unit].";
      onFailure = names "Units started when this one fails.";
      onSuccess = names "Units started when this one ends well.";
      startLimitBurst = mkOption { type = types.nullOr types.int; default = null; description = "How many starts are allowed in startLimitIntervalSec."; };
      startLimitIntervalSec = mkOption { type = types.nullOr types.int; default = null; description = "The interval of startLimitBurst, seconds."; };
    };
  };
  triggers = {
    options = {
      restartTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Values whose change restarts the unit on a switch."; };
      reloadTriggers = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Values whose change reloads the unit on a switch."; };
    };
  };
  service = {
    options = {
      environment = mkOption {
        type = types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package types.int ]));
        default = { };
        example = { LANG = "nl_NL.UTF-8"; };
        description = "Environment variables of the service's processes.";
      };
      path = mkOption {
        type = types.listOf (types.oneOf [ types.package types.str ]);
        default = [ ];
        description = "Packages whose bin is on the service's PATH.";
      };
      serviceConfig = section { RestartSec = 5; } "The section [Service].";
      enableStrictShellChecks = mkOption { type = types.bool; default = false; description = "Accepted for compatibility: scripts are not checked when built."; };
      enableDefaultPath = mkOption { type = types.bool; default = true; description = "Whether coreutils, findutils, grep, sed and systemd are on the service's PATH."; };
      script = mkOption { type = types.lines; default = ""; description = "Shell commands that are the main process."; };
      scriptArgs = mkOption { type = types.str; default = ""; example = "%i"; description = "Arguments of the main process's script."; };
      preStart = mkOption { type = types.lines; default = ""; description = "Shell commands run before the main process is started."; };
      postStart = mkOption { type = types.lines; default = ""; description = "Shell commands run after the main process was started."; };
      reload = mkOption { type = types.lines; default = ""; description = "Shell commands that reload the service."; };
      preStop = mkOption { type = types.lines; default = ""; description = "Shell commands that stop the service."; };
      postStop = mkOption { type = types.lines; default = ""; description = "Shell commands run after the service has ended."; };
      restartIfChanged = mkOption { type = types.bool; default = true; description = "Whether a switch restarts the service when its definition changed."; };
      reloadIfChanged = mkOption { type = types.bool; default = false; description = "Whether a switch reloads instead of restarting."; };
      stopIfChanged = mkOption { type = types.bool; default = true; description = "Whether a switch stops the service before, and starts it after, activation, rather than restarting it."; };
      notSocketActivated = mkOption { type = types.bool; default = false; description = "Whether the service is restarted even if a socket would start it."; };
      startAt = mkOption {
        type = types.coercedTo types.str lib.singleton (types.listOf types.str);
        default = [ ];
        example = "Sun 14:00:00";
        description = "Calendar times at which the service is started, by a timer of its name.";
      };
      jobScripts = mkOption { type = types.raw; internal = true; default = [ ]; description = "The scripts of the service."; };
    };
  };
  socket = {
    options = {
      listenStreams = names "Addresses of streams to listen on.";
      listenDatagrams = names "Addresses of datagrams to listen on.";
      socketConfig = section { ListenStream = "/run/my.sock"; } "The section [Socket].";
    };
  };
  timer.options.timerConfig = section { OnCalendar = "Sun 14:00:00"; } "The section [Timer].";
  path.options.pathConfig = section { PathChanged = "/some/path"; } "The section [Path].";
  slice.options.sliceConfig = section { MemoryMax = "2G"; } "The section [Slice].";
  scope.options.scopeConfig = section { } "The section [Scope].";
  mount = {
    options = {
      what = mkOption { type = types.str; example = "/dev/vdb1"; description = "What is mounted."; };
      where = mkOption { type = types.str; example = "/mnt"; description = "Where it is mounted."; };
      type = mkOption { type = types.str; default = ""; example = "ext4"; description = "The file system's type."; };
      options = mkOption { type = types.str; default = ""; example = "noatime"; description = "Options of the mount."; };
      mountConfig = section { DirectoryMode = "0775"; } "The section [Mount].";
    };
  };
  automount = {
    options = {
      where = mkOption { type = types.str; example = "/mnt"; description = "Where to mount."; };
      automountConfig = section { TimeoutIdleSec = 60; } "The section [Automount].";
    };
  };
}
