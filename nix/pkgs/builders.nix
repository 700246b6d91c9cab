# Text, link and script builders, with nixpkgs' names and arguments.
#
# Texts, links and merged trees are builders in process (`builtin:...`): no program runs. runCommand and its kin run
# bash in the sandbox.
#
# Not here: scripts in other languages (writers.nix), configuration file formats (formats.nix).
{ lib, platform, pkgs }:

let
  inherit (platform) system;

  dress =
    extra: drv:
    let
      self =
        drv
        // lib.optionalAttrs (extra ? passthru) extra.passthru
        // {
          meta = {
            inherit (drv) name;
            available = true;
          } // extra.meta or { };
          passthru = extra.passthru or { };
          out = self;
          overrideAttrs =
            change:
            let
              old = {
                inherit (drv) name;
                passthru = extra.passthru or { };
                meta = extra.meta or { };
              };
              new = if builtins.isFunction change then change old else change;
            in
            dress {
              passthru = new.passthru or (extra.passthru or { });
              meta = new.meta or (extra.meta or { });
            } drv;
        };
    in
    self;

  text =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      meta ? { },
      passthru ? { },
    }:
    dress {
      inherit passthru;
      meta = meta // lib.optionalAttrs (executable && lib.hasPrefix "/bin/" destination && !(meta ? mainProgram)) {
        mainProgram = lib.removePrefix "/bin/" destination;
      };
    } (derivation {
      inherit name system executable destination text;
      builder = "builtin:write-text";
      __structuredAttrs = true;
      outputs = [ "out" ];
    });

  farm =
    name: entries: extra:
    dress extra (derivation {
      inherit name system entries;
      builder = "builtin:link-farm";
      __structuredAttrs = true;
      outputs = [ "out" ];
    });

  # Shell text that fails the build of nothing: checks are the business of who writes the script.
  script = text: "#!${runtimeShell}\n${text}";

  runtimeShell = "${pkgs.bash}/bin/bash";
in
rec {
  inherit runtimeShell;
  runtimeShellPackage = pkgs.bash;

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      passthru ? { },
      # accepted: texts are always made here, never fetched
      allowSubstitutes ? false,
      preferLocalBuild ? true,
      derivationArgs ? { },
    }@args:
    let
      plain = writeUnchecked args;
    in
    if checkPhase == "" then
      plain
    else
      runCommand name { inherit meta passthru; } ''
        ln -s ${plain} "$out"
        target=$out${destination}
        ${checkPhase}
      '';

  writeUnchecked =
    args:
    text (builtins.intersectAttrs {
      name = null;
      text = null;
      executable = null;
      destination = null;
      meta = null;
      passthru = null;
    } args);

  writeText = name: content: text { inherit name; text = content; };
  writeTextDir =
    path: content:
    text {
      name = baseNameOf path;
      text = content;
      destination = "/${path}";
    };
  writeScript = name: content: text { inherit name; text = content; executable = true; };
  writeScriptBin =
    name: content:
    text {
      inherit name;
      text = content;
      executable = true;
      destination = "/bin/${name}";
    };
  writeShellScript = name: content: writeScript name (script content);
  writeShellScriptBin = name: content: writeScriptBin name (script content);
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? null,
      meta ? { },
      passthru ? { },
      bashOptions ? [ "errexit" "nounset" "pipefail" ],
      inheritPath ? true,
      # accepted: scripts are not linted
      checkPhase ? null,
      excludeShellChecks ? [ ],
      extraShellCheckFlags ? [ ],
      derivationArgs ? { },
    }:
    writeUnchecked {
      inherit name passthru;
      meta = { mainProgram = name; } // meta;
      executable = true;
      destination = "/bin/${name}";
      text = script (
        lib.concatMapStrings (option: "set -o ${option}\n") bashOptions
        + lib.concatStrings (
          lib.mapAttrsToList (key: value: "export ${key}=${lib.escapeShellArg value}\n") (
            if runtimeEnv == null then { } else runtimeEnv
          )
        )
        + lib.optionalString (runtimeInputs != [ ] || !inheritPath) "export PATH=\"${lib.makeBinPath runtimeInputs}${lib.optionalString inheritPath ":$PATH"}\"\n"
        + "\n${text}\n"
      );
    };

  concatTextFile =
    {
      name,
      files,
      executable ? false,
      destination ? "",
      meta ? { },
      passthru ? { },
      checkPhase ? "",
    }:
    runCommand name { inherit files meta passthru; } ''
      mkdir -p "$(dirname "$out${destination}")"
      cat $files > "$out${destination}"
      ${lib.optionalString executable "chmod +x \"$out${destination}\""}
    '';
  concatText = name: files: concatTextFile { inherit name files; };
  concatScript = name: files: concatTextFile { inherit name files; executable = true; };

  linkFarm =
    name: given:
    let
      # of entries with one name the last one counts
      byName =
        if builtins.isList given then
          lib.listToAttrs (lib.reverseList (map (entry: lib.nameValuePair entry.name entry.path) given))
        else
          given;
      entries = lib.mapAttrsToList (entry: path: { name = entry; path = "${path}"; }) byName;
    in
    farm name entries {
      passthru.entries = lib.listToAttrs (map (entry: lib.nameValuePair entry.name entry.path) entries);
    };
  linkFarmFromDrvs = name: drvs: linkFarm name (map (drv: { inherit (drv) name; path = drv; }) drvs);
  # Entries as `builtin:link-farm` takes them: { name, path }, { name, text, executable } or { name, copy }.
  nbvFarm = name: entries: farm name entries { };

  buildEnv =
    {
      name,
      paths,
      pathsToLink ? [ "/" ],
      ignoreCollisions ? false,
      postBuild ? "",
      extraPrefix ? "",
      meta ? { },
      passthru ? { },
      # accepted: views have one output
      extraOutputsToInstall ? [ ],
      checkCollisionContents ? true,
      ignoreSingleFileOutputs ? false,
      includeClosures ? false,
      manifest ? "",
      buildInputs ? [ ],
      nativeBuildInputs ? [ ],
    }:
    let
      tree = dress { inherit meta passthru; } (derivation (
        {
          name = if postBuild == "" then name else "${name}-tree";
          inherit system pathsToLink ignoreCollisions;
          paths = map (path: {
            path = "${path}";
            priority = path.meta.priority or 5;
          }) (lib.filter (path: path != null) paths);
          builder = "builtin:build-env";
          __structuredAttrs = true;
          outputs = [ "out" ];
        }
        // lib.optionalAttrs (extraPrefix != "") { inherit extraPrefix; }
      ));
    in
    if postBuild == "" then
      tree
    else
      runCommand name { inherit meta passthru buildInputs nativeBuildInputs; } ''
        cp -a --no-preserve=mode,ownership ${tree} "$out"
        chmod -R u+w "$out"
        ${postBuild}
      '';

  symlinkJoin =
    {
      name ? "${args.pname}-${args.version}",
      pname ? name,
      version ? "",
      paths,
      stripPrefix ? "",
      postBuild ? "",
      meta ? { },
      passthru ? { },
      buildInputs ? [ ],
      nativeBuildInputs ? [ ],
      preferLocalBuild ? true,
      allowSubstitutes ? false,
      failOnMissing ? false,
    }@args:
    buildEnv {
      inherit name postBuild meta passthru buildInputs nativeBuildInputs;
      paths = if stripPrefix == "" then paths else map (path: "${path}${stripPrefix}") paths;
      ignoreCollisions = true;
    };

  runCommandWith =
    {
      name,
      stdenv ? pkgs.stdenvNoCC,
      runLocal ? false,
      derivationArgs ? { },
    }:
    command:
    stdenv.mkDerivation (
      {
        inherit name;
        dontUnpack = true;
        phases = [ "buildCommandPhase" ];
        buildCommand = command;
      }
      // derivationArgs
    );
  runCommand = name: env: command: runCommandWith { inherit name; derivationArgs = env; } command;
  runCommandLocal = runCommand;
  runCommandNoCC = runCommand;
  runCommandCC =
    name: env: command:
    runCommandWith { inherit name; stdenv = pkgs.stdenv; derivationArgs = env; } command;

  emptyFile = text { name = "empty-file"; text = ""; };
  emptyDirectory = farm "empty-directory" [ ] { };

  # Replaces `@NAME@`. A source in the store is read during evaluation where that needs no build.
  replaceVars =
    source: replacements:
    let
      content = builtins.readFile source;
      given = lib.filterAttrs (_: value: value != null) replacements;
    in
    text {
      name = baseNameOf (builtins.unsafeDiscardStringContext "${toString source}");
      text = builtins.replaceStrings (map (key: "@${key}@") (lib.attrNames given)) (map toString (lib.attrValues given)) content;
    };
  replaceVarsWith =
    {
      src,
      replacements,
      name ? null,
      dir ? null,
      isExecutable ? false,
      meta ? { },
      passthru ? { },
    }:
    let
      file = if name != null then name else baseNameOf (builtins.unsafeDiscardStringContext (toString src));
      given = lib.filterAttrs (_: value: value != null) replacements;
    in
    text {
      name = file;
      text = builtins.replaceStrings (map (key: "@${key}@") (lib.attrNames given)) (map toString (lib.attrValues given)) (
        builtins.readFile src
      );
      executable = isExecutable;
      destination = lib.optionalString (dir != null) "/${dir}/${file}";
      inherit meta passthru;
    };
  substituteAll =
    { src, name ? null, dir ? null, isExecutable ? false, ... }@args:
    replaceVarsWith {
      inherit src name dir isExecutable;
      replacements = lib.filterAttrs (_: value: builtins.isString value || builtins.isInt value || lib.isDerivation value || builtins.isPath value) (
        removeAttrs args [ "src" "name" "dir" "isExecutable" "meta" "passthru" ]
      );
    };

  # The store paths that some paths refer to, as a file; the closure is known to the sandbox.
  closureInfo =
    { rootPaths }:
    pkgs.stdenvNoCC.mkDerivation {
      name = "closure-info";
      dontUnpack = true;
      __structuredAttrs = true;
      exportReferencesGraph.closure = rootPaths;
      phases = [ "buildCommandPhase" ];
      buildCommand = ''
        mkdir -p "$out"
        ${pkgs.jq}/bin/jq -r '.closure[].path' < "$NIX_ATTRS_JSON_FILE" | sort -u > "$out/store-paths"
      '';
    };
  writeReferencesToFile = path: "${closureInfo { rootPaths = [ path ]; }}/store-paths";
  writeClosure = paths: "${closureInfo { rootPaths = paths; }}/store-paths";

  fetchurl =
    {
      url ? null,
      urls ? [ ],
      name ? null,
      hash ? null,
      sha256 ? null,
      sha512 ? null,
      sha1 ? null,
      executable ? false,
      meta ? { },
      passthru ? { },
      curlOpts ? "",
      curlOptsList ? [ ],
      postFetch ? "",
    }:
    let
      source = if url != null then url else if urls != [ ] then builtins.head urls else throw "fetchurl: neither url nor urls is given";
      sum =
        if hash != null && hash != "" then
          { outputHash = hash; outputHashAlgo = null; }
        else if sha256 != null then
          { outputHash = sha256; outputHashAlgo = "sha256"; }
        else if sha512 != null then
          { outputHash = sha512; outputHashAlgo = "sha512"; }
        else if sha1 != null then
          { outputHash = sha1; outputHashAlgo = "sha1"; }
        else
          throw "fetchurl: ${source} needs a hash (hash = \"sha256-...\")";
    in
    if postFetch != "" then
      throw "fetchurl: postFetch is not supported; use a runCommand on the fetched file"
    else
      dress { inherit meta passthru; } (derivation (
        {
          name = if name != null then name else baseNameOf source;
          builder = "builtin:fetchurl";
          system = "builtin";
          url = source;
          urls = [ source ];
          outputHashMode = if executable then "recursive" else "flat";
          inherit executable;
          unpack = false;
          preferLocalBuild = true;
        }
        // lib.filterAttrs (_: value: value != null) sum
      ));
  fetchzip = { url, hash ? null, sha256 ? null, ... }: builtins.fetchTarball { inherit url; sha256 = if sha256 != null then sha256 else hash; };
  fetchFromGitHub =
    { owner, repo, rev ? "refs/tags/${tag}", tag ? null, hash ? null, sha256 ? null, ... }:
    fetchzip {
      url = "https://github.com/${owner}/${repo}/archive/${rev}.tar.gz";
      inherit hash sha256;
    };
}
