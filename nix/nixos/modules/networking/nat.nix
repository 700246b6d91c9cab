# networking.nat: other machines' way out through this one.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.networking.nat;
  outside = lib.optionalString (cfg.externalInterface != null) "oifname \"${cfg.externalInterface}\" ";
  translate = if cfg.externalIP == null then "masquerade" else "snat to ${cfg.externalIP}";
  inside =
    map (interface: "iifname \"${interface}\" ") cfg.internalInterfaces
    ++ map (network: "ip saddr ${network} ") cfg.internalIPs;
  ruleset = pkgs.writeText "nat.nft" ''
    table ip nixos-nat
    delete table ip nixos-nat
    table ip nixos-nat {
      chain pre {
        type nat hook prerouting priority dstnat;
    ${lib.concatMapStrings (
      entry:
      "    ${lib.optionalString (cfg.externalInterface != null) "iifname \"${cfg.externalInterface}\" "}${entry.proto} dport ${
        lib.replaceStrings [ ":" ] [ "-" ] (toString entry.sourcePort)
      } dnat to ${entry.destination}\n"
    ) cfg.forwardPorts}  }
      chain post {
        type nat hook postrouting priority srcnat;
    ${lib.concatMapStrings (match: "    ${match}${outside}${translate}\n") inside}  }
      ${cfg.extraRules}
    }
  '';
in
{
  options.networking.nat = {
    enable = mkEnableOption "address translation for machines behind this one";
    enableIPv6 = mkOption {
      type = types.bool;
      default = false;
      description = "Forward IPv6 too (without translation).";
    };
    internalInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "eth1" ];
      description = "Interfaces of the machines behind.";
    };
    internalIPs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "192.168.1.0/24" ];
      description = "Networks of the machines behind.";
    };
    externalInterface = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "eth0";
      description = "The interface that leads out.";
    };
    externalIP = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The address that packets get; null: the interface's.";
    };
    forwardPorts = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            sourcePort = mkOption {
              type = types.either types.port (types.strMatching "[[:digit:]]+:[[:digit:]]+");
              description = "Port, or range of ports, of this machine.";
            };
            destination = mkOption {
              type = types.str;
              example = "192.168.1.3:80";
              description = "Where it leads to.";
            };
            proto = mkOption {
              type = types.enum [ "tcp" "udp" ];
              default = "tcp";
              description = "The protocol.";
            };
            loopbackIPs = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "Accepted for NixOS' sake.";
            };
          };
        }
      );
      default = [ ];
      description = "Ports of this machine that lead to machines behind.";
    };
    extraRules = mkOption {
      type = types.lines;
      default = "";
      description = "Further chains of the table `ip nixos-nat`, for nftables.";
    };
  };

  config = lib.mkIf cfg.enable {
    boot.kernel.sysctl = {
      "net.ipv4.conf.all.forwarding" = lib.mkOverride 99 1;
      "net.ipv4.conf.default.forwarding" = lib.mkOverride 99 1;
    }
    // lib.optionalAttrs cfg.enableIPv6 { "net.ipv6.conf.all.forwarding" = lib.mkOverride 99 1; };
    system.activation.manifest = map (module: [ "module" module ]) [ "nf_tables" "nft_chain_nat" "nft_masq" ];
    systemd.services.nat = {
      description = "Address translation";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-pre.target" ];
      before = [ "network-pre.target" "network.target" "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      reloadIfChanged = true;
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.nftables}/bin/nft -f ${ruleset}";
        ExecReload = "${pkgs.nftables}/bin/nft -f ${ruleset}";
        ExecStop = "${pkgs.nftables}/bin/nft delete table ip nixos-nat";
      };
    };
  };
}
