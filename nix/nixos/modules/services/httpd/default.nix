# services.httpd: the Apache web server.
#
# Lean: one process started directly, only the modules that the configuration uses (modules.nix), few processes in reserve.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption mkEnableOption types literalExpression concatMapStrings optionalString;
  cfg = config.services.httpd;
  package = cfg.package;
  hosts = lib.attrValues cfg.virtualHosts;
  needed = import ./modules.nix { inherit lib; };

  listens = lib.unique (lib.concatMap (host: host.listen) hosts);
  address = entry: "${if lib.hasInfix ":" entry.ip && !lib.hasPrefix "[" entry.ip then "[${entry.ip}]" else entry.ip}:${toString entry.port}";

  # The page of a host without a folder of its own.
  welcome = pkgs.writeTextFile {
    name = "htdocs";
    destination = "/index.html";
    text = ''
      <!DOCTYPE html>
      <html>
      <head><title>It works! (${config.networking.hostName})</title></head>
      <body>
      <h1>It works!</h1>
      <p>This is ${config.networking.hostName}, served by Apache.</p>
      </body>
      </html>
    '';
  };

  accessLog =
    host: optionalString (host.logFormat != "none") ''
      CustomLog "${if cfg.logPerVirtualHost then "${cfg.logDir}/access-${host.hostName}.log" else "${cfg.logDir}/access.log"}" ${host.logFormat}
    '';

  location = path: given: ''
    <Location ${path}>
    ${
      optionalString (given.proxyPass != null) ''
        ProxyPass ${given.proxyPass}
        ProxyPassReverse ${given.proxyPass}
      ''
      + optionalString (given.index != null) "DirectoryIndex ${given.index}\n"
      + optionalString (given.alias != null) ''
        Alias "${given.alias}"
        Require all granted
      ''
      + given.extraConfig
    }
    </Location>
  '';

  folder = path: ''
    <Directory "${path}">
      Options Indexes FollowSymLinks
      AllowOverride None
      Require all granted
    </Directory>
  '';

  robots =
    host:
    lib.concatStringsSep "\n" (lib.filter (text: text != "") [ cfg.robotsEntries host.robotsEntries ]);

  block =
    host: tls:
    let
      own = lib.filter (entry: entry.ssl == tls) host.listen;
      admin = if host.adminAddr != null then host.adminAddr else cfg.adminAddr;
      sorted = lib.sort (a: b: a.value.priority < b.value.priority) (lib.attrsToList host.locations);
      redirected = host.globalRedirect != null || (host.forceSSL && !tls);
    in
    optionalString (own != [ ]) ''
      <VirtualHost ${lib.concatMapStringsSep " " address own}>
      ServerName ${host.hostName}
      ${concatMapStrings (alias: "ServerAlias ${alias}\n") host.serverAliases}${optionalString (admin != null) "ServerAdmin ${admin}\n"}${
        optionalString tls ''
          SSLEngine on
          SSLCertificateFile "${toString host.sslServerCert}"
          SSLCertificateKeyFile "${toString host.sslServerKey}"
          ${optionalString (host.sslServerChain != null) "SSLCertificateChainFile \"${host.sslServerChain}\"\n"}${optionalString host.http2 "Protocols h2 http/1.1\n"}''
      }${accessLog host}${optionalString cfg.logPerVirtualHost "ErrorLog \"${cfg.logDir}/error-${host.hostName}.log\"\n"}${
        if redirected then
          "Redirect ${if host.globalRedirect != null then "permanent / ${host.globalRedirect}" else "permanent / https://${host.hostName}/"}\n"
        else
          ''
            DocumentRoot "${if host.documentRoot != null then host.documentRoot else "${welcome}"}"
            ${folder (if host.documentRoot != null then host.documentRoot else "${welcome}")}${
              optionalString (robots host != "") "Alias /robots.txt ${pkgs.writeText "robots.txt" (robots host)}\n<Directory \"${builtins.storeDir}\">\nRequire all granted\n</Directory>\n"
            }${
              concatMapStrings (entry: "Alias ${entry.urlPath} \"${entry.file}\"\n<Directory \"${dirOf entry.file}\">\nRequire all granted\n</Directory>\n") host.servedFiles
            }${concatMapStrings (entry: "Alias ${entry.urlPath} \"${entry.dir}/\"\n${folder entry.dir}") (
              map (entry: entry // { urlPath = "${lib.removeSuffix "/" entry.urlPath}/"; }) host.servedDirs
            )}${
              optionalString host.enableUserDir ''
                UserDir public_html
                <Directory "/home/*/public_html">
                  Options Indexes MultiViews SymLinksIfOwnerMatch IncludesNoExec
                  AllowOverride None
                  Require all granted
                </Directory>
              ''
            }''
      }${concatMapStrings (entry: location entry.name entry.value) sorted}${host.extraConfig}
      </VirtualHost>
    '';

  # The rest of the text is looked through for the modules that it needs.
  body =
    concatMapStrings (host: block host false + block host true) hosts
    + cfg.extraConfig;

  threads = cfg.mpm != "prefork";
  php = lib.findFirst (version: pkgs ? "libapache2-mod-php${version}") "8.4" [ "8.4" "8.2" ];

  modules =
    map (name: { inherit name; path = "${package}/modules/mod_${name}.so"; }) ([ "mpm_${cfg.mpm}" ] ++ needed body)
    ++ lib.optional cfg.enablePHP { name = "php"; path = "${pkgs."libapache2-mod-php${php}"}/lib/apache2/modules/libphp${php}.so"; }
    ++ map (entry: if builtins.isString entry then { name = entry; path = "${package}/modules/mod_${entry}.so"; } else entry) cfg.extraModules;

  # A module named twice is loaded once. Of cgi and cgid the one that fits the processes.
  loaded = lib.attrValues (
    lib.listToAttrs (
      map (entry: lib.nameValuePair entry.name entry) (
        map (entry: if entry.name == "cgid" && !threads then { name = "cgi"; path = "${package}/modules/mod_cgi.so"; } else entry) modules
      )
    )
  );
  first = lib.partition (entry: lib.hasPrefix "mpm_" entry.name || entry.name == "proxy") loaded;

  configuration = pkgs.writeText "httpd.conf" ''
    ServerRoot ${package}
    DefaultRuntimeDir /run/httpd
    PidFile /run/httpd/httpd.pid
    ServerName ${config.networking.hostName}
    ${optionalString (cfg.adminAddr != null) "ServerAdmin ${cfg.adminAddr}\n"}
    ${concatMapStrings (entry: "LoadModule ${entry.name}_module ${entry.path}\n") (first.right ++ first.wrong)}
    ${concatMapStrings (entry: "Listen ${lib.removePrefix "*:" (address entry)}${optionalString entry.ssl " https"}\n") (
      lib.unique (map (entry: { inherit (entry) ip port ssl; }) listens)
    )}
    User ${cfg.user}
    Group ${cfg.group}

    StartServers 1
    ${if threads then "ThreadsPerChild 25\nMinSpareThreads 5\nServerLimit ${toString (lib.max 16 ((cfg.maxClients + 24) / 25))}" else "MinSpareServers 1\nServerLimit ${toString (lib.max 256 cfg.maxClients)}"}
    MaxRequestWorkers ${toString (if threads then (cfg.maxClients + 24) / 25 * 25 else cfg.maxClients)}
    MaxConnectionsPerChild ${toString cfg.maxRequestsPerChild}

    ErrorLog "${cfg.logDir}/error.log"
    LogLevel notice
    LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\"" combined
    LogFormat "%h %l %u %t \"%r\" %>s %b" common
    LogFormat "%{Referer}i -> %U" referer
    LogFormat "%{User-agent}i" agent

    TypesConfig ${package}/conf/mime.types
    DirectoryIndex index.html${optionalString cfg.enablePHP " index.php\nAddType application/x-httpd-php .php"}
    TraceEnable off
    ServerTokens Prod
    ${optionalString (lib.any (entry: entry.ssl) listens) ''
      SSLSessionCache shmcb:/run/httpd/ssl_scache(512000)
      SSLProtocol ${cfg.sslProtocols}
      SSLCipherSuite ${cfg.sslCiphers}
      SSLHonorCipherOrder on
    ''}
    <Directory />
      Options FollowSymLinks
      AllowOverride None
      Require all denied
    </Directory>
    <FilesMatch "^\.ht">
      Require all denied
    </FilesMatch>

    ${body}
  '';
in
{
  imports = [
    (lib.mkRemovedOptionModule [ "services" "httpd" "documentRoot" ] "Set services.httpd.virtualHosts.<name>.documentRoot.")
    (lib.mkRemovedOptionModule [ "services" "httpd" "hostName" ] "Set services.httpd.virtualHosts.<name>.hostName.")
    (lib.mkRemovedOptionModule [ "services" "httpd" "listen" ] "Set services.httpd.virtualHosts.<name>.listen.")
    (lib.mkRemovedOptionModule [ "services" "httpd" "enableSSL" ] "Set services.httpd.virtualHosts.<name>.addSSL, onlySSL or forceSSL.")
    (lib.mkRenamedOptionModule [ "services" "httpd" "multiProcessingModule" ] [ "services" "httpd" "mpm" ])
  ];

  options.services.httpd = {
    enable = mkEnableOption "the Apache web server";
    package = mkOption {
      type = types.package;
      default = pkgs.apacheHttpd;
      defaultText = literalExpression "pkgs.apacheHttpd";
      description = "The package with `httpd`.";
    };
    configFile = mkOption {
      type = types.path;
      default = configuration;
      defaultText = literalExpression "the file made from the options";
      description = "The configuration file; to set it puts all other options out of effect.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text for the end of `httpd.conf`.";
    };
    extraModules = mkOption {
      type = types.listOf (types.either types.str types.attrs);
      default = [ ];
      example = literalExpression ''[ "proxy_connect" { name = "jk"; path = "''${pkgs.tomcat_connectors}/modules/mod_jk.so"; } ]'';
      description = "Further modules: names of Apache's own, or `name` and `path`. Those that the configuration's text uses are loaded without being named.";
    };
    virtualHosts = mkOption {
      type = types.attrsOf (types.submodule ./virtual-host.nix);
      default = {
        localhost = { };
      };
      example = literalExpression ''{ "web.example.net" = { documentRoot = "/var/www"; }; }'';
      description = "The hosts that are served. The first one answers for names that none has.";
    };
    adminAddr = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "admin@example.org";
      description = "Mail address of the server's administrator.";
    };
    robotsEntries = mkOption {
      type = types.lines;
      default = "";
      description = "Text of `/robots.txt` of every host.";
    };
    user = mkOption {
      type = types.str;
      default = "wwwrun";
      description = "User of the processes that serve.";
    };
    group = mkOption {
      type = types.str;
      default = "wwwrun";
      description = "Group of the processes that serve.";
    };
    logDir = mkOption {
      type = types.path;
      default = "/var/log/httpd";
      description = "Folder of the logs.";
    };
    logFormat = mkOption {
      type = types.str;
      default = "common";
      description = "Format of the access logs of hosts that do not say one.";
    };
    logPerVirtualHost = mkOption {
      type = types.bool;
      default = true;
      description = "Whether each host has logs of its own.";
    };
    mpm = mkOption {
      type = types.enum [ "event" "prefork" "worker" ];
      default = "event";
      description = "The multi-processing module.";
    };
    maxClients = mkOption {
      type = types.ints.positive;
      default = 150;
      description = "How many requests are served at once at most.";
    };
    maxRequestsPerChild = mkOption {
      type = types.ints.unsigned;
      default = 0;
      description = "After how many connections a process is replaced; 0: never.";
    };
    sslCiphers = mkOption {
      type = types.str;
      default = "HIGH:!aNULL:!MD5:!EXP";
      description = "Ciphers of TLS.";
    };
    sslProtocols = mkOption {
      type = types.str;
      default = "All -SSLv2 -SSLv3 -TLSv1 -TLSv1.1";
      description = "Protocol versions of TLS.";
    };
    enablePHP = mkOption {
      type = types.bool;
      default = false;
      description = "Run PHP scripts (needs {option}`services.httpd.mpm` = \"prefork\").";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.enablePHP -> cfg.mpm == "prefork";
        message = "services.httpd.enablePHP needs services.httpd.mpm = \"prefork\"";
      }
    ]
    ++ lib.concatMap (host: [
      {
        assertion = lib.count lib.id [ host.addSSL host.onlySSL host.forceSSL ] <= 1;
        message = "services.httpd.virtualHosts.${host.hostName}: of addSSL, onlySSL and forceSSL only one can be set";
      }
      {
        assertion = lib.any (entry: entry.ssl) host.listen -> host.sslServerCert != null && host.sslServerKey != null;
        message = "services.httpd.virtualHosts.${host.hostName} speaks TLS: set sslServerCert and sslServerKey";
      }
    ]) hosts;

    users.users = lib.optionalAttrs (cfg.user == "wwwrun") {
      wwwrun = {
        group = cfg.group;
        description = "Apache httpd user";
        uid = 54;
        isSystemUser = true;
      };
    };
    users.groups = lib.optionalAttrs (cfg.group == "wwwrun") { wwwrun.gid = 54; };

    environment.systemPackages = [ package ];

    systemd.services.httpd = {
      description = "Apache HTTPD";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "simple";
        ExecStart = "${package}/bin/httpd -D FOREGROUND -f ${cfg.configFile}";
        ExecReload = "${package}/bin/httpd -k graceful -f ${cfg.configFile}";
        KillMode = "mixed";
        KillSignal = "SIGWINCH";
        Restart = "on-failure";
        RestartSec = 5;
        RuntimeDirectory = "httpd";
      }
      // lib.optionalAttrs (cfg.logDir == "/var/log/httpd") { LogsDirectory = "httpd"; };
    }
    // lib.optionalAttrs cfg.enablePHP { environment.PHPRC = "/etc/php/${php}"; };

    systemd.tmpfiles.rules = lib.optional (cfg.logDir != "/var/log/httpd") "d ${cfg.logDir} 0750 root root -";

    networking.listeners = map (port: {
      service = "httpd";
      proto = "tcp";
      inherit port;
    }) (lib.unique (map (entry: entry.port) listens));
  };
}
