# A `pkgs` of stand-in derivations for NixOS' modules: every package is a
# small derivation with the attributes that modules look at, so that the
# system's evaluation is measured without the package collection.
#
# { tree: path of a nixpkgs tree, names: names of packages to offer }
{ tree, names }:
let
  lib = import (tree + "/lib");
  system = "x86_64-linux";
  platform = lib.systems.elaborate system;
  outputs = [ "out" "dev" "bin" "man" "doc" "lib" ];

  package = name: extra:
    let
      drv = derivation {
        inherit name system outputs;
        builder = "/bin/sh";
        args = [ "-c" (builtins.toJSON (builtins.attrNames extra)) ];
      };
      nested = lib.genAttrs [ "bintools" "p11kit" "su" "xauth" "xxd" ]
        (n: drv // { name = n; version = "1.0"; meta = { }; });
      self = drv // nested // {
        inherit stdenv;
        pname = name;
        version = "1.0";
        meta = { mainProgram = name; platforms = lib.platforms.all; priority = 5; };
        passthru = { };
        tests = { };
        features = { };
        modules = [ ];
        providedSessions = [ ];
        shellPath = "/bin/sh";
        baseVersion = "1";
        modDirVersion = "6.1";
        targetPrefix = "";
        override = _: self;
        overrideAttrs = _: self;
        overrideDerivation = _: self;
        extend = _: self;
        withPackages = _: self;
        withPlugins = _: self;
        buildEnv = _: self;
        kernelOlder = _: false;
        kernelAtLeast = _: true;
        config = {
          isYes = _: true; isEnabled = _: true; isSet = _: true;
          isDisabled = _: false; isModule = _: false; isNo = _: false;
        };
        pkgs = self; kernel = self; cc = self; libc = self;
        static = drv; info = drv; devdoc = drv; debug = drv; src = drv; configfile = drv;
      };
    in self // extra;

  stdenv = {
    inherit (platform) is64bit isLinux isx86_64;
    hostPlatform = platform; buildPlatform = platform; targetPlatform = platform;
    shell = "/bin/sh";
    cc = package "gcc" {
      bintools = package "binutils" { dynamicLinker = "/lib/ld-linux.so"; };
      libc = package "glibc" { };
    };
    mkDerivation = args:
      if lib.isFunction args then package "made" { }
      else package (builtins.unsafeDiscardStringContext (args.name or args.pname or "made"))
        (builtins.removeAttrs args [ "meta" "passthru" "env" ]);
  };

  command = name: env: text:
    let
      drv = derivation {
        inherit system text;
        name = builtins.unsafeDiscardStringContext (lib.strings.sanitizeDerivationName name);
        builder = "/bin/sh";
        environment = builtins.toJSON (builtins.mapAttrs (_: v: if builtins.isFunction v then 1 else v)
          (builtins.removeAttrs env [ "meta" "passthru" ]));
      };
      self = drv // {
        overrideAttrs = _: self; override = _: self; meta = { }; passthru = { };
        version = "1"; pname = name; lib = self; dev = self; bin = self; man = self;
      };
    in self;

  format = type: {
    inherit type;
    generate = name: value: command name { } (builtins.toJSON value);
    lib = { types = { }; mkLuaInline = x: x; mkRaw = x: x; mkTuple = x: x; };
  };

  base = lib.genAttrs names (n: package n { });

  kernels = {
    kernel = package "linux-6.1" {
      version = "6.1.1"; modDirVersion = "6.1.1";
      kernelOlder = _: false; kernelAtLeast = _: true; features = { };
    };
    extend = _: kernels;
    callPackage = pkgs.callPackage;
    inherit stdenv;
    zfs = package "zfs" { };
  };

  systemdParts = [
    "Apparmor" "Bootloader" "Compression" "Coredump" "Cryptsetup" "Efi" "Homed" "Hostnamed" "Importd" "Kmod" "LibBPF"
    "Localed" "Logind" "Machined" "Networkd" "Nspawn" "Oomd" "Portabled" "Repart" "Resolved" "ShellCompletions"
    "Sysupdate" "Sysusers" "Timedated" "Timesyncd" "Tpm2Tss" "Tpm2Units" "Ukify" "UserDb" "Utmp"
  ];

  pkgs = base // {
    inherit lib stdenv system;
    stdenvNoCC = stdenv; gccStdenv = stdenv; clangStdenv = stdenv;
    hostPlatform = platform; buildPlatform = platform; targetPlatform = platform;
    config = { allowUnfree = true; };
    overlays = [ ];
    path = tree;
    _type = "pkgs";
    pkgsi686Linux = pkgs; buildPackages = pkgs; targetPackages = pkgs; pkgsStatic = pkgs; pkgsBuildBuild = pkgs;
    splicedPackages = pkgs; __splicedPackages = pkgs;
    extend = _: pkgs; appendOverlays = _: pkgs;

    runCommand = command; runCommandLocal = command; runCommandCC = command; runCommandNoCC = command;
    writeText = n: command n { }; writeScript = n: command n { }; writeScriptBin = n: command n { };
    writeShellScript = n: command n { }; writeShellScriptBin = n: command n { };
    writeTextFile = a: command a.name { } a.text;
    writeShellApplication = a: command a.name { } a.text;
    writeTextDir = p: command (baseNameOf p) { };
    writeReferencesToFile = p: command "references" { } "${p}";
    writeClosure = p: command "closure" { } (toString p);
    closureInfo = a: command "closure-info" { } (toString a.rootPaths);
    symlinkJoin = a: command a.name { } (toString a.paths);
    buildEnv = a: command a.name { } (toString a.paths);
    linkFarm = n: entries: command n { } (builtins.toJSON entries);
    substitute = a: command "substitute" { } (toString a.src);
    substituteAll = a: command (a.name or "substitute") { } (toString a.src);
    replaceVars = _: values: command "replaced" { } (builtins.toJSON values);
    concatText = n: files: command n { } (toString files);
    concatTextFile = a: command a.name { } "";
    makeWrapper = package "make-wrapper" { };
    makeSetupHook = _: _: package "hook" { };
    ensureNewerSourcesHook = _: package "hook" { };
    makeDBusConf = a: command "dbus" { } (toString a.serviceDirectories);
    makeModulesClosure = a: command "modules" { } (builtins.toJSON a.rootModules);
    makeInitrd = a: command "initrd" { } (builtins.toJSON (map (c: c.symlink) a.contents));
    makeInitrdNG = _: command "initrd" { } "";
    makeFontsConf = _: command "fonts" { } "";
    makeFontsCache = _: command "fonts-cache" { } "";
    nixosOptionsDoc = _: {
      optionsJSON = package "options-json" { }; optionsCommonMark = package "options-md" { }; optionsNix = { };
    };

    callPackage = f: args:
      let g = if lib.isFunction f then f else import f;
      in if lib.isFunction g then g (builtins.intersectAttrs (lib.functionArgs g) pkgs // args) else g;
    callPackages = pkgs.callPackage;
    newScope = _: pkgs.callPackage;
    makeOverridable = f: f;
    formats = lib.genAttrs
      [ "elixirConf" "gitIni" "hocon" "ini" "iniWithGlobalSection" "javaProperties" "json" "keyValue" "libconfig" "lua"
        "php" "pythonVars" "systemd" "toml" "xml" "yaml" ]
      (_: _: format (lib.types.attrsOf lib.types.anything));
    nixos = _: { };
    mkShell = _: package "shell" { };
    fetchurl = _: package "source" { }; fetchzip = _: package "source" { }; fetchFromGitHub = _: package "source" { };

    linuxPackagesFor = _: kernels;
    linuxPackages = kernels; linuxPackages_latest = kernels;
    linuxKernel = { packages = { linux_6_6 = kernels; }; kernels = { }; vanillaPackages = { }; };
    kernelPatches = { };
    libxcrypt = package "libxcrypt" { enabledCryptSchemeIds = [ "y" "6" ]; };
    glibcLocales = package "locales" { override = _: package "locales" { }; };
    perl = package "perl" { withPackages = _: package "perl-env" { }; };
    python3 = package "python3" { withPackages = _: package "python-env" { }; pkgs = base; };
    python3Packages = base; perlPackages = base; xorg = base; gnome = base;
    libsForQt5 = base; kdePackages = base; plasma5Packages = base; haskellPackages = base; emacsPackages = base;
    testers = { };
    nix = package "nix" { version = "2.18.1"; };
    systemd = package "systemd" (lib.genAttrs (map (p: "with${p}") systemdParts) (_: true) // {
      withVmspawn = false; interfaceVersion = 2; kbd = package "kbd" { }; util-linux = package "util-linux" { };
    });
  };
in pkgs
