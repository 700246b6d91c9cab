# pkgs.writers: scripts in several languages, without linting.
{ lib, pkgs }:

let
  make =
    interpreter: bin: nameOrPath: content:
    let
      isPath = lib.hasPrefix "/" nameOrPath;
      name = if isPath then baseNameOf nameOrPath else nameOrPath;
      destination = if isPath then nameOrPath else lib.optionalString bin "/bin/${name}";
    in
    pkgs.writeTextFile {
      inherit name destination;
      executable = true;
      text = "#!${interpreter}\n${content}";
      meta.mainProgram = name;
    };

  # Languages whose writers take libraries and options before the text, the options being left out in old uses.
  withLibraries =
    interpreter: bin: name: options: content:
    make (interpreter (options.libraries or [ ])) bin name content;

  optional =
    interpreter: bin: name: given:
    if builtins.isAttrs given && !lib.isDerivation given then make interpreter bin name else make interpreter bin name given;

  python = libraries: "${pkgs.python3.withPackages (_: libraries)}/bin/python3";
  perl = libraries: "${pkgs.perl.withPackages (_: libraries)}/bin/perl";
  data = generate: name: value: (generate { }).generate name value;
in
{
  writeBash = optional pkgs.runtimeShell false;
  writeBashBin = optional pkgs.runtimeShell true;
  writeDash = optional "${pkgs.dash}/bin/dash" false;
  writeDashBin = optional "${pkgs.dash}/bin/dash" true;
  writePython3 = withLibraries python false;
  writePython3Bin = withLibraries python true;
  writePerl = withLibraries perl false;
  writePerlBin = withLibraries perl true;
  writeRuby = withLibraries (_: "${pkgs.ruby}/bin/ruby") false;
  writeRubyBin = withLibraries (_: "${pkgs.ruby}/bin/ruby") true;
  writeJS = withLibraries (_: "${pkgs.nodejs}/bin/node") false;
  writeJSBin = withLibraries (_: "${pkgs.nodejs}/bin/node") true;
  writeLua = withLibraries (_: "${pkgs.lua}/bin/lua5.4") false;
  writeLuaBin = withLibraries (_: "${pkgs.lua}/bin/lua5.4") true;
  writeText = pkgs.writeText;
  writeTextDir = pkgs.writeTextDir;
  writeJSON = data pkgs.formats.json;
  writeYAML = data pkgs.formats.yaml;
  writeTOML = data pkgs.formats.toml;
  writeNginxConfig = name: content: pkgs.writeText name content;
}
