# stdenv: mkDerivation, which builds in the sandbox with the layer's programs, and facts of the platform.
#
# `tools` are the packages whose programs every build finds; they need no naming in buildInputs.
{
  lib,
  platform,
  pkgs,
  tools,
  name ? "stdenv-linux",
}:

let
  setup = pkgs.writeText "setup.sh" (builtins.readFile ./setup.sh);
  builder = pkgs.writeText "builder.sh" (builtins.readFile ./builder.sh);

  toPackages = given: lib.filter (input: input != null) (lib.flatten (if builtins.isList given then given else [ given ]));

  make =
    args:
    let
      inputs = toPackages (args.buildInputs or [ ]);
      native = toPackages (args.nativeBuildInputs or [ ]);
      fullName =
        args.name or (
          if args ? pname then
            args.pname + lib.optionalString (args ? version) "-${args.version}"
          else
            throw "mkDerivation: neither name nor pname is given"
        );
      arguments =
        removeAttrs args [ "meta" "passthru" "pos" ]
        // {
          name = fullName;
          inherit (platform) system;
          builder = args.realBuilder or "${pkgs.bash}/bin/bash";
          args = args.args or [ "-e" (args.builder or builder) ];
          inherit setup;
          outputs = args.outputs or [ "out" ];
          # programs of these are in the sandbox's /usr
          stdenvTools = tools;
          buildInputs = inputs;
          nativeBuildInputs = native;
          propagatedBuildInputs = toPackages (args.propagatedBuildInputs or [ ]);
        };
      drv = derivation (lib.filterAttrs (_: value: value != null && !builtins.isFunction value) arguments);
      self =
        drv
        // args.passthru or { }
        // lib.genAttrs (args.outputs or [ "out" ]) (
          output: drv.${output} // { inherit (self) meta passthru; pname = self.pname or null; version = self.version or ""; }
        )
        // lib.filterAttrs (attribute: _: lib.elem attribute [ "pname" "version" "src" "patches" ]) args
        // {
          meta = {
            name = fullName;
            available = true;
          }
          // lib.optionalAttrs (args ? pname) { mainProgram = args.pname; }
          // args.meta or { };
          passthru = args.passthru or { };
          overrideAttrs =
            change:
            let
              once = if builtins.isFunction change then change args else change;
            in
            make (args // (if builtins.isFunction once then once args else once));
          override = _: self;
          overrideDerivation = change: self.overrideAttrs change;
        };
    in
    self;
in
{
  inherit name;
  # finalAttrs style too
  mkDerivation =
    given:
    if builtins.isFunction given then
      let
        final = make (given (final // { finalPackage = final; }));
      in
      final
    else
      make given;
  inherit (platform) system;
  hostPlatform = platform;
  buildPlatform = platform;
  targetPlatform = platform;
  inherit (platform) isLinux isx86_64 isx86_32 isi686 isAarch64 is64bit is32bit isDarwin;
  shell = pkgs.runtimeShell;
  cc = pkgs.gcc // {
    bintools = pkgs.binutils // { dynamicLinker = platform.dynamicLinker; };
    isGNU = true;
    isClang = false;
    libc = pkgs.glibc;
    targetPrefix = "";
  };
}
