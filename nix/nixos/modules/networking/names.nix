# The machine's names, /etc/hosts and the resolver: networking.{hostName,domain,fqdn,hosts,extraHosts,nameservers,...}.
#
# What depends on the other machines of the network (addresses, names) is not here: the driver gives it to the machine
# at its start, and activation puts it behind the fixed part.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption mkIf types literalExpression;
  cfg = config.networking;

  hostLines = lib.concatStrings (
    lib.mapAttrsToList (address: names: lib.optionalString (names != [ ]) "${address} ${lib.concatStringsSep " " names}\n") cfg.hosts
  );
  hosts = pkgs.writeText "hosts" (
    hostLines
    + lib.optionalString (cfg.extraHosts != "") "${cfg.extraHosts}\n"
    + lib.concatMapStrings (file: builtins.readFile file) cfg.hostFiles
  );
  own = lib.unique (lib.optional (cfg.fqdnOrHostName != "") cfg.fqdnOrHostName ++ lib.optional (cfg.hostName != "") cfg.hostName);

  resolver = pkgs.writeText "resolv.conf" (
    lib.optionalString (cfg.search != [ ] || cfg.domain != null) "search ${lib.concatStringsSep " " (lib.unique (cfg.search ++ lib.optional (cfg.domain != null) cfg.domain))}\n"
    + lib.concatMapStrings (server: "nameserver ${server}\n") cfg.nameservers
    + lib.optionalString (cfg.resolvconf.extraOptions != [ ]) "options ${lib.concatStringsSep " " cfg.resolvconf.extraOptions}\n"
  );
  # Without name servers of the configuration the address that the driver's NAT answers at is used.
  resolverLine = [ "file" "/etc/resolv.conf" "0644" "root" "root" "${resolver}" ] ++ lib.optional (cfg.nameservers == [ ]) "-/run/nbv/resolv.conf";
in
{
  options.networking = {
    hostName = mkOption {
      type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$";
      default = "nixos";
      description = "The machine's name, without domain. In a network its default is the machine's attribute name.";
    };
    domain = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "example.net";
      description = "The machine's domain.";
    };
    fqdn = mkOption {
      type = types.str;
      default =
        if cfg.hostName != "" && cfg.domain != null then
          "${cfg.hostName}.${cfg.domain}"
        else
          throw "networking.fqdn: the machine has no domain; set networking.domain";
      defaultText = literalExpression ''"''${networking.hostName}.''${networking.domain}"'';
      description = "The machine's fully qualified name.";
    };
    fqdnOrHostName = mkOption {
      type = types.str;
      readOnly = true;
      default = if cfg.domain == null then cfg.hostName else cfg.fqdn;
      defaultText = literalExpression "networking.fqdn, or networking.hostName without a domain";
      description = "The fully qualified name where there is a domain, else the host name.";
    };
    hostId = mkOption {
      type = types.nullOr (types.strMatching "[0-9a-fA-F]{8}");
      default = null;
      example = "4e98920d";
      description = "The host's 32-bit number, as eight hexadecimal digits.";
    };
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      example = { "192.168.0.2" = [ "fileserver.local" "nameserver.local" ]; };
      description = "Names by address, for /etc/hosts. The machines of the network are added when the machine starts.";
    };
    hostFiles = mkOption {
      type = types.listOf types.path;
      default = [ ];
      description = "Files to be added to /etc/hosts.";
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
      example = "192.168.0.1 lanlocalhost";
      description = "Lines to be added to /etc/hosts.";
    };
    enableIPv6 = mkOption {
      type = types.bool;
      default = true;
      description = "Whether IPv6 is used.";
    };
    nameservers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "130.161.158.4" ];
      description = "Addresses of name servers; none: the one that the way to the host offers.";
    };
    search = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "example.com" ];
      description = "Domains in which names without a domain are looked for.";
    };
    resolvconf = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Write /etc/resolv.conf.";
      };
      extraOptions = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "ndots:1" ];
        description = "Options of the resolver.";
      };
      useLocalResolver = mkOption {
        type = types.bool;
        default = false;
        description = "Ask the name server on the machine itself.";
      };
    };
    timeServers = mkOption {
      type = types.listOf types.str;
      default = [ "0.nixos.pool.ntp.org" "1.nixos.pool.ntp.org" "2.nixos.pool.ntp.org" "3.nixos.pool.ntp.org" ];
      description = "Time servers for the services that ask one.";
    };
    proxy = {
      default = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Proxy for every protocol, for the environment of sessions.";
      };
      noProxy = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Hosts that are reached without it.";
      };
    };
  };

  config = {
    networking.hosts = {
      "127.0.0.1" = lib.mkBefore [ "localhost" ];
      "::1" = mkIf cfg.enableIPv6 (lib.mkBefore [ "localhost" ]);
    }
    // lib.optionalAttrs (own != [ ]) { "127.0.0.2" = own; };

    networking.nameservers = mkIf cfg.resolvconf.useLocalResolver (lib.mkBefore [ "127.0.0.1" ]);

    system.activation.manifest = [
      [ "file" "/etc/hosts" "0644" "root" "root" "${hosts}" "-/run/nbv/hosts" ]
    ]
    ++ lib.optional cfg.resolvconf.enable resolverLine;

    environment.etc = {
      "host.conf".text = "multi on\n";
    }
    // lib.optionalAttrs (cfg.hostName != "") { hostname.text = "${cfg.hostName}\n"; };

    boot.kernel.sysctl = mkIf (!cfg.enableIPv6) {
      "net.ipv6.conf.all.disable_ipv6" = 1;
      "net.ipv6.conf.default.disable_ipv6" = 1;
    };

    environment.variables = mkIf (cfg.proxy.default != null) (
      lib.genAttrs [ "http_proxy" "https_proxy" "ftp_proxy" "rsync_proxy" "all_proxy" ] (_: cfg.proxy.default)
      // lib.optionalAttrs (cfg.proxy.noProxy != null) { no_proxy = cfg.proxy.noProxy; }
    );
  };
}
