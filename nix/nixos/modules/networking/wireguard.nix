# networking.wireguard: tunnels.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;
  cfg = config.networking.wireguard;

  peer = types.submodule {
    options = {
      name = mkOption {
        type = types.str;
        default = "";
        description = "A name, for your own use.";
      };
      publicKey = mkOption {
        type = types.singleLineStr;
        description = "The peer's public key.";
      };
      presharedKey = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A key that both share; readable in the store.";
      };
      presharedKeyFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A file of the machine with such a key.";
      };
      allowedIPs = mkOption {
        type = types.listOf types.str;
        description = "Networks that are behind the peer.";
      };
      endpoint = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "192.168.1.2:51820";
        description = "Address and port of the peer.";
      };
      persistentKeepalive = mkOption {
        type = types.nullOr types.int;
        default = null;
        description = "Seconds between packets that keep the tunnel known to gateways.";
      };
    };
  };

  interface = types.submodule {
    options = {
      ips = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "10.100.0.1/24" ];
        description = "Addresses of the interface.";
      };
      privateKey = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The key; readable in the store.";
      };
      privateKeyFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "A file of the machine with the key.";
      };
      generatePrivateKeyFile = mkOption {
        type = types.bool;
        default = false;
        description = "Make the key's file where it is missing.";
      };
      listenPort = mkOption {
        type = types.nullOr types.port;
        default = null;
        description = "The port; null: a random one.";
      };
      mtu = mkOption {
        type = types.nullOr types.int;
        default = null;
        description = "Largest packet, in bytes.";
      };
      allowedIPsAsRoutes = mkOption {
        type = types.bool;
        default = true;
        description = "Make routes to the peers' networks.";
      };
      preSetup = mkOption {
        type = types.lines;
        default = "";
        description = "Shell commands before the interface is made.";
      };
      postSetup = mkOption {
        type = types.lines;
        default = "";
        description = "Shell commands after the interface is made.";
      };
      postShutdown = mkOption {
        type = types.lines;
        default = "";
        description = "Shell commands after the interface is removed.";
      };
      peers = mkOption {
        type = types.listOf peer;
        default = [ ];
        description = "The peers.";
      };
    };
  };

  keyFile = given: if given.privateKeyFile != null then given.privateKeyFile else pkgs.writeText "wg-key" given.privateKey;

  unit = name: given: {
    description = "WireGuard tunnel ${name}";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network.target" ];
    after = [ "network.target" "network-pre.target" ];
    path = [ pkgs.iproute2 pkgs.wireguard-tools pkgs.coreutils ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
    script = ''
      ${given.preSetup}
      ${lib.optionalString given.generatePrivateKeyFile ''
        if ! [ -e ${given.privateKeyFile} ]; then
          mkdir -p "$(dirname ${given.privateKeyFile})"
          (umask 077; wg genkey > ${given.privateKeyFile})
        fi
      ''}
      ip link add dev ${name} type wireguard
      ${lib.optionalString (given.mtu != null) "ip link set ${name} mtu ${toString given.mtu}"}
      ${lib.concatMapStrings (address: "ip address add ${address} dev ${name}\n") given.ips}
      wg set ${name} private-key ${keyFile given}${lib.optionalString (given.listenPort != null) " listen-port ${toString given.listenPort}"}
      ${lib.concatMapStrings (
        other:
        "wg set ${name} peer ${other.publicKey}"
        + lib.optionalString (other.presharedKey != null) " preshared-key ${pkgs.writeText "psk" other.presharedKey}"
        + lib.optionalString (other.presharedKeyFile != null) " preshared-key ${other.presharedKeyFile}"
        + lib.optionalString (other.endpoint != null) " endpoint ${other.endpoint}"
        + lib.optionalString (other.persistentKeepalive != null) " persistent-keepalive ${toString other.persistentKeepalive}"
        + lib.optionalString (other.allowedIPs != [ ]) " allowed-ips ${lib.concatStringsSep "," other.allowedIPs}"
        + "\n"
      ) given.peers}
      ip link set up dev ${name}
      ${lib.optionalString given.allowedIPsAsRoutes (
        lib.concatMapStrings (network: "ip route replace ${network} dev ${name}\n") (lib.concatMap (other: other.allowedIPs) given.peers)
      )}
      ${given.postSetup}
    '';
    postStop = ''
      ip link del dev ${name} || true
      ${given.postShutdown}
    '';
  };
in
{
  options.networking.wireguard = {
    enable = mkOption {
      type = types.bool;
      default = cfg.interfaces != { };
      defaultText = "whether there are interfaces";
      description = "Make the tunnels.";
    };
    interfaces = mkOption {
      type = types.attrsOf interface;
      default = { };
      description = "Tunnels by the names of their interfaces.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = lib.mapAttrsToList (name: given: {
      assertion = (given.privateKey == null) != (given.privateKeyFile == null);
      message = "networking.wireguard.interfaces.${name}: set one of privateKey and privateKeyFile";
    }) cfg.interfaces;
    boot.kernelModules = [ "wireguard" ];
    environment.systemPackages = [ pkgs.wireguard-tools ];
    systemd.services = lib.mapAttrs' (name: given: lib.nameValuePair "wireguard-${name}" (unit name given)) cfg.interfaces;
    networking.listeners = lib.concatLists (
      lib.mapAttrsToList (name: given: lib.optional (given.listenPort != null) { service = "wireguard-${name}"; proto = "udp"; port = given.listenPort; }) cfg.interfaces
    );
  };
}
