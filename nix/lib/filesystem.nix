# Looking at files during evaluation.
{ lib }:
let
  inherit (builtins) attrNames baseNameOf concatMap pathExists readDir toString filter;
in
rec {
  pathType = builtins.readFileType or (path:
    if !(pathExists path) then throw "pathType: ${toString path} does not exist"
    else if dirOf path == path then "directory"
    else (readDir (dirOf path)).${baseNameOf path});
  pathIsDirectory = path: pathExists path && pathType path == "directory";
  pathIsRegularFile = path: pathExists path && pathType path == "regular";
  listFilesRecursive = dir:
    lib.flatten (lib.mapAttrsToList
      (name: type: if type == "directory" then listFilesRecursive (dir + "/${name}") else dir + "/${name}")
      (readDir dir));
  locateDominatingFile = pattern: file:
    let
      go = path:
        let
          matches = filter (n: builtins.match pattern n != null) (attrNames (readDir path));
          parent = dirOf path;
        in
        if matches != [ ] then { inherit path; matches = map (n: builtins.match pattern n) matches; }
        else if path == /. then null
        else go parent;
      isDir = pathIsDirectory file;
    in
    go (if isDir then file else dirOf file);
  haskellPathsInDir = root:
    lib.filterAttrs (n: v: v != null) (lib.mapAttrs
      (name: type: if type == "directory" && pathExists (root + "/${name}/${name}.cabal") then toString (root + "/${name}") else null)
      (readDir root));
  packagesFromDirectoryRecursive = { callPackage, directory, newScope ? null, ... }@args:
    if pathExists (directory + "/package.nix") then callPackage (directory + "/package.nix") { }
    else lib.concatMapAttrs
      (name: type:
        if type == "directory" then { ${name} = packagesFromDirectoryRecursive (args // { directory = directory + "/${name}"; }); }
        else if type == "regular" && lib.hasSuffix ".nix" name then { ${lib.removeSuffix ".nix" name} = callPackage (directory + "/${name}") { }; }
        else { })
      (readDir directory);
  resolveDefaultNix = path: if pathIsDirectory path then path + "/default.nix" else path;
}
