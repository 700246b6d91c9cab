# systemd.tmpfiles: rules are applied by activation, in its one process; what it does not know is left to
# systemd-tmpfiles, which is started only then.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (builtins) elem elemAt filter length match map split isString;
  cfg = config.systemd.tmpfiles;

  entry = types.submodule {
    options = {
      type = mkOption { type = types.str; default = "‹name›"; description = "The rule's type."; };
      mode = mkOption { type = types.str; default = "-"; description = "The mode."; };
      user = mkOption { type = types.str; default = "-"; description = "The owner."; };
      group = mkOption { type = types.str; default = "-"; description = "The group."; };
      age = mkOption { type = types.str; default = "-"; description = "The age after which content is removed."; };
      argument = mkOption { type = types.str; default = ""; description = "The argument."; };
    };
  };
  escaped = lib.replaceStrings [ "\t" "\n" "\r" ] [ "\\t" "\\n" "\\r" ];
  settingLine = path: type: e: "'${if e.type == "‹name›" then type else e.type}' '${path}' '${e.mode}' '${e.user}' '${e.group}' '${e.age}' ${escaped e.argument}";
  settingLines = lib.concatLists (lib.mapAttrsToList
    (_: paths: lib.concatLists (lib.mapAttrsToList (path: rules: lib.mapAttrsToList (settingLine path) rules) paths))
    cfg.settings);
  rules = settingLines ++ cfg.rules;

  # A line's fields: the first six words, possibly quoted, then the argument.
  fieldsOf = line:
    let
      go = n: rest:
        let m = match "[ \t]*(\"[^\"]*\"|'[^']*'|[^ \t]+)(.*)" rest; in
        if n == 0 || m == null then [ (lib.trim rest) ]
        else [ (unquote (elemAt m 0)) ] ++ go (n - 1) (elemAt m 1);
      unquote = w:
        let q = builtins.substring 0 1 w; in
        if q == "\"" || q == "'" then builtins.substring 1 (builtins.stringLength w - 2) w else w;
      all = go 6 line;
    in
    # seven fields, missing ones as "-" and an empty argument
    lib.imap0 (i: default: if i < length all && elemAt all i != "" && !(i == 6 && elemAt all i == "-") then elemAt all i else default) [ "" "" "-" "-" "-" "-" "" ];
  parsed = map fieldsOf (filter (r: r != "" && !(lib.hasPrefix "#" r)) (lib.concatMap (r: filter isString (split "\n" r)) rules));
  known = [ "d" "D" "e" "v" "q" "Q" "f" "f+" "w" "L" "L+" "L?" "p" "z" "Z" "r" "R" "x" "X" ];
  # `!` (only at boot) and `-` (failure does not matter) of a type
  plainType = t: lib.removeSuffix "-" (lib.removeSuffix "!" (lib.removeSuffix "-" t));
  special = f:
    let
      path = elemAt f 1;
      argument = elemAt f 6;
      wildcards = match ".*[*?[].*" path != null && !(elem (plainType (elemAt f 0)) [ "x" "X" ]);
      specifier = match ".*%.*" path != null || (match ".*%.*" argument != null && elem (plainType (elemAt f 0)) [ "f" "f+" "w" "L" "L+" "L?" ]);
    in
    !(elem (plainType (elemAt f 0)) known) || wildcards || specifier || match "[~:].*" (elemAt f 2) != null;
  hasAge = f: elemAt f 5 != "-" && elemAt f 5 != "";
  byActivation = filter (f: !special f) parsed;
  bySystemd = filter special parsed;
  text = "# Made by the configuration: systemd.tmpfiles\n" + lib.concatMapStrings (r: "${r}\n") rules;
in
{
  options.systemd.tmpfiles = {
    rules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "d /tmp 1777 root root 10d" ];
      description = "Rules of tmpfiles.d(5).";
    };
    settings = mkOption {
      type = types.attrsOf (types.attrsOf (types.attrsOf entry));
      default = { };
      example = { "10-mypackage"."/var/lib/my-service".d = { mode = "0755"; user = "root"; group = "root"; }; };
      description = "Rules as a set: file, path, type.";
    };
    packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose lib/tmpfiles.d is in effect.";
    };
  };
  config = lib.mkMerge [
    {
      systemd.tmpfiles.rules = [
        "d /tmp 1777 root root 10d"
        "d /var/tmp 1777 root root 30d"
        "d /run/lock 0755 root root -"
        "d /var/cache 0755 root root -"
        "d /var/empty 0555 root root -"
        "d /var/lib 0755 root root -"
        "d /var/log 0755 root root -"
        "d /var/spool 0755 root root -"
        "L /var/run - - - - /run"
        "L /var/lock - - - - /run/lock"
      ];
      environment.etc =
        if cfg.packages == [ ] then { "tmpfiles.d/00-nixos.conf".text = text; }
        else {
          "tmpfiles.d".source = pkgs.nbvFarm "tmpfiles.d" (
            [ { name = "00-nixos.conf"; inherit text; } ]
            ++ map (p: { name = ""; tree = "${p}/lib/tmpfiles.d"; }) cfg.packages);
        };
      system.activation.manifest = lib.mkOrder 700 (map
        (f: [ "tmpfile" (plainType (elemAt f 0)) (elemAt f 1) (elemAt f 2) (elemAt f 3) (elemAt f 4) (elemAt f 6) ])
        byActivation);
    }
    (lib.mkIf (bySystemd != [ ] || cfg.packages != [ ]) {
      systemd.additionalUpstreamSystemUnits = [ "systemd-tmpfiles-setup.service" ];
      systemd.upstreamWants = [ "sysinit.target.wants/systemd-tmpfiles-setup.service" ];
    })
    (lib.mkIf (lib.any hasAge (filter (f: !(elem (elemAt f 1) [ "/tmp" "/var/tmp" ])) parsed)) {
      systemd.additionalUpstreamSystemUnits = [ "systemd-tmpfiles-clean.timer" "systemd-tmpfiles-clean.service" ];
      systemd.upstreamWants = [ "timers.target.wants/systemd-tmpfiles-clean.timer" ];
    })
  ];
}
