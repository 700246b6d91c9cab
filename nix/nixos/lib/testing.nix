# A NixOS test: machines and a script. Gives the network's plan and toplevels, as network.nix does, and the script.
{
  # a set, a function ({ pkgs, lib, ... }: { ... }), a module, or the path of a file with one
  test
, system ? builtins.currentSystem
, pkgs ? null
  # further modules of the test, not of its machines
, extraModules ? [ ]
}:
let
  lib = import ../../lib;
  inherit (lib) mkOption types;
  pkgs' = if pkgs != null then pkgs else import ../../pkgs { localSystem = { inherit system; }; };

  read = if builtins.isPath test || builtins.isString test then import test else test;
  done = v: v._type or null == "nixos-test";
  # A function without named arguments, or one whose result is a finished test, is called; others are modules.
  called =
    if lib.isFunction read && (let formals = lib.functionArgs read; in formals == { } || formals ? system) then
      let
        formals = lib.functionArgs read;
        args = { inherit system lib; pkgs = pkgs'; };
        # the older form takes what it is given with `...` only
        v = read (if formals == { } then args else builtins.intersectAttrs formals args);
      in
      v
    else read;

  moduleType = types.deferredModule;
  options = { config, ... }: {
    options = {
      name = mkOption { type = types.str; default = if builtins.isPath test then lib.removeSuffix ".nix" (baseNameOf test) else "test"; description = "The test's name."; };
      nodes = mkOption { type = types.lazyAttrsOf moduleType; default = { }; description = "The machines."; };
      machine = mkOption { type = types.nullOr moduleType; default = null; description = "The only machine, as nodes.machine."; };
      containers = mkOption { type = types.lazyAttrsOf moduleType; default = { }; description = "Accepted for compatibility."; };
      defaults = mkOption { type = moduleType; default = { }; description = "Configuration of all machines."; };
      extraBaseModules = mkOption { type = moduleType; default = { }; description = "Further configuration of all machines."; };
      extraBaseNodeModules = mkOption { type = moduleType; default = { }; description = "Further configuration of all machines."; };
      node = {
        specialArgs = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "Arguments of the machines' modules, for imports too."; };
        pkgs = mkOption { type = types.nullOr types.raw; default = null; description = "The machines' package set."; };
        pkgsReadOnly = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
      };
      hostPkgs = mkOption { type = types.raw; default = pkgs'; description = "The host's package set."; };
      testScript = mkOption { type = types.either types.str (types.functionTo types.str); default = ""; description = "The script (Python): a text, or a function of { nodes, ... }."; };
      globalTimeout = mkOption { type = types.int; default = 3600; description = "Seconds after which the test has failed."; };
      skipLint = mkOption { type = types.bool; default = false; description = "Whether the script is not checked for style."; };
      skipTypeCheck = mkOption { type = types.bool; default = false; description = "Whether the script's types are not checked."; };
      enableOCR = mkOption { type = types.bool; default = false; description = "Whether text on screens is read."; };
      enableDebugHook = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
      sshBackdoor.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility: every machine can be reached."; };
      extraPythonPackages = mkOption { type = types.functionTo types.raw; default = _: [ ]; description = "Python packages of the script."; };
      extraDriverArgs = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
      qemu.package = mkOption { type = types.raw; default = null; description = "Accepted for compatibility: the host's QEMU is used."; };
      qemu.forceAccel = mkOption { type = types.bool; default = false; description = "Accepted for compatibility: the accelerator is chosen by what works."; };
      interactive = mkOption { type = moduleType; default = { }; description = "What is different when the test is run by hand."; };
      passthru = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "Attributes of the result."; };
      meta = mkOption { type = types.lazyAttrsOf types.raw; default = { }; description = "What the test says of itself."; };
      warnings = mkOption { type = types.listOf types.str; default = [ ]; description = "Messages."; };
      assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; description = "Conditions that must hold."; };
    };
  };
  evaluate = more: lib.evalModules {
    class = "nixosTest";
    modules = [
      options
      ({ config, ... }: {
        _file = "lib/testing.nix";
        _module.args = { hostPkgs = config.hostPkgs; pkgs = pkgs'; nodes = network.nodes; inherit system; };
      })
      called
    ] ++ extraModules ++ more;
  };
  evaluated = evaluate [ ];
  cfg = evaluated.config;
  interactive = (evaluate [ cfg.interactive ]).config;

  networkOf = cfg: import ./network.nix {
    hostSystem = system;
    specialArgs = cfg.node.specialArgs;
    network =
      (if cfg.machine == null then { } else { machine = cfg.machine; })
      // cfg.nodes
      // {
        # As on NixOS: a machine has a screen unless it says otherwise, and root logs in on it without a password.
        defaults = [ { virtualisation.graphics = lib.mkOverride 1400 true; users.users.root.initialHashedPassword = lib.mkOverride 1400 ""; } cfg.defaults cfg.extraBaseModules cfg.extraBaseNodeModules ]
          ++ lib.optional (cfg.node.pkgs != null) { nixpkgs.pkgs = cfg.node.pkgs; };
      };
  };
  network = networkOf cfg;
  resultOf = cfg: network: {
    _type = "nixos-test";
    inherit (cfg) name globalTimeout skipLint skipTypeCheck enableOCR extraPythonPackages meta;
    inherit (network) plan toplevels nodes;
    testScript = if lib.isFunction cfg.testScript then cfg.testScript { inherit (network) nodes; } else cfg.testScript;
    warnings = cfg.warnings ++ network.warnings;
    config = cfg;
  };
in
if done called then called
else resultOf cfg network // cfg.passthru // { interactive = resultOf interactive (networkOf interactive); }
