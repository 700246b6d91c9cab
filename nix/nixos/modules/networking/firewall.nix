# networking.firewall: which connections from outside reach the machine.
#
# One nftables ruleset, loaded by one process. Commands of the older kind (extraCommands, for iptables) get chains of
# the names that they expect instead, loaded by iptables-restore.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types optionalString concatStringsSep literalExpression;
  cfg = config.networking.firewall;

  range = types.submodule {
    options = {
      from = mkOption {
        type = types.port;
        description = "First port.";
      };
      to = mkOption {
        type = types.port;
        description = "Last port.";
      };
    };
  };

  ports = protocol: {
    "allowed${protocol}Ports" = mkOption {
      type = types.listOf types.port;
      default = [ ];
      apply = given: lib.sort (a: b: a < b) (lib.unique given);
      example = [ 22 80 ];
      description = "${protocol} ports on which connections are accepted.";
    };
    "allowed${protocol}PortRanges" = mkOption {
      type = types.listOf range;
      default = [ ];
      example = [ { from = 8999; to = 9003; } ];
      description = "Ranges of such ${protocol} ports.";
    };
  };
  portOptions = ports "TCP" // ports "UDP";

  scripted = cfg.extraCommands != "" || cfg.extraStopCommands != "";

  # nftables
  members = given: tcp: map toString given."allowed${tcp}Ports" ++ map (entry: "${toString entry.from}-${toString entry.to}") given."allowed${tcp}PortRanges";
  accept =
    prefix: given:
    lib.concatMapStrings (
      protocol:
      let
        set = members given (lib.toUpper protocol);
      in
      optionalString (set != [ ]) "    ${prefix}${protocol} dport { ${concatStringsSep ", " set} } accept\n"
    ) [ "tcp" "udp" ];

  refuse = if cfg.rejectPackets then "meta l4proto tcp reject with tcp reset\n    reject" else "drop";

  ruleset = pkgs.writeText "firewall.nft" ''
    table inet nixos-fw
    delete table inet nixos-fw
    table inet nixos-fw {
    ${optionalString (cfg.checkReversePath != false) ''
      ${"  "}chain rpfilter {
          type filter hook prerouting priority mangle + 10; policy drop;
          meta nfproto ipv4 udp sport . udp dport { 67 . 68, 68 . 67 } accept
          fib saddr . mark ${optionalString (cfg.checkReversePath != "loose") ". iif "}oif exists accept
      ${optionalString cfg.logReversePathDrops ''
        ${"    "}log level info prefix "rpfilter drop: "
      ''}    ${cfg.extraReversePathFilterRules}
        }
    ''}
      chain input {
        type filter hook input priority filter; policy drop;
        iifname { ${concatStringsSep ", " (map builtins.toJSON (lib.unique ([ "lo" ] ++ cfg.trustedInterfaces)))} } accept
        ct state vmap { established : accept, related : accept, new : jump input-allow, untracked : jump input-allow, invalid : drop }
    ${optionalString cfg.logRefusedConnections ''
      ${"    "}tcp flags & (fin | syn | rst | ack) == syn log level info prefix "refused connection: "
    ''}${optionalString (cfg.logRefusedPackets && !cfg.logRefusedUnicastsOnly) ''
      ${"    "}meta pkttype { broadcast, multicast } log level info prefix "refused packet: "
    ''}${optionalString cfg.logRefusedPackets ''
      ${"    "}meta pkttype host log level info prefix "refused packet: "
    ''}    ${refuse}
      }

      chain input-allow {
    ${accept "" cfg}${
      lib.concatStrings (lib.mapAttrsToList (interface: given: accept "iifname \"${interface}\" " given) cfg.interfaces)
    }${
      optionalString cfg.allowPing "    icmp type echo-request ${optionalString (cfg.pingLimit != null) "limit rate ${cfg.pingLimit} "}accept\n"
    }    icmpv6 type != { nd-redirect, 139 } accept
        ip6 daddr fe80::/64 udp dport 546 accept
        ${lib.replaceStrings [ "\n" ] [ "\n    " ] cfg.extraInputRules}
      }
    ${optionalString cfg.filterForward ''
      ${"  "}chain forward {
          type filter hook forward priority filter; policy drop;
          ct state vmap { established : accept, related : accept, new : jump forward-allow, untracked : jump forward-allow, invalid : drop }
        }

        chain forward-allow {
          icmpv6 type != { router-renumbering, 139 } accept
          ct status dnat accept
          ${cfg.extraForwardRules}
        }
    ''}}
  '';

  # iptables, for extraCommands
  legacy =
    family:
    let
      echo = if family == 4 then "icmp --icmp-type echo-request" else "icmpv6 --icmpv6-type echo-request";
      each =
        prefix: given:
        lib.concatMapStrings (
          protocol:
          lib.concatMapStrings (
            port: "-A nixos-fw ${prefix}-p ${protocol} --dport ${lib.replaceStrings [ "-" ] [ ":" ] port} -j nixos-fw-accept\n"
          ) (members given (lib.toUpper protocol))
        ) [ "tcp" "udp" ];
    in
    pkgs.writeText "firewall.rules${toString family}" ''
      *filter
      :nixos-fw - [0:0]
      :nixos-fw-accept - [0:0]
      :nixos-fw-refuse - [0:0]
      :nixos-fw-log-refuse - [0:0]
      -A nixos-fw-accept -j ACCEPT
      ${
        if cfg.rejectPackets then
          "-A nixos-fw-refuse -p tcp ! --syn -j DROP\n-A nixos-fw-refuse -j REJECT"
        else
          "-A nixos-fw-refuse -j DROP"
      }
      ${optionalString cfg.logRefusedConnections "-A nixos-fw-log-refuse -p tcp --syn -j LOG --log-level info --log-prefix \"refused connection: \"\n"}-A nixos-fw-log-refuse -j nixos-fw-refuse
      ${lib.concatMapStrings (interface: "-A nixos-fw -i ${interface} -j nixos-fw-accept\n") (lib.unique ([ "lo" ] ++ cfg.trustedInterfaces))}-A nixos-fw -m conntrack --ctstate ESTABLISHED,RELATED -j nixos-fw-accept
      ${each "" cfg}${lib.concatStrings (lib.mapAttrsToList (interface: each "-i ${interface} ") cfg.interfaces)}${
        if family == 4 then
          optionalString cfg.allowPing "-A nixos-fw -p ${echo} -j nixos-fw-accept\n"
        else
          "-A nixos-fw -p icmpv6 --icmpv6-type redirect -j DROP\n-A nixos-fw -p icmpv6 --icmpv6-type 139 -j DROP\n-A nixos-fw -p icmpv6 -j nixos-fw-accept\n-A nixos-fw -d fe80::/64 -p udp --dport 546 -j nixos-fw-accept\n"
      }COMMIT
    '';

  helpers = ''
    ip46tables() { iptables -w "$@"; ip6tables -w "$@"; }
    leave() {
      ip46tables -D INPUT -j nixos-fw 2> /dev/null || true
      for chain in nixos-fw nixos-fw-accept nixos-fw-log-refuse nixos-fw-refuse; do
        ip46tables -F $chain 2> /dev/null || true
      done
      for chain in nixos-fw nixos-fw-log-refuse nixos-fw-accept nixos-fw-refuse; do
        ip46tables -X $chain 2> /dev/null || true
      done
    }
  '';
  startScript = pkgs.writeShellScript "firewall-start" ''
    ${helpers}
    leave
    iptables-restore -w --noflush ${legacy 4}
    ip6tables-restore -w --noflush ${legacy 6}
    ${cfg.extraCommands}
    ip46tables -A nixos-fw -j nixos-fw-log-refuse
    ip46tables -A INPUT -j nixos-fw
  '';
  stopScript = pkgs.writeShellScript "firewall-stop" ''
    ${helpers}
    leave
    ${cfg.extraStopCommands}
  '';

  # Kernel modules that the rules use: loaded by activation, so that the kernel starts no modprobe for each.
  modules =
    [ "nf_tables" "nft_ct" ]
    ++ lib.optionals cfg.rejectPackets [ "nft_reject_inet" ]
    ++ lib.optionals (cfg.logRefusedConnections || cfg.logRefusedPackets || cfg.logReversePathDrops) [ "nft_log" "nf_log_syslog" ]
    ++ lib.optionals (cfg.pingLimit != null) [ "nft_limit" ]
    ++ lib.optionals (cfg.checkReversePath != false) [ "nft_fib_inet" ]
    ++ cfg.connectionTrackingModules;
in
{
  options.networking.firewall = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Refuse connections from outside that no option lets through.";
    };
    package = mkOption {
      type = types.package;
      default = if scripted then pkgs.iptables else pkgs.nftables;
      defaultText = literalExpression "pkgs.nftables";
      description = "The package with the program that loads the rules.";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule { options = portOptions; });
      default = { };
      example = literalExpression "{ eth1.allowedTCPPorts = [ 80 ]; }";
      description = "Ports that are open on one interface.";
    };
    trustedInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "eth1" ];
      description = "Interfaces from which everything is accepted. The loopback interface always is.";
    };
    allowPing = mkOption {
      type = types.bool;
      default = true;
      description = "Answer ICMP echo requests. (Those of IPv6 are always answered.)";
    };
    pingLimit = mkOption {
      type = types.nullOr (types.separatedString " ");
      default = null;
      example = "5/second";
      description = "How many echo requests are answered, as a rate of nftables.";
    };
    rejectPackets = mkOption {
      type = types.bool;
      default = false;
      description = "Tell the sender of a refused packet, rather than to drop it in silence.";
    };
    logRefusedConnections = mkOption {
      type = types.bool;
      default = false;
      description = "Write refused connections into the kernel's log. (NixOS does by default; here it takes two kernel modules more.)";
    };
    logRefusedPackets = mkOption {
      type = types.bool;
      default = false;
      description = "Write all refused packets into the kernel's log.";
    };
    logRefusedUnicastsOnly = mkOption {
      type = types.bool;
      default = true;
      description = "Leave broadcasts out of the log of refused packets.";
    };
    checkReversePath = mkOption {
      type = types.either types.bool (types.enum [ "strict" "loose" ]);
      default = false;
      description = "Drop packets whose sender would not be reached through the interface that they came by. (NixOS' default is true.)";
    };
    logReversePathDrops = mkOption {
      type = types.bool;
      default = false;
      description = "Write packets that the check of the reverse path drops into the kernel's log.";
    };
    filterForward = mkOption {
      type = types.bool;
      default = false;
      description = "Refuse to forward packets that {option}`extraForwardRules` do not accept.";
    };
    connectionTrackingModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Kernel modules that follow the connections of particular protocols.";
      apply = map (name: if lib.hasPrefix "nf_conntrack_" name then name else "nf_conntrack_${name}");
    };
    autoLoadConntrackHelpers = mkOption {
      type = types.bool;
      default = false;
      description = "Let the kernel choose helpers of connection tracking.";
    };
    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose programs {option}`extraCommands` uses.";
    };
    extraCommands = mkOption {
      type = types.lines;
      default = "";
      example = "iptables -A nixos-fw -p icmp -j nixos-fw-accept";
      description = "Shell commands at the end of the firewall's start, with iptables. They make the firewall one of iptables' chains.";
    };
    extraStopCommands = mkOption {
      type = types.lines;
      default = "";
      description = "Shell commands when the firewall is stopped.";
    };
    extraInputRules = mkOption {
      type = types.lines;
      default = "";
      example = "ip6 saddr { fc00::/7, fe80::/10 } tcp dport 24800 accept";
      description = "Rules of nftables for new connections to the machine.";
    };
    extraForwardRules = mkOption {
      type = types.lines;
      default = "";
      description = "Rules of nftables for new connections through the machine.";
    };
    extraReversePathFilterRules = mkOption {
      type = types.lines;
      default = "";
      description = "Rules of nftables for packets that the check of the reverse path would drop.";
    };
  } // portOptions;

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = scripted -> cfg.extraInputRules == "" && cfg.extraForwardRules == "";
        message = "networking.firewall: extraCommands (iptables) and extraInputRules or extraForwardRules (nftables) cannot be used together";
      }
      {
        assertion = scripted -> !config.networking.nftables.enable;
        message = "networking.firewall.extraCommands are for iptables; with networking.nftables.enable use extraInputRules";
      }
    ];

    system.activation.manifest = map (module: [ "module" module ]) (
      if scripted then [ "nf_tables" "nft_compat" "nf_conntrack" "xt_conntrack" "xt_tcpudp" ] else modules
    );

    environment.systemPackages = [ cfg.package ] ++ cfg.extraPackages;

    boot.kernel.sysctl = mkIf cfg.autoLoadConntrackHelpers { "net.netfilter.nf_conntrack_helper" = 1; };

    # It waits for nothing but the file systems, which are there from the start.
    systemd.services.firewall = {
      description = "Firewall";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-pre.target" ];
      before = [ "network-pre.target" "network.target" "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      reloadIfChanged = true;
      unitConfig.DefaultDependencies = false;
      path = lib.optionals scripted ([ cfg.package pkgs.coreutils ] ++ cfg.extraPackages);
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      }
      // (
        if scripted then
          {
            ExecStart = startScript;
            ExecReload = startScript;
            ExecStop = stopScript;
          }
        else
          {
            ExecStart = "${cfg.package}/bin/nft -f ${ruleset}";
            ExecReload = "${cfg.package}/bin/nft -f ${ruleset}";
            ExecStop = "${cfg.package}/bin/nft delete table inet nixos-fw";
          }
      );
    };
  };
}
