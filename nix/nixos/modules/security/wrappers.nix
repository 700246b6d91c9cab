# security.wrappers: programs with more rights than who starts them.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  inherit (builtins) map;
  wrappers = lib.filter (w: w.enable) (lib.attrValues config.security.wrappers);
  wrapper = types.submodule ({ name, config, ... }: {
    options = {
      enable = mkOption { type = types.bool; default = true; description = "Whether the wrapper is made."; };
      source = mkOption { type = types.path; description = "The program."; };
      program = mkOption { type = types.nullOr types.str; default = name; description = "The wrapper's name."; };
      owner = mkOption { type = types.str; description = "The wrapper's owner."; };
      group = mkOption { type = types.str; description = "The wrapper's group."; };
      permissions = mkOption { type = types.strMatching "[0-7]{3,4}|[ugorwxXst,=+-]+"; default = "u+rx,g+x,o+x"; example = "u+rx,g+rx,o-rx"; description = "The wrapper's mode, less setuid and setgid."; };
      capabilities = mkOption { type = types.commas; default = ""; description = "Capabilities of the wrapper."; };
      setuid = mkOption { type = types.bool; default = false; description = "Whether the program runs as the owner."; };
      setgid = mkOption { type = types.bool; default = false; description = "Whether the program runs as the group."; };
    };
  });
  # Octal mode from the usual symbolic forms.
  mode = w:
    let
      base =
        if builtins.match "[0-7]+" w.permissions != null then lib.last (lib.splitString " " w.permissions)
        else
          lib.concatMapStrings
            (who:
              let
                bits = lib.concatMap
                  (part: let m = builtins.match "([ugoa]*)([+=])([rwxX]*)" part; in
                    if m != null && (lib.hasInfix who (builtins.head m) || lib.hasInfix "a" (builtins.head m)) then lib.stringToCharacters (builtins.elemAt m 2) else [ ])
                  (lib.splitString "," w.permissions);
                bit = c: n: if lib.elem c bits then n else 0;
              in
              toString (bit "r" 4 + bit "w" 2 + (if lib.elem "x" bits || lib.elem "X" bits then 1 else 0)))
            [ "u" "g" "o" ];
      special = (if w.setuid then 4 else 0) + (if w.setgid then 2 else 0);
    in
    "${toString special}${if builtins.stringLength base == 4 then builtins.substring 1 3 base else base}";
  simple = source: { setuid = true; owner = "root"; group = "root"; inherit source; };
in
{
  options.security = {
    enableWrappers = mkOption { type = types.bool; default = true; description = "Whether wrappers are made."; };
    wrappers = mkOption { type = types.attrsOf wrapper; default = { }; description = "Programs that run with the rights of another user, or with capabilities."; };
    wrapperDir = mkOption { type = types.path; default = "/run/wrappers/bin"; internal = true; description = "Where the wrappers are."; };
    wrapperDirSize = mkOption { type = types.str; default = "50%"; description = "Accepted for compatibility."; };
  };
  config = {
    security.wrappers = lib.mapAttrs (_: s: simple s) {
      mount = "/usr/bin/mount";
      umount = "/usr/bin/umount";
      su = "/usr/bin/su";
      passwd = "/usr/bin/passwd";
      newgrp = "/usr/bin/newgrp";
      chsh = "/usr/bin/chsh";
    } // {
      unix_chkpwd = simple "/usr/bin/unix_chkpwd";
      ping = { owner = "root"; group = "root"; capabilities = "cap_net_raw+p"; source = "/usr/bin/ping"; };
    };
    system.activation.manifest = lib.mkIf config.security.enableWrappers (lib.mkOrder 800 (map
      (w: [ "wrapper" w.program "${w.source}" w.owner w.group (mode w) w.capabilities ])
      wrappers));
    assertions = map
      (w: {
        assertion = !(w.setuid || w.setgid) || w.capabilities == "";
        message = "The security.wrappers.${w.program} wrapper is not valid: setuid/setgid and capabilities are mutually exclusive.";
      })
      wrappers;
  };
}
