# Configuration files that Debian's programs look for in /etc, such as /etc/lynx/lynx.cfg.
#
# The layer keeps packages' files of /etc aside. For each package that the configuration adds to the system, those that
# bear its name are linked, where there are such files and the configuration makes none itself. No process runs.
{ config, lib, ... }:

let
  added = lib.filter (package: package ? debianPackages) (
    lib.subtractLists (config.environment.corePackages ++ [ config.systemd.package ]) config.environment.systemPackages
  );
  names = lib.unique (lib.concatMap (package: [ package.pname (builtins.head package.debianPackages) ]) added);
  files = lib.concatMap (name: [ name "${name}rc" "${name}.conf" ]) names;
in
{
  system.activation.manifest = map (file: [ "tmpfile" "L?" "/etc/${file}" "-" "-" "-" "/usr/share/nbv/etc/${file}" ]) files;
}
