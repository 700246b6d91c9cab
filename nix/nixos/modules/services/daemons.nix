# Daemons with a file of settings and one process: dnsmasq, redis, haproxy, keepalived, memcached.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkMerge mkOption mkEnableOption types optionalString;

  systemUser = name: {
    users.users.${name} = {
      isSystemUser = true;
      group = name;
    };
    users.groups.${name} = { };
  };
  unit = description: service: {
    inherit description;
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" ];
    serviceConfig = { Restart = "on-failure"; RestartSec = 2; } // service;
  };
  lines = description: mkOption {
    type = types.lines;
    default = "";
    inherit description;
  };
  package = name: mkOption {
    type = types.package;
    default = pkgs.${name};
    defaultText = lib.literalExpression "pkgs.${name}";
    description = "The package.";
  };
  open = mkOption {
    type = types.bool;
    default = false;
    description = "Let connections to it through the firewall.";
  };

  dnsmasq = config.services.dnsmasq;
  # `key`, `key=value`, or several such lines
  dnsmasqLine =
    key: value:
    if value == true then "${key}\n"
    else if value == false || value == null then ""
    else lib.concatMapStrings (entry: "${key}=${toString entry}\n") (lib.toList value);
  dnsmasqFile = pkgs.writeText "dnsmasq.conf" (
    lib.concatStrings (lib.mapAttrsToList dnsmasqLine dnsmasq.settings) + optionalString (dnsmasq.extraConfig != "") "${dnsmasq.extraConfig}\n"
  );

  redis = lib.filterAttrs (_: given: given.enable) config.services.redis.servers;
  redisName = name: "redis${optionalString (name != "") "-${name}"}";
  redisValue = value: if builtins.isBool value then (if value then "yes" else "no") else toString value;
  redisFile = name: given: pkgs.writeText "redis.conf" (
    lib.concatStrings (
      lib.mapAttrsToList (key: value: lib.concatMapStrings (entry: "${key} ${redisValue entry}\n") (lib.toList value)) given.settings
    )
    + given.extraParams
  );

  haproxy = config.services.haproxy;
  haproxyFile = pkgs.writeText "haproxy.conf" ''
    global
      # the default socket for statistics and commands
      stats socket /run/haproxy/haproxy.sock mode 600 expose-fd listeners level user
    ${haproxy.config}
  '';

  keepalived = config.services.keepalived;
  vrrp = name: given: ''
    vrrp_instance ${name} {
      interface ${given.interface}
      state ${given.state}
      virtual_router_id ${toString given.virtualRouterId}
      priority ${toString given.priority}
      ${optionalString given.noPreempt "nopreempt"}
      ${optionalString (given.unicastSrcIp != null) "unicast_src_ip ${given.unicastSrcIp}"}
      ${optionalString (given.unicastPeers != [ ]) "unicast_peer {\n${lib.concatStringsSep "\n" given.unicastPeers}\n}"}
      virtual_ipaddress {
        ${lib.concatMapStringsSep "\n    " (address: "${address.addr}${optionalString (address.dev != null) " dev ${address.dev}"}") given.virtualIps}
      }
      ${given.extraConfig}
    }
  '';
  keepalivedFile = pkgs.writeText "keepalived.conf" ''
    global_defs {
      ${keepalived.extraGlobalDefs}
    }
    ${lib.concatStrings (lib.mapAttrsToList vrrp keepalived.vrrpInstances)}
    ${keepalived.extraConfig}
  '';

  memcached = config.services.memcached;
in
{
  options.services = {
    dnsmasq = {
      enable = mkEnableOption "dnsmasq, a name server and DHCP server";
      package = package "dnsmasq";
      resolveLocalQueries = mkOption {
        type = types.bool;
        default = true;
        description = "Ask it for the machine's own queries.";
      };
      settings = mkOption {
        type = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.str (types.listOf (types.oneOf [ types.int types.str ])) ]));
        default = { };
        example = { server = [ "8.8.8.8" ]; dhcp-range = [ "192.168.1.50,192.168.1.100,12h" ]; };
        description = "Settings of dnsmasq.conf.";
      };
      extraConfig = lines "Text at the end of dnsmasq.conf.";
      alwaysKeepRunning = mkOption {
        type = types.bool;
        default = false;
        description = "Restart it whenever it ends.";
      };
    };
    redis = {
      package = package "redis";
      vmOverCommit = mkOption {
        type = types.bool;
        default = false;
        description = "Let the kernel promise more memory than there is.";
      };
      servers = mkOption {
        default = { };
        description = "Servers by name.";
        type = types.attrsOf (
          types.submodule (
            { name, config, ... }:
            {
              options = {
                enable = mkEnableOption "this Redis server";
                user = mkOption {
                  type = types.str;
                  default = redisName name;
                  defaultText = "redis-NAME";
                  description = "User of the process.";
                };
                port = mkOption {
                  type = types.port;
                  default = if name == "" then 6379 else 0;
                  defaultText = "6379 for the server without a name, else 0";
                  description = "The port; 0: only a socket.";
                };
                bind = mkOption {
                  type = types.nullOr types.str;
                  default = "127.0.0.1";
                  description = "Address to listen on; null: all.";
                };
                openFirewall = open;
                unixSocket = mkOption {
                  type = types.nullOr types.path;
                  default = "/run/${redisName name}/redis.sock";
                  defaultText = "/run/redis-NAME/redis.sock";
                  description = "The socket.";
                };
                unixSocketPerm = mkOption {
                  type = types.int;
                  default = 660;
                  description = "The socket's mode.";
                };
                databases = mkOption {
                  type = types.int;
                  default = 16;
                  description = "Number of data bases.";
                };
                requirePass = mkOption {
                  type = types.nullOr types.str;
                  default = null;
                  description = "Password; readable in the store.";
                };
                appendOnly = mkOption {
                  type = types.bool;
                  default = false;
                  description = "Keep every change on disk.";
                };
                logLevel = mkOption {
                  type = types.str;
                  default = "notice";
                  description = "How much is logged.";
                };
                settings = mkOption {
                  type = types.attrsOf (types.oneOf [ types.bool types.int types.str (types.listOf types.str) ]);
                  default = { };
                  description = "Settings of redis.conf.";
                };
                extraParams = mkOption {
                  type = types.lines;
                  default = "";
                  description = "Text at the end of redis.conf.";
                };
              };
              config.settings = {
                inherit (config) port databases;
                daemonize = false;
                supervised = "systemd";
                loglevel = config.logLevel;
                logfile = "\"\"";
                dir = "/var/lib/${redisName name}";
                appendonly = config.appendOnly;
              }
              // lib.optionalAttrs (config.bind != null) { bind = config.bind; }
              // lib.optionalAttrs (config.unixSocket != null) {
                unixsocket = config.unixSocket;
                unixsocketperm = toString config.unixSocketPerm;
              }
              // lib.optionalAttrs (config.requirePass != null) { requirepass = config.requirePass; };
            }
          )
        );
      };
    };
    haproxy = {
      enable = mkEnableOption "HAProxy, a load balancer";
      package = package "haproxy";
      config = lines "Text of haproxy.cfg.";
      user = mkOption {
        type = types.str;
        default = "haproxy";
        description = "User of the processes.";
      };
      group = mkOption {
        type = types.str;
        default = "haproxy";
        description = "Group of the processes.";
      };
    };
    keepalived = {
      enable = mkEnableOption "keepalived, for addresses that move between machines";
      openFirewall = open;
      extraGlobalDefs = lines "Text of the block `global_defs`.";
      extraConfig = lines "Text at the end of keepalived.conf.";
      vrrpInstances = mkOption {
        default = { };
        description = "Instances of VRRP.";
        type = types.attrsOf (
          types.submodule {
            options = {
              interface = mkOption {
                type = types.str;
                description = "The interface.";
              };
              state = mkOption {
                type = types.enum [ "MASTER" "BACKUP" ];
                default = "BACKUP";
                description = "The state at the start.";
              };
              virtualRouterId = mkOption {
                type = types.ints.between 1 255;
                description = "Number of the virtual router.";
              };
              priority = mkOption {
                type = types.int;
                default = 100;
                description = "The highest one has the addresses.";
              };
              noPreempt = mkOption {
                type = types.bool;
                default = false;
                description = "Do not take the addresses from one of lower priority.";
              };
              unicastSrcIp = mkOption {
                type = types.nullOr types.str;
                default = null;
                description = "Own address, for unicast.";
              };
              unicastPeers = mkOption {
                type = types.listOf types.str;
                default = [ ];
                description = "The others' addresses, for unicast.";
              };
              virtualIps = mkOption {
                type = types.listOf (
                  types.submodule {
                    options = {
                      addr = mkOption {
                        type = types.str;
                        description = "The address, with prefix length.";
                      };
                      dev = mkOption {
                        type = types.nullOr types.str;
                        default = null;
                        description = "The interface that gets it.";
                      };
                    };
                  }
                );
                default = [ ];
                description = "The addresses.";
              };
              extraConfig = mkOption {
                type = types.lines;
                default = "";
                description = "Text for the end of the block.";
              };
            };
          }
        );
      };
    };
    memcached = {
      enable = mkEnableOption "memcached";
      listen = mkOption {
        type = types.str;
        default = "127.0.0.1";
        description = "Address to listen on.";
      };
      port = mkOption {
        type = types.port;
        default = 11211;
        description = "The port.";
      };
      maxMemory = mkOption {
        type = types.ints.positive;
        default = 64;
        description = "Memory for data, MiB.";
      };
      maxConnections = mkOption {
        type = types.ints.positive;
        default = 1024;
        description = "Connections at once.";
      };
      extraOptions = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Further arguments.";
      };
    };
  };

  config = mkMerge (
    [
      (mkIf dnsmasq.enable (mkMerge [
        (systemUser "dnsmasq")
        {
          services.dnsmasq.settings = {
            dhcp-leasefile = lib.mkDefault "/var/lib/dnsmasq/dnsmasq.leases";
            # /etc/resolv.conf names dnsmasq itself
            resolv-file = mkIf dnsmasq.resolveLocalQueries (lib.mkDefault "/etc/dnsmasq-resolv.conf");
          };
          system.activation.manifest = lib.optionals dnsmasq.resolveLocalQueries [
            [
              "file" "/etc/dnsmasq-resolv.conf" "0644" "root" "root"
              "=${lib.concatMapStrings (server: "nameserver ${server}\n") (lib.filter (server: server != "127.0.0.1") config.networking.nameservers)}"
              "-/run/nbv/resolv.conf"
            ]
          ];
          networking.resolvconf.useLocalResolver = lib.mkDefault dnsmasq.resolveLocalQueries;
          systemd.services.dnsmasq = unit "Dnsmasq daemon" {
            Type = "simple";
            ExecStart = "${dnsmasq.package}/bin/dnsmasq -k --user=dnsmasq -C ${dnsmasqFile}";
            StateDirectory = "dnsmasq";
            Restart = if dnsmasq.alwaysKeepRunning then "always" else "on-failure";
          };
          networking.listeners = [ { service = "dnsmasq"; proto = "udp"; port = 53; } { service = "dnsmasq"; proto = "tcp"; port = 53; } ];
        }
      ]))
      (mkIf haproxy.enable (mkMerge [
        (mkIf (haproxy.user == "haproxy") (systemUser "haproxy"))
        {
          systemd.services.haproxy = unit "HAProxy" {
            Type = "notify";
            ExecStart = "${haproxy.package}/bin/haproxy -Ws -f ${haproxyFile} -p /run/haproxy/haproxy.pid";
            User = haproxy.user;
            Group = haproxy.group;
            RuntimeDirectory = "haproxy";
            AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
          };
        }
      ]))
      (mkIf keepalived.enable {
        networking.firewall.extraInputRules = mkIf keepalived.openFirewall "ip protocol { vrrp, ah } accept";
        systemd.services.keepalived = unit "Keepalived" {
          Type = "simple";
          ExecStart = "${pkgs.keepalived}/bin/keepalived --dont-fork --log-console -f ${keepalivedFile} -p /run/keepalived.pid";
          KillMode = "process";
        };
      })
      (mkIf memcached.enable (mkMerge [
        (systemUser "memcached")
        {
          systemd.services.memcached = unit "memcached" {
            ExecStart = "${pkgs.memcached}/bin/memcached -u memcached -l ${memcached.listen} -p ${toString memcached.port} -m ${toString memcached.maxMemory} -c ${toString memcached.maxConnections} ${lib.concatStringsSep " " memcached.extraOptions}";
          };
          networking.listeners = lib.optional (memcached.listen != "127.0.0.1") { service = "memcached"; port = memcached.port; };
        }
      ]))
      (mkIf (redis != { }) {
        environment.systemPackages = [ config.services.redis.package ];
        boot.kernel.sysctl = mkIf config.services.redis.vmOverCommit { "vm.overcommit_memory" = 1; };
        users.users = lib.mapAttrs' (_: given: lib.nameValuePair given.user { isSystemUser = true; group = given.user; }) redis;
        users.groups = lib.mapAttrs' (_: given: lib.nameValuePair given.user { }) redis;
        networking.firewall.allowedTCPPorts = lib.concatLists (lib.mapAttrsToList (_: given: lib.optional (given.openFirewall && given.port != 0) given.port) redis);
        networking.listeners = lib.concatLists (
          lib.mapAttrsToList (_: given: lib.optional (given.port != 0 && given.bind != "127.0.0.1") { service = "redis"; port = given.port; }) redis
        );
        systemd.services = lib.mapAttrs' (
          name: given:
          lib.nameValuePair (redisName name) (unit "Redis server ${name}" {
            # a locale that the layer lacks is an error to Redis
            Environment = "LC_ALL=C.UTF-8";
            Type = "notify";
            ExecStart = "${config.services.redis.package}/bin/redis-server ${redisFile name given}";
            User = given.user;
            Group = given.user;
            RuntimeDirectory = redisName name;
            StateDirectory = redisName name;
            StateDirectoryMode = "0700";
            UMask = "0077";
          })
        ) redis;
      })
    ]
  );
}
