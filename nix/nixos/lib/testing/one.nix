# One NixOS test: from its module to the network's plan and toplevels, and the script.
{ lib, system, pkgs
  # folder of the nixpkgs tree that the test lies in, or null
, tree ? null
}:
let
  inherit (lib) mkOption types;

  moduleType = types.deferredModule;
  flag = description: mkOption { type = types.bool; default = false; inherit description; };
  options = {
    options = {
      name = mkOption { type = types.str; default = "test"; description = "The test's name."; };
      nodes = mkOption { type = types.lazyAttrsOf moduleType; default = { }; description = "The machines."; };
      machine = mkOption { type = types.nullOr moduleType; default = null; description = "The only machine, as nodes.machine."; };
      containers = mkOption { type = types.lazyAttrsOf moduleType; default = { }; description = "Accepted for compatibility: they are machines."; };
      defaults = mkOption { type = moduleType; default = { }; description = "Configuration of all machines."; };
      nodeDefaults = mkOption { type = moduleType; default = { }; description = "Configuration of all machines but containers."; };
      containerDefaults = mkOption { type = moduleType; default = { }; description = "Configuration of containers."; };
      extraBaseModules = mkOption { type = moduleType; default = { }; description = "Further configuration of all machines."; };
      extraBaseNodeModules = mkOption { type = moduleType; default = { }; description = "Further configuration of all machines."; };
      node = {
        specialArgs = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "Arguments of the machines' modules, for imports too."; };
        pkgs = mkOption { type = types.nullOr types.raw; default = null; description = "The machines' package set."; };
        pkgsReadOnly = flag "Accepted for compatibility.";
        type = mkOption { type = types.raw; default = moduleType; internal = true; description = "The type of a machine."; };
      };
      hostPkgs = mkOption { type = types.raw; default = pkgs; description = "The host's package set."; };
      testScript = mkOption { type = types.either types.str (types.functionTo types.str); default = ""; description = "The script (Python): a text, or a function of { nodes, ... }."; };
      testSteps = mkOption { type = types.nullOr (types.either (types.listOf types.raw) (types.functionTo (types.listOf types.raw))); default = null; description = "What the test does, without a script: a list of steps, or a function of { nodes, ... }."; };
      globalTimeout = mkOption { type = types.int; default = 3600; description = "Seconds after which the test has failed."; };
      skipLint = flag "Whether the script is not checked for style.";
      skipTypeCheck = flag "Whether the script's types are not checked.";
      enableOCR = flag "Whether text on screens is read.";
      enableDebugHook = flag "Accepted for compatibility.";
      sshBackdoor = {
        enable = flag "Accepted for compatibility: every machine can be reached.";
        vsockOffset = mkOption { type = types.int; default = 2; description = "Accepted for compatibility: every machine can be reached."; };
      };
      logLevel = mkOption { type = types.str; default = "info"; description = "Accepted for compatibility."; };
      extraPythonPackages = mkOption { type = types.functionTo types.raw; default = _: [ ]; description = "Python packages of the script."; };
      extraDriverArgs = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
      qemu.package = mkOption { type = types.raw; default = null; description = "Accepted for compatibility: the host's QEMU is used."; };
      qemu.forceAccel = flag "Accepted for compatibility: the accelerator is chosen by what works.";
      interactive = mkOption { type = moduleType; default = { }; description = "What is different when the test is run by hand."; };
      passthru = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "Attributes of the result."; };
      meta = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "What the test says of itself."; };
      warnings = mkOption { type = types.listOf types.str; default = [ ]; description = "Messages."; };
      assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Conditions that must hold."; };
      result = mkOption { type = types.raw; internal = true; description = "The test, evaluated."; };
    };
  };

  evaluate = modules: lib.evalModules {
    class = "nixosTest";
    modules = [
      options
      ({ config, ... }: {
        _file = "lib/testing";
        _module.args = { inherit (config) hostPkgs; inherit pkgs system; inherit (networkOf config) nodes; };
        result = lib.mkOptionDefault (resultOf config (networkOf config));
      })
    ] ++ modules;
  };

  networkOf = cfg: import ../network.nix {
    inherit tree;
    hostSystem = system;
    specialArgs = cfg.node.specialArgs;
    network =
      (if cfg.machine == null then { } else { machine = cfg.machine; })
      // lib.mapAttrs (_: m: { imports = [ cfg.nodeDefaults m ]; }) cfg.nodes
      // lib.mapAttrs (_: m: { imports = [ cfg.containerDefaults m ]; }) cfg.containers
      // {
        defaults = [ ./machine.nix cfg.defaults cfg.extraBaseModules cfg.extraBaseNodeModules ]
          ++ lib.optional (cfg.node.pkgs != null) { nixpkgs.pkgs = cfg.node.pkgs; };
      };
  };
  stepsOf = cfg: network:
    if cfg.testScript != "" then
      lib.diagnostics.fail {
        code = "script-and-steps";
        message = "the test has both testScript and testSteps";
        hint = "a script can do all that steps do; keep one of them";
      }
    else import ./steps.nix {
      inherit lib;
      machines = builtins.attrNames network.toplevels;
      steps = if lib.isFunction cfg.testSteps then cfg.testSteps { inherit (network) nodes; } else cfg.testSteps;
    };
  failed = cfg: lib.filter (a: !a.assertion) cfg.assertions;
  resultOf = cfg: network:
    let
      self = cfg.passthru // {
        _type = "nixos-test";
        inherit (cfg) name globalTimeout skipLint skipTypeCheck enableOCR extraPythonPackages meta;
        inherit (network) plan toplevels nodes;
        testScript = if lib.isFunction cfg.testScript then cfg.testScript { inherit (network) nodes; } else cfg.testScript;
        testSteps = builtins.toJSON (if cfg.testSteps == null then null else stepsOf cfg network);
        warnings = cfg.warnings ++ network.warnings;
        config = cfg;
        test = self;
        driver = self;
      };
    in
    if failed cfg == [ ] then self
    else lib.diagnostics.fail {
      code = "assertion";
      message = "test `${cfg.name}`: ${(builtins.head (failed cfg)).message}";
    };
in
given:
let
  evaluated = evaluate given;
  cfg = evaluated.config;
  interactive = (evaluate (given ++ [ cfg.interactive ])).config;
in
cfg.result // {
  interactive = resultOf interactive (networkOf interactive);
  extend = { modules ? [ ] }: import ./one.nix { inherit lib system pkgs tree; } (given ++ modules);
}
