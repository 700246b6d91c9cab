# Tables that the C library reads: where names are looked up, protocols, services; and certificates.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  list = default: description: mkOption { type = types.listOf types.str; inherit default description; };
  ordered = l: lib.concatStringsSep " " (lib.unique l);
  db = config.system.nssDatabases;
  pki = config.security.pki;
  extra = pki.certificates != [ ] || pki.certificateFiles != [ ];
  bundle =
    if !extra && pki.caCertificateBlacklist == [ ] then "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt"
    else pkgs.runCommand "ca-bundle.crt" { } ''
      cat ${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt ${lib.escapeShellArgs (map (file: "${file}") pki.certificateFiles)} > $out
      cat ${pkgs.writeText "certificates" (lib.concatMapStrings (c: "${c}\n") pki.certificates)} >> $out
    '';
in
{
  options = {
    system.nssModules = mkOption { type = types.listOf types.path; internal = true; default = [ ]; apply = list: { inherit list; path = lib.makeLibraryPath list; }; description = "Accepted for compatibility: modules are those of the layer."; };
    system.nssDatabases = {
      passwd = list [ ] "Sources of users.";
      group = list [ ] "Sources of groups.";
      shadow = list [ ] "Sources of passwords.";
      sudoers = list [ ] "Sources of sudo's rules.";
      hosts = list [ ] "Sources of host names.";
      services = list [ ] "Sources of names of ports.";
    };
    services.nscd = {
      enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility: Debian's C library needs no daemon for its modules."; };
      enableNsncd = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    };
    security.pki = {
      certificateFiles = mkOption { type = types.listOf types.path; default = [ ]; description = "Files of certificates that are trusted besides the usual ones."; };
      certificates = mkOption { type = types.listOf types.str; default = [ ]; description = "Certificates that are trusted besides the usual ones."; };
      caCertificateBlacklist = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
      installCACerts = mkOption { type = types.bool; default = true; description = "Whether the certificates are in /etc/ssl."; };
      useCompatibleBundle = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    };
  };
  config = {
    system.nssDatabases = {
      passwd = lib.mkBefore [ "files" ];
      group = lib.mkBefore [ "files" ];
      shadow = lib.mkBefore [ "files" ];
      sudoers = lib.mkBefore [ "files" ];
      hosts = lib.mkMerge [ (lib.mkOrder 998 [ "files" ]) (lib.mkOrder 999 [ "myhostname" ]) (lib.mkOrder 1499 [ "dns" ]) ];
      services = lib.mkBefore [ "files" ];
    };
    environment.etc = {
      "nsswitch.conf".text = ''
        passwd:    ${ordered db.passwd}
        group:     ${ordered db.group}
        shadow:    ${ordered db.shadow}
        sudoers:   ${ordered db.sudoers}
        hosts:     ${ordered db.hosts}
        networks:  files
        ethers:    files
        services:  ${ordered db.services}
        protocols: files
        rpc:       files
      '';
      protocols.source = "${pkgs.iana-etc}/etc/protocols";
      services.source = "${pkgs.iana-etc}/etc/services";
      rpc.source = "${pkgs.iana-etc}/etc/rpc";
      mtab = { source = "/proc/mounts"; mode = "direct-symlink"; };
    } // lib.optionalAttrs pki.installCACerts {
      "ssl/certs/ca-certificates.crt".source = bundle;
      "ssl/certs/ca-bundle.crt".source = bundle;
      "pki/tls/certs/ca-bundle.crt".source = bundle;
    };
  };
}
