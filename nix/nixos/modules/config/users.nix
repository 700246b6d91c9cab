# users.*: accounts. They become lines for the activation program, which keeps /etc/passwd, group and shadow.
{ config, options, lib, pkgs, utils, ... }:
let
  inherit (lib) mkOption types mkIf mkDefault concatStringsSep;
  inherit (builtins) attrNames attrValues filter map toString;
  cfg = config.users;
  ids = config.ids;

  nameType = kind: types.addCheck types.str (s: builtins.match "[A-Za-z0-9_.][A-Za-z0-9_.-]{0,30}\\$?" s != null) // {
    description = "string that can be the name of a ${kind}";
  };
  userOpts = { name, config, ... }: {
    config = lib.mkMerge [
      {
        name = mkDefault name;
        shell = mkIf config.useDefaultShell (mkDefault cfg.defaultUserShell);
      }
      (mkIf config.isNormalUser {
        group = mkDefault "users";
        createHome = mkDefault true;
        home = mkDefault "/home/${config.name}";
        homeMode = mkDefault "700";
        useDefaultShell = mkDefault true;
      })
    ];
  };
  passwordOption = description: mkOption { type = types.nullOr (types.passwdEntry types.str); default = null; inherit description; };
  userOptions.options = {
    name = mkOption { type = nameType "user"; description = "The user's name; the attribute's name unless said otherwise."; };
    enable = mkOption { type = types.bool; default = true; description = "Whether the user is made."; };
    description = mkOption { type = types.passwdEntry types.str; default = ""; example = "Alice Q. User"; description = "The user's full name."; };
    uid = mkOption { type = types.nullOr types.int; default = null; description = "The user's number; given out by activation when null."; };
    isSystemUser = mkOption { type = types.bool; default = false; description = "Whether the user is one of the system, with a number below 1000."; };
    isNormalUser = mkOption { type = types.bool; default = false; description = "Whether the user is a person: in the group users, with a home and a shell."; };
    group = mkOption { type = types.str; default = ""; description = "The user's primary group."; };
    extraGroups = mkOption { type = types.listOf types.str; default = [ ]; description = "The user's further groups."; };
    home = mkOption { type = types.passwdEntry types.path; default = "/var/empty"; description = "The user's home."; };
    homeMode = mkOption { type = types.strMatching "[0-7]{1,5}"; default = "700"; description = "The mode of the home when it is made."; };
    createHome = mkOption { type = types.bool; default = false; description = "Whether the home is made."; };
    cryptHomeLuks = mkOption { type = types.nullOr types.str; default = null; description = "Accepted for compatibility."; };
    shell = mkOption {
      type = types.nullOr (types.either types.shellPackage (types.passwdEntry types.path));
      default = "/run/current-system/sw/bin/nologin";
      defaultText = lib.literalExpression "nologin";
      example = lib.literalExpression "pkgs.bashInteractive";
      description = "The user's shell.";
    };
    ignoreShellProgramCheck = mkOption { type = types.bool; default = false; description = "Whether the shell may be one whose module is not enabled."; };
    subUidRanges = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Ranges { startUid; count; } that the user may map."; };
    subGidRanges = mkOption { type = types.listOf types.attrs; default = [ ]; description = "Ranges { startGid; count; } that the user may map."; };
    autoSubUidGidRange = mkOption { type = types.bool; default = false; description = "Whether ranges are given out."; };
    useDefaultShell = mkOption { type = types.bool; default = false; description = "Whether the shell is users.defaultUserShell."; };
    hashedPassword = passwordOption "The password's hash (crypt), set at every activation when users.mutableUsers is false.";
    password = mkOption { type = types.nullOr types.str; default = null; description = "The password in clear text; readable by everybody in the store."; };
    hashedPasswordFile = mkOption { type = types.nullOr types.str; default = null; description = "A file in the machine that holds the password's hash."; };
    passwordFile = mkOption { type = types.nullOr types.str; default = null; visible = false; description = "The older name of hashedPasswordFile."; };
    initialHashedPassword = passwordOption "The password's hash when the user is first made.";
    initialPassword = mkOption { type = types.nullOr types.str; default = null; description = "The password in clear text when the user is first made."; };
    packages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages of the user."; };
    expires = mkOption { type = types.nullOr (types.strMatching "[[:digit:]]{4}-[[:digit:]]{2}-[[:digit:]]{2}"); default = null; description = "The day from which the account cannot be used."; };
    linger = mkOption { type = types.nullOr types.bool; default = null; description = "Whether the user's manager runs without a login."; };
    pamMount = mkOption { type = types.attrsOf types.str; default = { }; description = "Accepted for compatibility."; };
  };
  groupOpts = { name, ... }: {
    config = {
      name = mkDefault name;
      members = map (u: u.name) (filter (u: u.enable && lib.elem name u.extraGroups) (attrValues cfg.users));
    };
  };
  groupOptions.options = {
    name = mkOption { type = nameType "group"; description = "The group's name; the attribute's name unless said otherwise."; };
    gid = mkOption { type = types.nullOr types.int; default = null; description = "The group's number; given out by activation when null."; };
    members = mkOption { type = types.listOf (types.passwdEntry types.str); default = [ ]; description = "Users in the group, beside those that name it."; };
  };

  # Days since 1970 of a date.
  daysOf = date:
    let
      p = map lib.toIntBase10 (lib.splitString "-" date);
      y0 = builtins.elemAt p 0;
      m = builtins.elemAt p 1;
      d = builtins.elemAt p 2;
      y = if m <= 2 then y0 - 1 else y0;
      era = y / 400;
      yoe = y - era * 400;
      doy = (153 * (m + (if m > 2 then -3 else 9)) + 2) / 5 + d - 1;
      doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    in
    era * 146097 + doe - 719468;

  passwordOf = u:
    if u.hashedPasswordFile != null then "file:${u.hashedPasswordFile}"
    else if u.passwordFile != null then "file:${u.passwordFile}"
    else if u.password != null then "plain:${u.password}"
    else if u.hashedPassword != null then "hash:${u.hashedPassword}"
    else if u.initialPassword != null then "initial:${u.initialPassword}"
    else if u.initialHashedPassword != null then "initial-hash:${u.initialHashedPassword}"
    else "-";
  flagsOf = u: concatStringsSep "," (
    [ (if u.isNormalUser then "normal" else "system") ]
    ++ lib.optional u.createHome "home=${u.homeMode}"
    ++ lib.optional (u.linger == true) "linger"
    ++ lib.optional (u.expires != null) "expires=${toString (daysOf u.expires)}");
  userLine = u: [
    "user" u.name (if u.uid == null then "-" else toString u.uid) u.group u.home (if u.shell == null then "" else utils.toShellPath u.shell)
    u.description (passwordOf u) (flagsOf u)
  ];
  groupLine = g: [ "group" g.name (if g.gid == null then "-" else toString g.gid) (concatStringsSep "," (lib.unique g.members)) ];
  enabled = filter (u: u.enable) (attrValues cfg.users);
  sameNumber = what: field: all:
    let
      numbered = filter (x: x.${field} != null) all;
      by = builtins.groupBy (x: toString x.${field}) numbered;
      clash = filter (n: builtins.length by.${n} > 1) (attrNames by);
    in
    map
      (n: {
        assertion = false;
        message = "${what} ${concatStringsSep " and " (map (x: "'${x.name}'") by.${n})} have the same number ${n}";
      })
      clash;
  sub = kind: first: lib.concatMapStrings
    (u: lib.concatMapStrings (r: "${u.name}:${toString r.${first}}:${toString (r.count or 1)}\n") u.${kind})
    enabled;
in
{
  options.users = {
    mutableUsers = mkOption { type = types.bool; default = true; description = "Whether users and passwords can be changed in the machine; else every activation makes them as the configuration says."; };
    enforceIdUniqueness = mkOption { type = types.bool; default = true; description = "Whether equal numbers of two users or groups are an error."; };
    allowNoPasswordLogin = mkOption { type = types.bool; default = false; description = "Whether a machine that nobody can log in to is accepted."; };
    defaultUserShell = mkOption { type = types.either types.path types.shellPackage; default = pkgs.bashInteractive; defaultText = lib.literalExpression "pkgs.bashInteractive"; description = "The shell of users with useDefaultShell."; };
    defaultUserHome = mkOption { type = types.str; default = "/home"; description = "Where homes are made."; };
    users = mkOption { type = types.attrsOf (types.submodule [ userOptions userOpts ]); default = { }; example = { alice = { isNormalUser = true; extraGroups = [ "wheel" ]; }; }; description = "Users."; };
    groups = mkOption { type = types.attrsOf (types.submodule [ groupOptions groupOpts ]); default = { }; example = { students.gid = 1001; }; description = "Groups."; };
    extraUsers = mkOption { type = types.attrsOf types.anything; default = { }; visible = false; description = "The older name of users.users."; };
    extraGroups = mkOption { type = types.attrsOf types.anything; default = { }; visible = false; description = "The older name of users.groups."; };
    manageLingering = mkOption { type = types.bool; default = true; description = "Whether users.users.NAME.linger is kept."; };
    motd = mkOption { type = types.nullOr types.lines; default = null; description = "The text shown after a login."; };
    motdFile = mkOption { type = types.nullOr types.path; default = null; description = "A file with the text shown after a login."; };
  };
  config = {
    users.users = lib.mkMerge [
      {
        root = {
          uid = ids.uids.root;
          description = "System administrator";
          home = mkDefault "/root";
          shell = mkDefault cfg.defaultUserShell;
          group = "root";
          createHome = true;
          homeMode = mkDefault "700";
        };
        nobody = { uid = ids.uids.nobody; isSystemUser = true; description = "Unprivileged account (don't use!)"; group = "nogroup"; };
      }
      (mkIf (cfg.extraUsers != { }) cfg.extraUsers)
    ];
    users.groups = lib.mkMerge [
      (lib.genAttrs [
        "root" "wheel" "disk" "kmem" "tty" "floppy" "uucp" "lp" "cdrom" "tape" "audio" "video" "dialout" "nogroup" "users"
        "utmp" "adm" "input" "kvm" "render" "sgx" "shadow" "keys"
      ] (name: { gid = ids.gids.${name}; }))
      (mkIf (cfg.extraGroups != { }) cfg.extraGroups)
    ];
    environment.etc = lib.optionalAttrs (lib.any (u: u.subUidRanges != [ ]) enabled) { subuid = { text = sub "subUidRanges" "startUid"; mode = "0644"; }; }
      // lib.optionalAttrs (lib.any (u: u.subGidRanges != [ ]) enabled) { subgid = { text = sub "subGidRanges" "startGid"; mode = "0644"; }; }
      // lib.mapAttrs' (_: u: {
        name = "profiles/per-user/${u.name}";
        value.source = pkgs.buildEnv {
          name = "user-environment";
          paths = u.packages;
          inherit (config.environment) pathsToLink;
          ignoreCollisions = true;
        };
      }) (lib.filterAttrs (_: u: u.enable && u.packages != [ ]) cfg.users)
      // lib.optionalAttrs (cfg.motd != null) { motd.text = cfg.motd; };
    # Shells are named by their place in the system's path.
    environment.systemPackages = lib.unique (filter types.shellPackage.check (map (u: u.shell) enabled));
    environment.profiles = [ "$HOME/.nix-profile" "/etc/profiles/per-user/$USER" ];
    system.activation.manifest = lib.mkOrder 100 (
      [ [ "mutable" (lib.boolToYesNo cfg.mutableUsers) ] ]
      ++ map groupLine (attrValues cfg.groups)
      ++ map userLine enabled);
    assertions =
      lib.concatMap
        (u: [
          {
            assertion = u.group != "" && cfg.groups ? ${u.group} || lib.any (g: g.name == u.group) (attrValues cfg.groups);
            message =
              if u.group == "" then ''
                users.users.${u.name}.group is unset. This used to default to
                nogroup, but this is unsafe. For example you can create a group
                for this user with:
                users.users.${u.name}.group = "${u.name}";
                users.groups.${u.name} = {};''
              else "users.users.${u.name}.group is \"${u.group}\", which is not in users.groups";
          }
          {
            assertion = u.isNormalUser != u.isSystemUser || u.name == "root" || (u.uid != null && u.uid < 1000 && !u.isNormalUser && !u.isSystemUser);
            message = "Exactly one of users.users.${u.name}.isSystemUser and users.users.${u.name}.isNormalUser must be set.";
          }
        ])
        enabled
      ++ lib.optionals cfg.enforceIdUniqueness (sameNumber "the users" "uid" enabled ++ sameNumber "the groups" "gid" (attrValues cfg.groups));
  };
}
