# Package sets of languages: pythonPackages, perlPackages, nodePackages, lazily from the archive's names.
{
  lib,
  index,
  make,
  self,
}:

let
  names = lib.attrNames (removeAttrs index [ "_provides" ]);
  starting = prefix: lib.filter (lib.hasPrefix prefix) names;

  # nixpkgs writes python3Packages.typing-extensions, some with `_`; both lead to python3-typing-extensions.
  python =
    let
      names = starting "python3-";
      entry = key: package: lib.nameValuePair key (make {
        pname = key;
        packages = [ package ];
        passthru.pythonModule = self.python3;
      });
      short = map (name: { inherit name; key = lib.removePrefix "python3-" name; }) names;
      plain = lib.listToAttrs (map ({ key, name }: entry key name) short);
      underscored = lib.listToAttrs (map ({ key, name }: entry (builtins.replaceStrings [ "-" "." ] [ "_" "_" ] key) name) short);
      renamed = {
        pyyaml = "python3-yaml";
        beautifulsoup4 = "python3-bs4";
        pillow = "python3-pil";
        python-dateutil = "python3-dateutil";
        dateutil = "python3-dateutil";
        scikit-learn = "python3-sklearn";
        pycryptodome = "python3-pycryptodome";
        dnspython = "python3-dnspython";
        protobuf = "python3-protobuf";
        psycopg2 = "python3-psycopg2";
        pyopenssl = "python3-openssl";
        pyzmq = "python3-zmq";
        pyserial = "python3-serial";
        scapy = "python3-scapy";
        systemd = "python3-systemd";
        mysqlclient = "python3-mysqldb";
        attrs = "python3-attr";
        zeroconf = "python3-zeroconf";
      };
    in
    underscored // plain // lib.mapAttrs (key: package: (entry key package).value) (lib.filterAttrs (_: package: index ? ${package}) renamed);

  # nixpkgs writes FileSlurp for libfile-slurp-perl, JSON for libjson-perl.
  perl =
    let
      upper = [
        "cgi" "csv" "db" "dbd" "dbi" "dbus" "dns" "ftp" "gd" "html" "http" "imap" "io" "ip" "json" "ldap" "lwp" "mime" "pdf" "posix" "rpc" "smtp"
        "snmp" "sql" "ssh" "ssl" "tcp" "uri" "url" "utf8" "uuid" "www" "xml" "xs" "yaml"
      ];
      capital = word: if lib.elem word upper then lib.toUpper word else lib.toUpper (lib.substring 0 1 word) + lib.substring 1 (-1) word;
      camel = package: lib.concatMapStrings capital (lib.splitString "-" (lib.removeSuffix "-perl" (lib.removePrefix "lib" package)));
      entry = key: package: lib.nameValuePair key (make {
        pname = "perl-${key}";
        packages = [ package ];
        passthru.perlModule = self.perl;
      });
      packages = lib.filter (lib.hasSuffix "-perl") (starting "lib");
      renamed = {
        ConfigIniFiles = "libconfig-inifiles-perl";
        LWP = "libwww-perl";
        LWPUserAgent = "libwww-perl";
        DBDSQLite = "libdbd-sqlite3-perl";
        DBDPg = "libdbd-pg-perl";
        DBDmysql = "libdbd-mysql-perl";
        NetDBus = "libnet-dbus-perl";
        CryptOpenSSLRSA = "libcrypt-openssl-rsa-perl";
      };
    in
    lib.listToAttrs (map (package: entry (camel package) package) packages)
    // lib.mapAttrs (key: package: (entry key package).value) (lib.filterAttrs (_: package: index ? ${package}) renamed);

  node = lib.listToAttrs (map (package: lib.nameValuePair (lib.removePrefix "node-" package) (make {
    pname = lib.removePrefix "node-" package;
    packages = [ package ];
  })) (starting "node-"));

  # An interpreter with modules: the layer's interpreter sees every module of the layer; naming them puts them there.
  withModules =
    interpreter: choose:
    let
      chosen = lib.filter (module: module != null && module != interpreter) choose;
      modules = lib.unique (lib.concatMap (module: module.debianPackages or [ ]) chosen);
    in
    if modules == [ ] then
      interpreter
    else
      make {
        pname = interpreter.pname + "-env";
        packages = interpreter.debianPackages ++ lib.filter (package: !lib.elem package interpreter.debianPackages) modules;
        mainProgram = interpreter.meta.mainProgram;
        inherit (interpreter) version;
        passthru = removeAttrs interpreter.passthru [ "withPackages" ] // {
          withPackages = interpreter.withPackages;
          interpreter = "${interpreter}/bin/${interpreter.meta.mainProgram}";
        };
      };

  # The minor version, as nixpkgs' attributes and directories name it: "3.13".
  short = version: lib.concatStringsSep "." (lib.take 2 (lib.splitString "." version));
in
{
  inherit python perl node;

  python3 = make {
    pname = "python3";
    packages = [ "python3" "python3-minimal" ];
    passthru = rec {
      pkgs = python;
      pythonVersion = short self.python3.version;
      sitePackages = "lib/python3/dist-packages";
      executable = "python3";
      interpreter = "${self.python3}/bin/python3";
      isPy3 = true;
      implementation = "cpython";
      withPackages = choose: withModules self.python3 (choose pkgs);
    };
  };
  python3Minimal = make {
    pname = "python3-minimal";
    packages = [ "python3-minimal" ];
    mainProgram = "python3";
  };
  perlInterpreter = make {
    pname = "perl";
    packages = [ "perl" "perl-base" ];
    passthru = {
      pkgs = perl;
      libPrefix = "lib/perl5/site_perl";
      withPackages = choose: withModules self.perl (choose perl);
    };
  };
}
