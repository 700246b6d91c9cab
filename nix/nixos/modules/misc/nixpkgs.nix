# nixpkgs.*: the machine's system and its package set.
{ config, options, lib, ... }:
let
  inherit (lib) mkOption types literalExpression;
  cfg = config.nixpkgs;
  opt = options.nixpkgs;
  supported = [ "x86_64-linux" "i686-linux" ];

  systemOf = v:
    if builtins.isString v then v
    else v.system or (if v ? config then lib.systems.parse.doubleFromSystem (lib.systems.parse.mkSystemFromString v.config) else throw "a platform needs `system` or `config`");
  # The option that says the system, by precedence.
  source =
    if opt.hostPlatform.highestPrio < 1500 then { option = "hostPlatform"; value = systemOf (builtins.head opt.hostPlatform.definitions); }
    else if opt.crossSystem.highestPrio < 1500 && cfg.crossSystem != null then { option = "crossSystem"; value = systemOf cfg.crossSystem; }
    else if opt.localSystem.highestPrio < 1500 then { option = "localSystem"; value = systemOf cfg.localSystem; }
    else { option = "system"; value = cfg.system; };
  system =
    if builtins.elem source.value supported then source.value
    else
      let defs = opt.${source.option}.definitionsWithLocations; in
      lib.diagnostics.fail {
        code = "unsupported-system";
        message = "unsupported system `${toString source.value}` (nixpkgs.${source.option})";
        pos = lib.diagnostics.posOf defs;
        hint = "machines of Debian's packages are made for ${lib.concatStringsSep " and " supported}; `nixpkgs.localSystem.system` chooses";
      };
  platform = lib.systems.elaborate system;
  plain = cfg.config == { } && cfg.overlays == [ ];
  overlayType = lib.mkOptionType {
    name = "nixpkgs-overlay";
    description = "nixpkgs overlay";
    check = lib.isFunction;
    merge = lib.mergeOneOption;
  };
in
{
  options.nixpkgs = {
    pkgs = mkOption {
      type = types.pkgs;
      example = literalExpression "import <nixpkgs> { }";
      description = "The package set; when set, the other options of nixpkgs.* only apply as overlays.";
    };
    config = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      example = { allowUnfree = true; };
      description = "Configuration of the package set.";
    };
    overlays = mkOption {
      type = types.listOf overlayType;
      default = [ ];
      description = "Overlays on the package set: functions `final: prev: { ... }`.";
    };
    hostPlatform = mkOption {
      type = types.either types.str types.attrs;
      default = { };
      defaultText = literalExpression "that of nixpkgs.localSystem";
      example = "i686-linux";
      description = "The platform that the machine runs on.";
      # a definition is read above, from its option
      apply = _: platform;
    };
    buildPlatform = mkOption {
      type = types.either types.str types.attrs;
      default = platform.system;
      defaultText = literalExpression "config.nixpkgs.hostPlatform";
      description = "The platform that packages are built on; here the machine's own.";
      apply = lib.systems.elaborate;
    };
    localSystem = mkOption {
      type = types.either types.str types.attrs;
      default = { inherit (cfg) system; };
      defaultText = literalExpression "{ system = the host's; }";
      example = { system = "i686-linux"; };
      description = "The platform of the machine, in the older form.";
      apply = v: v;
    };
    crossSystem = mkOption {
      type = types.nullOr (types.either types.str types.attrs);
      default = null;
      description = "The platform of the machine, when packages are to be cross-compiled; Debian's packages are native.";
    };
    system = mkOption {
      type = types.str;
      default = builtins.currentSystem or "x86_64-linux";
      defaultText = literalExpression "the host's";
      description = "The system of the machine, in the oldest form.";
    };
    flake = {
      source = mkOption { type = types.nullOr types.path; default = null; description = "Accepted for compatibility."; };
      setNixPath = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
      setFlakeRegistry = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    };
    packageSets = mkOption {
      type = types.raw;
      internal = true;
      default = system: import ../../../pkgs { localSystem = { inherit system; }; };
      description = "A function from a system to its package set.";
    };
  };

  config = {
    _module.args.pkgs =
      if opt.pkgs.isDefined then
        (if cfg.overlays == [ ] then cfg.pkgs else cfg.pkgs.appendOverlays cfg.overlays)
      else if plain then cfg.packageSets system
      else import ../../../pkgs { localSystem = { inherit system; }; inherit (cfg) config overlays; };
  };
}
