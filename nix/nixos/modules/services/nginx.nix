# services.nginx: web server and proxy. Run in the foreground by systemd, without a master script.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption mkEnableOption types optionalString concatMapStrings concatStringsSep;
  cfg = config.services.nginx;
  hosts = lib.attrValues cfg.virtualHosts;

  lines = type: description: mkOption {
    type = types.lines;
    default = "";
    inherit description;
  };
  text = description: mkOption {
    type = types.nullOr types.str;
    default = null;
    inherit description;
  };
  flag = default: description: mkOption {
    type = types.bool;
    inherit default description;
  };

  location = {
    options = {
      proxyPass = text "Where requests are passed on to.";
      proxyWebsockets = flag false "Pass WebSocket connections on.";
      recommendedProxySettings = flag cfg.recommendedProxySettings "Tell the server behind who asked for what.";
      uwsgiPass = text "uWSGI server that requests are passed on to.";
      fastcgiParams = mkOption {
        type = types.attrsOf (types.either types.str types.path);
        default = { };
        description = "Parameters of FastCGI.";
      };
      index = text "Files shown for a folder.";
      tryFiles = text "Files that are tried one after the other.";
      root = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "Folder that is served.";
      };
      alias = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "Folder that stands for the location.";
      };
      return = mkOption {
        type = types.nullOr (types.oneOf [ types.str types.int ]);
        default = null;
        description = "Status, and text or URL, that is answered.";
      };
      basicAuth = mkOption {
        type = types.attrsOf types.str;
        default = { };
        description = "Users and passwords. They are readable in the store.";
      };
      basicAuthFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "File with users and passwords.";
      };
      extraConfig = lines null "Text for the end of the block.";
      priority = mkOption {
        type = types.int;
        default = 1000;
        description = "Order among the locations; smaller ones come first.";
      };
    };
  };

  host = { name, config, ... }: {
    options = {
      serverName = text "The host's name; null: the attribute's name.";
      serverAliases = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Other names of the host.";
      };
      listen = mkOption {
        type = types.listOf (
          types.submodule {
            options = {
              addr = mkOption {
                type = types.str;
                description = "Address, or `unix:` and the path of a socket.";
              };
              port = mkOption {
                type = types.nullOr types.port;
                default = null;
                description = "The port.";
              };
              ssl = flag false "Whether this port speaks TLS.";
              extraParameters = mkOption {
                type = types.listOf types.str;
                default = [ ];
                description = "Further words of the line.";
              };
            };
          }
        );
        default = [ ];
        description = "Addresses and ports; none: port 80, and 443 with TLS.";
      };
      listenAddresses = mkOption {
        type = types.listOf types.str;
        default = cfg.defaultListenAddresses;
        defaultText = "services.nginx.defaultListenAddresses";
        description = "Addresses, where {option}`listen` is empty.";
      };
      addSSL = flag false "Serve by TLS too.";
      onlySSL = flag false "Serve by TLS only.";
      forceSSL = flag false "Serve by TLS and redirect plain requests to it.";
      sslCertificate = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "The certificate's file.";
      };
      sslCertificateKey = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "The key's file.";
      };
      sslTrustedCertificate = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "File with the authorities' certificates.";
      };
      http2 = flag true "Offer HTTP/2 to TLS clients.";
      root = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "Folder that is served; null: nginx' welcome page.";
      };
      default = flag false "Answer for names that no host has.";
      globalRedirect = text "Redirect every request to this host.";
      basicAuth = mkOption {
        type = types.attrsOf types.str;
        default = { };
        description = "Users and passwords. They are readable in the store.";
      };
      basicAuthFile = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "File with users and passwords.";
      };
      locations = mkOption {
        type = types.attrsOf (types.submodule location);
        default = { };
        description = "Settings by path.";
      };
      extraConfig = lines null "Text for the end of the block.";
    };
    config.serverName = lib.mkDefault name;
  };

  auth =
    given:
    optionalString (given.basicAuth != { } || given.basicAuthFile != null) ''
      auth_basic secured;
      auth_basic_user_file ${
        if given.basicAuthFile != null then
          given.basicAuthFile
        else
          pkgs.writeText "htpasswd" (lib.concatStrings (lib.mapAttrsToList (user: password: "${user}:{PLAIN}${password}\n") given.basicAuth))
      };
    '';

  locationText =
    path: given: ''
      location ${path} {
    ''
    + optionalString (given.proxyPass != null && given.recommendedProxySettings) ''
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
    ''
    + optionalString (given.proxyPass != null) "proxy_pass ${given.proxyPass};\n"
    + optionalString given.proxyWebsockets ''
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    ''
    + optionalString (given.uwsgiPass != null) "include ${cfg.package}/conf/uwsgi_params;\nuwsgi_pass ${given.uwsgiPass};\n"
    + optionalString (given.fastcgiParams != { }) "include ${cfg.package}/conf/fastcgi.conf;\n"
    + lib.concatStrings (lib.mapAttrsToList (key: value: "fastcgi_param ${key} \"${value}\";\n") given.fastcgiParams)
    + optionalString (given.index != null) "index ${given.index};\n"
    + optionalString (given.tryFiles != null) "try_files ${given.tryFiles};\n"
    + optionalString (given.root != null) "root ${given.root};\n"
    + optionalString (given.alias != null) "alias ${given.alias};\n"
    + optionalString (given.return != null) "return ${toString given.return};\n"
    + auth given
    + optionalString (given.extraConfig != "") "${given.extraConfig}\n"
    + "}\n";

  addressText = addr: if lib.hasInfix ":" addr && !lib.hasPrefix "[" addr && !lib.hasPrefix "unix:" addr then "[${addr}]" else addr;
  tlsOf = given: given.addSSL || given.onlySSL || given.forceSSL;
  listensOf =
    given:
    if given.listen != [ ] then
      given.listen
    else
      lib.concatMap (
        addr:
        lib.optional (!given.onlySSL) { inherit addr; port = cfg.defaultHTTPListenPort; ssl = false; extraParameters = [ ]; }
        ++ lib.optional (tlsOf given) { inherit addr; port = cfg.defaultSSLListenPort; ssl = true; extraParameters = [ ]; }
      ) (if given.listenAddresses != [ ] then given.listenAddresses else [ "0.0.0.0" ] ++ lib.optional config.networking.enableIPv6 "[::0]");
  listenLine =
    given: entry:
    "listen ${
      concatStringsSep " " (
        [ "${addressText entry.addr}${optionalString (entry.port != null) ":${toString entry.port}"}" ]
        ++ lib.optional entry.ssl "ssl"
        # the separate directive is newer than Debian 12's nginx
        ++ lib.optional (entry.ssl && given.http2) "http2"
        ++ lib.optional given.default "default_server"
        ++ entry.extraParameters
      )
    };\n";

  server =
    given:
    let
      names = "server_name ${concatStringsSep " " ([ given.serverName ] ++ given.serverAliases)};\n";
      entries = listensOf given;
      plain = lib.filter (entry: !entry.ssl) entries;
      served = if given.forceSSL then lib.filter (entry: entry.ssl) entries else entries;
      sorted = lib.sort (a: b: a.value.priority < b.value.priority) (lib.attrsToList given.locations);
    in
    optionalString given.forceSSL "server {\n${concatMapStrings (listenLine given) plain}${names}location / { return 301 https://$host$request_uri; }\n}\n"
    + "server {\n${concatMapStrings (listenLine given) served}${names}"
    + optionalString (tlsOf given) ''
      ssl_certificate ${toString given.sslCertificate};
      ssl_certificate_key ${toString given.sslCertificateKey};
    ''
    + optionalString (given.sslTrustedCertificate != null) "ssl_trusted_certificate ${given.sslTrustedCertificate};\n"
    + (if given.root != null then "root ${given.root};\n" else "root ${cfg.package}/html;\n")
    + optionalString (given.globalRedirect != null) "location / { return 301 ${if tlsOf given then "https" else "http"}://${given.globalRedirect}$request_uri; }\n"
    + auth given
    + concatMapStrings (entry: locationText entry.name entry.value) sorted
    + optionalString (given.extraConfig != "") "${given.extraConfig}\n"
    + "}\n";

  upstream = name: given: ''
    upstream ${name} {
    ${lib.concatStrings (
      lib.mapAttrsToList (
        address: options:
        "server ${address}${optionalString options.backup " backup"}${optionalString (options.weight or null != null) " weight=${toString options.weight}"};\n"
      ) given.servers
    )}${given.extraConfig}
    }
  '';

  file = if cfg.enableReload then "/etc/nginx/nginx.conf" else "${made}";
  made = pkgs.writeText "nginx.conf" (
    if cfg.config != "" then
      "pid /run/nginx/nginx.pid;\nerror_log ${cfg.logError};\ndaemon off;\n${cfg.config}\n"
    else
      ''
        pid /run/nginx/nginx.pid;
        error_log ${cfg.logError};
        daemon off;
        worker_processes 1;
        ${cfg.prependConfig}
        events {
        ${cfg.eventsConfig}
        }
        http {
        include ${cfg.package}/conf/mime.types;
        default_type application/octet-stream;
        client_body_temp_path /var/cache/nginx/client_body;
        proxy_temp_path /var/cache/nginx/proxy;
        fastcgi_temp_path /var/cache/nginx/fastcgi;
        uwsgi_temp_path /var/cache/nginx/uwsgi;
        scgi_temp_path /var/cache/nginx/scgi;
        ${optionalString cfg.recommendedOptimisation "sendfile on;\ntcp_nopush on;\ntcp_nodelay on;\nkeepalive_timeout 65;\n"}${
          optionalString cfg.recommendedTlsSettings "ssl_session_timeout 1d;\nssl_session_cache shared:SSL:10m;\nssl_session_tickets off;\nssl_prefer_server_ciphers off;\n"
        }${optionalString cfg.recommendedGzipSettings "gzip on;\ngzip_proxied any;\ngzip_comp_level 5;\ngzip_vary on;\ngzip_types application/json application/javascript text/css text/plain text/xml image/svg+xml;\n"}${
          optionalString cfg.recommendedProxySettings "proxy_redirect off;\nproxy_connect_timeout ${cfg.proxyTimeout};\nproxy_send_timeout ${cfg.proxyTimeout};\nproxy_read_timeout ${cfg.proxyTimeout};\nproxy_http_version 1.1;\n"
        }map $http_upgrade $connection_upgrade {
          default upgrade;
          "" close;
        }
        client_max_body_size ${cfg.clientMaxBodySize};
        server_tokens ${if cfg.serverTokens then "on" else "off"};
        ${cfg.commonHttpConfig}
        ${lib.concatStrings (lib.mapAttrsToList upstream cfg.upstreams)}
        ${concatMapStrings server hosts}
        ${cfg.appendHttpConfig}
        }
        ${optionalString (cfg.streamConfig != "") "stream {\n${cfg.streamConfig}\n}\n"}${cfg.appendConfig}
      ''
  );
in
{
  options.services.nginx = {
    enable = mkEnableOption "the web server nginx";
    package = mkOption {
      type = types.package;
      default = pkgs.nginx;
      defaultText = lib.literalExpression "pkgs.nginx";
      description = "The package.";
    };
    virtualHosts = mkOption {
      type = types.attrsOf (types.submodule host);
      default = { localhost = { }; };
      description = "The hosts that are served.";
    };
    upstreams = mkOption {
      type = types.attrsOf (
        types.submodule {
          options = {
            servers = mkOption {
              type = types.attrsOf (
                types.submodule {
                  freeformType = types.attrsOf types.anything;
                  options.backup = flag false "Used when the others do not answer.";
                }
              );
              default = { };
              description = "Servers by address.";
            };
            extraConfig = lines null "Text for the end of the block.";
          };
        }
      );
      default = { };
      description = "Groups of servers to pass requests on to.";
    };
    user = mkOption {
      type = types.str;
      default = "nginx";
      description = "User of the processes.";
    };
    group = mkOption {
      type = types.str;
      default = "nginx";
      description = "Group of the processes.";
    };
    config = lines null "The whole configuration, in place of what the options make.";
    prependConfig = lines null "Text at the start of the configuration.";
    appendConfig = lines null "Text at the end of the configuration.";
    eventsConfig = lines null "Text of the block `events`.";
    commonHttpConfig = lines null "Text of the block `http`, before the hosts.";
    appendHttpConfig = lines null "Text of the block `http`, after the hosts.";
    streamConfig = lines null "Text of the block `stream`.";
    logError = mkOption {
      type = types.str;
      default = "stderr";
      description = "Where errors are logged.";
    };
    clientMaxBodySize = mkOption {
      type = types.str;
      default = "10m";
      description = "Largest request.";
    };
    serverTokens = flag false "Tell the version in answers.";
    proxyTimeout = mkOption {
      type = types.str;
      default = "60s";
      description = "How long a server behind may take.";
    };
    defaultListenAddresses = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Addresses of hosts that say none; none: all.";
    };
    defaultHTTPListenPort = mkOption {
      type = types.port;
      default = 80;
      description = "Port of hosts that say none.";
    };
    defaultSSLListenPort = mkOption {
      type = types.port;
      default = 443;
      description = "Port for TLS of hosts that say none.";
    };
    recommendedOptimisation = flag false "Set what is recommended for speed.";
    recommendedTlsSettings = flag false "Set what is recommended for TLS.";
    recommendedGzipSettings = flag false "Compress answers.";
    recommendedProxySettings = flag false "Set what is recommended for proxies.";
    enableReload = flag false "Have a changed configuration reloaded on a switch, instead of restarting the server.";
  };

  config = mkIf cfg.enable {
    assertions = map (given: {
      assertion = tlsOf given -> given.sslCertificate != null && given.sslCertificateKey != null;
      message = "services.nginx.virtualHosts.${given.serverName} speaks TLS: set sslCertificate and sslCertificateKey";
    }) hosts;

    users.users = lib.optionalAttrs (cfg.user == "nginx") {
      nginx = {
        group = cfg.group;
        isSystemUser = true;
        uid = 60;
      };
    };
    users.groups = lib.optionalAttrs (cfg.group == "nginx") { nginx.gid = 60; };

    systemd.services.nginx = {
      description = "nginx web server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "simple";
        ExecStart = "${cfg.package}/bin/nginx -e stderr -c ${file}";
        ExecReload = [ "${cfg.package}/bin/nginx -e stderr -c ${file} -t" "/bin/kill -HUP $MAINPID" ];
        User = cfg.user;
        Group = cfg.group;
        AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
        Restart = "on-failure";
        RestartSec = 5;
        RuntimeDirectory = "nginx";
        CacheDirectory = "nginx";
        LogsDirectory = "nginx";
        PrivateTmp = true;
        StateDirectory = "nginx";
      };
    };

    environment.etc."nginx/nginx.conf" = mkIf cfg.enableReload { source = made; };
    systemd.services.nginx-config-reload = mkIf cfg.enableReload {
      description = "Reload of nginx when its configuration has changed";
      wants = [ "nginx.service" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "nginx.service" ];
      restartTriggers = [ made ];
      stopIfChanged = false;
      serviceConfig = {
        Type = "oneshot";
        TimeoutSec = 60;
        ExecCondition = "/usr/bin/systemctl -q is-active nginx.service";
        ExecStart = "/usr/bin/systemctl reload nginx.service";
      };
    };

    networking.listeners = map (port: {
      service = "nginx";
      proto = "tcp";
      inherit port;
    }) (lib.unique (lib.filter (port: port != null) (map (entry: entry.port) (lib.concatMap listensOf hosts))));
  };
}
