# The module argument `utils`.
{ lib, config, pkgs }:
let
  inherit (lib) concatMapStrings escapeShellArg hasPrefix removePrefix replaceStrings stringToCharacters;
in
rec {
  # A text as part of a unit's name, as systemd-escape does it.
  escapeSystemdString = s:
    let
      escapeChar = i: c:
        if c == "/" then "-"
        else if i == 0 && c == "." then "\\x2e"
        else if builtins.match "[a-zA-Z0-9:_.]" c != null then c
        else lib.strings.escapeC [ c ] c;
    in
    lib.concatStrings (lib.imap0 escapeChar (stringToCharacters s));
  # A path as the name of its unit.
  escapeSystemdPath = s:
    let
      parts = lib.filter (p: p != "" && p != ".") (lib.splitString "/" (toString s));
      joined = lib.concatStringsSep "/" parts;
    in
    if parts == [ ] then "-" else escapeSystemdString joined;
  # An argument of an Exec line, quoted; its `%` and `$` are literal.
  escapeSystemdExecArg = arg:
    let
      s =
        if lib.isPath arg then "${arg}"
        else if lib.isString arg then arg
        else if lib.isInt arg || lib.isFloat arg || lib.isDerivation arg then toString arg
        else throw "escapeSystemdExecArg: ${lib.diagnostics.describe arg} cannot be an argument";
    in
    replaceStrings [ "%" "$" ] [ "%%" "$$" ] (builtins.toJSON s);
  escapeSystemdExecArgs = lib.concatMapStringsSep " " escapeSystemdExecArg;
  toShellPath = shell:
    if lib.types.shellPackage.check shell then "/run/current-system/sw${shell.shellPath}"
    else if lib.types.package.check shell then throw "${shell} is not a shell package"
    else shell;
  # Whether the configuration mounts a file system before the rest.
  fsNeededForBoot = fs: fs.neededForBoot || lib.elem fs.mountPoint pathsNeededForBoot;
  pathsNeededForBoot = [ "/" "/nix" "/nix/store" "/var" "/var/log" "/var/lib" "/var/lib/nixos" "/etc" "/usr" ];
  fsBefore = a: b:
    let
      inside = x: y: x == y || hasPrefix (if lib.hasSuffix "/" x then x else "${x}/") y;
    in
    a.mountPoint != b.mountPoint && (inside a.mountPoint b.mountPoint || inside a.mountPoint b.device || lib.elem a.mountPoint (b.depends or [ ]));
  removePackagesByName = packages: unwanted:
    let names = map lib.getName unwanted; in
    lib.filter (p: !(lib.elem (lib.getName p) names)) packages;
  disablePackageByName = packages: unwanted: removePackagesByName packages unwanted;
  # { _secret = "/path"; } in settings is replaced by the file's content by a script.
  recursiveGetAttrWithJqPrefix = item: attr:
    let
      go = prefix: v:
        if lib.isAttrs v && v ? ${attr} then { ${prefix} = v.${attr}; }
        else if lib.isDerivation v then { }
        else if lib.isAttrs v then lib.foldl' (a: b: a // b) { } (lib.mapAttrsToList (n: go "${prefix}.${builtins.toJSON n}") v)
        else if lib.isList v then lib.foldl' (a: b: a // b) { } (lib.imap0 (i: go "${prefix}[${toString i}]") v)
        else { };
    in
    go "" item;
  genJqSecretsReplacementSnippet = set: output:
    let
      secrets = recursiveGetAttrWithJqPrefix set "_secret";
      names = lib.imap1 (i: path: { inherit path; var = "secret${toString i}"; }) (lib.attrNames secrets);
    in
    ''
      if [[ -h '${output}' ]]; then rm '${output}'; fi
      ${concatMapStrings (n: "export ${n.var}=$(<'${secrets.${n.path}}')\n") names}
      ${pkgs.jq}/bin/jq >'${output}' ${escapeShellArg (if names == [ ] then "." else lib.concatMapStringsSep " | " (n: "${n.path} = $ENV.${n.var}") names)} <<'EOF'
      ${builtins.toJSON set}
      EOF
    '';
  systemdUtils = import ./systemd-lib.nix { inherit lib config pkgs; };
}
