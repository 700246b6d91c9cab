# Packages of which more is expected than their files: other paths, attributes, several Debian versions.
#
# Each attribute is an argument set of view.nix' `make`, less `pname`. Paths `/usr/...` are those of the layer, where
# sbin is merged into bin and packages' /etc lies at /usr/share/nbv/etc.
{
  lib,
  has,
  platform,
  # name of the package -> view, to name other packages lazily
  self,
  # file with a text
  text,
}:

let
  # Words of names.nix' kind: "a b? c|d".
  words =
    given:
    lib.concatMap (
      word:
      if lib.hasSuffix "?" word then
        lib.filter has [ (lib.removeSuffix "?" word) ]
      else
        let
          choices = lib.splitString "|" word;
        in
        [ (lib.findFirst has (builtins.head choices) choices) ]
    ) (lib.filter (word: word != "") (lib.splitString " " given));

  aside = "/usr/share/nbv/etc";

  shell = name: extra: {
    packages = [ name ];
    passthru.shellPath = "/bin/${name}";
  } // extra;

  bash = shell "bash" { links."bin/sh" = "/usr/bin/bash"; };

  postgres =
    major:
    let
      home = "lib/postgresql/${major}";
    in
    {
      packages = [ "postgresql-${major}" "postgresql-client-${major}" ];
      only = [ ];
      # each by itself, so that the programs merge with those of other packages
      links = lib.listToAttrs (
        map (program: lib.nameValuePair "bin/${program}" "/usr/${home}/bin/${program}") [
          "clusterdb" "createdb" "createuser" "dropdb" "dropuser" "initdb" "oid2name" "pg_amcheck" "pg_archivecleanup" "pg_basebackup" "pg_checksums"
          "pg_config" "pg_controldata" "pg_ctl" "pg_dump" "pg_dumpall" "pg_isready" "pg_receivewal" "pg_recvlogical" "pg_resetwal" "pg_restore"
          "pg_rewind" "pg_test_fsync" "pg_test_timing" "pg_upgrade" "pg_verifybackup" "pg_waldump" "pgbench" "postgres" "psql" "reindexdb"
          "vacuumdb" "vacuumlo"
        ]
      ) // {
        "lib" = "/usr/${home}/lib";
        "share/postgresql" = "/usr/share/postgresql/${major}";
      };
      passthru = {
        psqlSchema = major;
        dlSuffix = ".so";
        withPackages = _: self."postgresql_${major}";
        withJIT = self."postgresql_${major}";
        withoutJIT = self."postgresql_${major}";
        pkgs = { };
      };
    };
  postgresMajor = lib.findFirst (major: has "postgresql-${major}") "17" [ "17" "15" ];

  nginx = {
    packages = [ "nginx" "nginx-common" ];
    drop = [ "lib/systemd" "etc" ];
    links = {
      "conf" = "${aside}/nginx";
      "html" = "/usr/share/nginx/html";
    };
  };

  # Alternatives have no files of their own in the package.
  alternative = packages: links: {
    packages = words packages;
    inherit links;
  };

  samba = {
    packages = words "samba samba-common-bin smbclient winbind";
    passthru.enableWinbind = true;
  };

  # Types of the files that web servers have most of.
  mimeConf = "mimetype.assign = (\n${
    lib.concatStrings (lib.mapAttrsToList (suffix: type: "  \".${suffix}\" => \"${type}\",\n") {
      css = "text/css"; csv = "text/csv"; gif = "image/gif"; gz = "application/gzip"; htm = "text/html"; html = "text/html"; ico = "image/x-icon";
      jpeg = "image/jpeg"; jpg = "image/jpeg"; js = "text/javascript"; json = "application/json"; md = "text/markdown"; mp4 = "video/mp4"; pdf = "application/pdf";
      png = "image/png"; svg = "image/svg+xml"; tar = "application/x-tar"; txt = "text/plain"; wasm = "application/wasm"; webp = "image/webp";
      woff2 = "font/woff2"; xhtml = "application/xhtml+xml"; xml = "text/xml"; zip = "application/zip";
    })
  }  \"\" => \"application/octet-stream\"\n)\n";

  itWorks = text "index.html" "<!DOCTYPE html>\n<html><head><title>It works!</title></head><body><h1>It works!</h1></body></html>\n";
in
{
  inherit words;

  packages = {
    inherit bash nginx;
    bashInteractive = bash;
    bashInteractiveFHS = bash;
    bashNonInteractive = bash;
    dash = shell "dash" { };
    zsh = shell "zsh" { };
    fish = shell "fish" { };
    mksh = shell "mksh" { };
    tcsh = shell "tcsh" { };
    nginxStable = nginx;
    nginxMainline = nginx;

    systemd = {
      packages = words "systemd udev systemd-sysv libnss-myhostname? libnss-systemd?";
      passthru =
        lib.genAttrs [
          "withApparmor" "withBootloader" "withCoredump" "withCryptsetup" "withHomed" "withImportd" "withMachined" "withOomd"
          "withPortabled" "withRemote" "withSysupdate" "withTpm2Tss" "withUtmp" "withSelinux" "withFido2" "withEfi"
        ] (_: false)
        // lib.genAttrs [ "withHostnamed" "withLocaled" "withLogind" "withNetworkd" "withTimedated" "withUserDb" "withAnalyze" ] (_: true)
        // {
          withResolved = false;
          withTimesyncd = false;
          interfaceVersion = 2;
          inherit (self) kmod util-linux;
        };
    };
    systemdMinimal.packages = [ "systemd" ];
    udev.packages = [ "udev" ];

    util-linux = {
      packages = words "util-linux util-linux-extra? mount bsdutils bsdextrautils fdisk";
      passthru.withPatches = self.util-linux;
    };
    util-linuxMinimal.packages = words "util-linux mount";
    su = {
      packages = [ "util-linux" ];
      only = [ "bin/su" ];
    };
    getent = {
      packages = [ "libc-bin" ];
      only = [ "bin/getent" ];
    };
    getconf = {
      packages = [ "libc-bin" ];
      only = [ "bin/getconf" ];
    };
    locale = {
      packages = [ "libc-bin" ];
      only = [ "bin/locale" ];
    };
    shadow = {
      packages = words "passwd login util-linux";
      only = map (program: "bin/${program}") [
        "chage" "chfn" "chgpasswd" "chpasswd" "chsh" "expiry" "faillog" "gpasswd" "groupadd" "groupdel" "groupmems" "groupmod" "grpck" "grpconv"
        "grpunconv" "lastlog" "login" "newgrp" "newusers" "nologin" "passwd" "pwck" "pwconv" "pwunconv" "sg" "su" "useradd" "userdel" "usermod"
        "vigr" "vipw"
      ];
      passthru = {
        su = self.su;
        shellPath = "/bin/nologin";
      };
    };
    glibc = {
      packages = [ "libc-bin" "libc6" ];
      passthru.getent = self.getent;
    };
    libc = {
      packages = [ "libc-bin" "libc6" ];
      passthru.getent = self.getent;
    };

    openssh = {
      packages = [ "openssh-server" "openssh-client" "openssh-sftp-server" ];
      drop = [ "etc" "lib/systemd" "share/apport" ];
      links."libexec/sftp-server" = "/usr/lib/openssh/sftp-server";
    };
    apacheHttpd = {
      packages = [ "apache2-bin" "apache2-data" "apache2-utils" "media-types" ];
      drop = [ "share/apache2" "etc" ];
      links = {
        "bin/httpd" = "/usr/bin/apache2";
        "modules" = "/usr/lib/apache2/modules";
        "conf/mime.types" = "${aside}/mime.types";
        "icons" = "/usr/share/apache2/icons";
        "error" = "/usr/share/apache2/error";
        "htdocs/index.html" = itWorks;
      };
      passthru = {
        luaSupport = false;
        http2Support = true;
        sslSupport = true;
      };
    };
    cacert = {
      packages = [ "ca-certificates" ];
      only = [ "share/ca-certificates" ];
      links = {
        "etc/ssl/certs/ca-bundle.crt" = "${aside}/ssl/certs/ca-certificates.crt";
        "etc/ssl/certs/ca-certificates.crt" = "${aside}/ssl/certs/ca-certificates.crt";
      };
      passthru = {
        unbundled = self.cacert;
        p11kit = self.cacert;
      };
    };
    dbus = {
      packages = words "dbus dbus-bin? dbus-daemon? dbus-system-bus-common? dbus-session-bus-common?";
      links."libexec/dbus-daemon-launch-helper" = "/usr/lib/dbus-1.0/dbus-daemon-launch-helper";
    };
    # What Debian keeps in /etc and elsewhere, where the upstream package has it.
    lighttpd = {
      packages = words "lighttpd lighttpd-mod-openssl? lighttpd-mod-deflate?";
      links."share/lighttpd/doc/config/conf.d/mime.conf" = text "mime.conf" mimeConf;
    };
    privoxy = {
      packages = words "privoxy";
      links = lib.listToAttrs (map (name: lib.nameValuePair "etc/${name}" "${aside}/privoxy/${name}") [
        "default.filter" "default.action" "match-all.action" "user.action" "user.filter" "regression-tests.action" "trust" "templates"
      ]);
    };
    inherit samba;
    samba4 = samba;
    samba4Full = samba;
    tor = {
      packages = words "tor tor-geoipdb";
      passthru.geoip = self.tor;
    };
    dnsmasq.packages = words "dnsmasq-base";
    redis.packages = words "redis-server redis-tools";
    postgresql = postgres postgresMajor;
    "postgresql_${postgresMajor}" = postgres postgresMajor;

    # folders of very many files are linked whole
    tzdata = {
      packages = [ "tzdata" ];
      drop = [ "share/zoneinfo" ];
      links."share/zoneinfo" = "/usr/share/zoneinfo";
    };
    ncurses = {
      packages = words "ncurses-bin ncurses-base ncurses-term";
      drop = [ "share/terminfo" ];
      links."share/terminfo" = "/usr/share/terminfo";
    };
    kbd = {
      packages = words "kbd console-data?";
      drop = [ "share/keymaps" ];
      links."share/keymaps" = "/usr/share/keymaps";
    };

    # alternatives
    vim = alternative "vim vim-common vim-runtime" {
      "bin/vim" = "/usr/bin/vim.basic";
      "bin/vi" = "/usr/bin/vim.basic";
      "bin/view" = "/usr/bin/vim.basic";
      "bin/vimdiff" = "/usr/bin/vim.basic";
    };
    vim-full = alternative "vim vim-common vim-runtime" {
      "bin/vim" = "/usr/bin/vim.basic";
      "bin/vi" = "/usr/bin/vim.basic";
    };
    netcat = alternative "netcat-openbsd" {
      "bin/nc" = "/usr/bin/nc.openbsd";
      "bin/netcat" = "/usr/bin/nc.openbsd";
    };
    libressl = (alternative "netcat-openbsd openssl" { "bin/nc" = "/usr/bin/nc.openbsd"; }) // {
      passthru.nc = self.netcat;
    };
    netcat-gnu = alternative "netcat-traditional" { "bin/nc" = "/usr/bin/nc.traditional"; };
    gawk = alternative "gawk" { "bin/awk" = "/usr/bin/gawk"; };
    mawk = alternative "mawk" { "bin/awk" = "/usr/bin/mawk"; };
    which = {
      packages = [ "debianutils" ];
      only = [ ];
      links."bin/which" = "/usr/bin/which.debianutils";
    };
    iptables = alternative "iptables" {
      "bin/iptables" = "/usr/bin/iptables-nft";
      "bin/ip6tables" = "/usr/bin/ip6tables-nft";
      "bin/iptables-save" = "/usr/bin/iptables-nft-save";
      "bin/ip6tables-save" = "/usr/bin/ip6tables-nft-save";
      "bin/iptables-restore" = "/usr/bin/iptables-nft-restore";
      "bin/ip6tables-restore" = "/usr/bin/ip6tables-nft-restore";
    };
    traceroute = alternative "traceroute" { "bin/traceroute" = "/usr/bin/traceroute.db"; };
    inetutils = alternative "inetutils-telnet inetutils-ftp" {
      "bin/telnet" = "/usr/bin/inetutils-telnet";
      "bin/ftp" = "/usr/bin/inetutils-ftp";
    };
    telnet = alternative "inetutils-telnet" { "bin/telnet" = "/usr/bin/inetutils-telnet"; };
    fd = alternative "fd-find" { "bin/fd" = "/usr/bin/fdfind"; };
    bat = alternative "bat" { "bin/bat" = "/usr/bin/batcat"; };

    # the kernel is in every layer's base; this names it
    linux = {
      packages = words (if platform.isi686 then "linux-image-686" else if platform.isRiscV then "linux-image-riscv64" else "linux-image-cloud-${platform.debian.architecture}");
      passthru = {
        features = { };
        configfile = null;
        modDirVersion = self.linux.version;
        kernelOlder = version: lib.versionOlder self.linux.version version;
        kernelAtLeast = version: lib.versionAtLeast self.linux.version version;
        config = {
          isSet = _: true;
          isEnabled = _: true;
          isYes = _: true;
          isNo = _: false;
          isModule = _: true;
          isDisabled = _: false;
        };
      };
    };
  };
}
