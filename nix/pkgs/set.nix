# The package set of one system.
#
# From the bottom: every package of the archive by its Debian name; nixpkgs' names (names.nix, special.nix); functions
# and builders; the given overlays. All of it lazy: a package that is not looked at costs nothing.
{
  lib,
  system,
  config ? { },
  overlays ? [ ],
}:

let
  platform = import ./platform.nix { inherit lib system; };
  index = import ./index.nix system;
  views = import ./view.nix { inherit lib index platform; };
  mainPrograms = import ./programs.nix;

  make = args: views.make (lib.optionalAttrs (mainPrograms ? ${args.pname}) { mainProgram = mainPrograms.${args.pname}; } // args);

  # every package, then every virtual package that one package provides
  archive =
    self:
    lib.mapAttrs (
      virtual: providers:
      if lib.length (lib.unique providers) == 1 then
        make { pname = virtual; packages = [ (builtins.head providers) ]; }
      else
        import ./error.nix {
          code = "package-virtual";
          message = "pkgs.${virtual}: Debian ${platform.debian.suite} has several packages that provide '${virtual}'";
          hint = "choose one: ${lib.concatStringsSep ", " (lib.unique providers)}";
        }
    ) index._provides
    // lib.mapAttrs (package: _: make { pname = package; packages = [ package ]; }) (removeAttrs index [ "_provides" ]);

  named =
    self:
    let
      special = import ./special.nix {
        inherit lib platform self;
        inherit (views) has;
        text = self.writeText;
      };
      languages = import ./languages.nix { inherit lib index make self; };
      # What the suite lacks is no attribute: the error then is at the place that asks for it.
      available = builtins.all views.has;
    in
    lib.mapAttrs (name: packages: make { inherit packages; pname = name; }) (
      lib.filterAttrs (_: available) (lib.mapAttrs (_: special.words) (import ./names.nix))
    )
    // lib.mapAttrs (name: spec: make ({ pname = name; } // spec)) (lib.filterAttrs (_: spec: available spec.packages) special.packages)
    // {
      inherit (languages) python3 python3Minimal;
      python = self.python3;
      python3Full = self.python3;
      pythonPackages = languages.python;
      python3Packages = languages.python;
      perl = languages.perlInterpreter;
      perlPackages = languages.perl;
      nodePackages = languages.node;
      linuxPackages = {
        kernel = self.linux;
        extend = _: self.linuxPackages;
        stdenv = self.stdenv;
      };
      linuxPackages_latest = self.linuxPackages;
      linuxPackagesFor = kernel: self.linuxPackages // { inherit kernel; };
      linuxKernel.packages = { };
      unixtools = {
        column = self.bsdextrautils;
        getent = self.getent;
        getopt = self.util-linux;
        hexdump = self.bsdextrautils;
        hostname = self.hostname;
        ifconfig = self.nettools;
        netstat = self.nettools;
        route = self.nettools;
        ping = self.iputils;
        ps = self.procps;
        top = self.procps;
        watch = self.procps;
        xxd = self.xxd;
        script = self.bsdutils;
        sysctl = self.procps;
        whereis = self.util-linux;
        mount = self.mount;
      };
      xorg = {
        xorgserver = self.xserver-xorg-core;
        xauth = self.xauth;
      };
      iptables-legacy = self.iptables;
      systemd-resolved = make { pname = "systemd-resolved"; packages = special.words "systemd-resolved libnss-resolve?"; };
    };

  functions =
    self:
    let
      builders = import ./builders.nix { inherit lib platform; pkgs = self; };
      writers = import ./writers.nix { inherit lib; pkgs = self; };
      tools = with self; [ bash coreutils findutils diffutils gnugrep gnused gawk gnutar gzip bzip2 xz gnupatch ];
      call = lib.callPackageWith self;
    in
    builders
    // {
      inherit lib config overlays writers system platform;
      _type = "pkgs";
      path = ../.;
      pkgs = self;
      hostPlatform = platform;
      buildPlatform = platform;
      targetPlatform = platform;
      formats = import ./formats.nix { inherit lib; pkgs = self; };
      stdenv = import ./stdenv { inherit lib platform; pkgs = self; tools = tools ++ [ self.gcc self.gnumake ]; };
      stdenvNoCC = import ./stdenv { inherit lib platform tools; pkgs = self; name = "stdenv-no-cc"; };
      gccStdenv = self.stdenv;
      mkShell = args: self.stdenvNoCC.mkDerivation ({ name = "shell"; } // removeAttrs args [ "packages" "inputsFrom" "shellHook" ]);

      callPackage = call;
      callPackages = lib.callPackagesWith self;
      newScope = extra: lib.callPackageWith (self // extra);
      extend = overlay: import ./set.nix { inherit lib system config; overlays = overlays ++ [ overlay ]; };
      appendOverlays = more: import ./set.nix { inherit lib system config; overlays = overlays ++ more; };

      # { system } of another package set, as NixOS' modules ask for it
      pkgsCross = throw "pkgs.pkgsCross: Debian's packages are native; import <nixpkgs> { system = \"...\"; } has those of another system";
      pkgsi686Linux = if platform.isi686 then self else import ./set.nix { inherit lib config overlays; system = "i686-linux"; };
      buildPackages = self;
      pkgsLinux = self;
      # replace-secret TEXT FILE TARGET: in TARGET, TEXT becomes what FILE holds
      replace-secret = self.writeShellScriptBin "replace-secret" ''
        set -e
        content=$(cat "$3"; printf x)
        content=''${content%x}
        printf '%s' "''${content//"$1"/"$(cat "$2")"}" > "$3"
      '';
      system-sendmail = self.writeShellScriptBin "sendmail" ''
        if [ -x /run/wrappers/bin/sendmail ]; then exec /run/wrappers/bin/sendmail "$@"; fi
        if [ -x /run/current-system/sw/bin/sendmail ]; then exec /run/current-system/sw/bin/sendmail "$@"; fi
        echo "no sendmail is set up" >&2
        exit 1
      '';
      # their functions are always at hand in builders
      makeWrapper = self.runCommand "make-wrapper" { } "mkdir $out";
      makeBinaryWrapper = self.makeWrapper;
      pkgsBuildBuild = self;
      pkgsBuildHost = self;
      pkgsHostTarget = self;
      pkgsHostHost = self;
      targetPackages = self;

      nixos =
        configuration:
        let
          machine = import ../nixos/lib/eval-config.nix {
            inherit system;
            modules = [ { nixpkgs.pkgs = lib.mkDefault self; } ] ++ lib.toList configuration;
          };
        in
        machine // machine.config.system.build;
      nixosTest = test: self.testers.runNixOSTest test;
      testers = {
        runNixOSTest = test: import ../nixos/lib/testing.nix { inherit system test; pkgs = self; };
        nixosTest = self.testers.runNixOSTest;
      };

      recurseIntoAttrs = set: set // { recurseForDerivations = true; };
    };

  base = self: archive self // named self // functions self;
in
lib.fix (lib.foldl' (lib.flip lib.extends) base overlays)
