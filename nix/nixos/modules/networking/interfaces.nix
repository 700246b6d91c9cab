# networking.interfaces and routes.
#
# The addresses of interfaces on segments (eth1, ...) are set before systemd starts, by /init, without a process: they
# go into the plan (virtualisation/machine.nix). What the kernel is told later here: routes, interfaces of other kinds
# (bridges, VLANs, dummies, ...), addresses of interfaces that are on no segment.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;
  cfg = config.networking;

  address = bits: types.submodule {
    options = {
      address = mkOption {
        type = types.str;
        description = "The address.";
      };
      prefixLength = mkOption {
        type = types.ints.between 0 bits;
        description = "Bits of the address that name the network.";
      };
    };
  };
  route = bits: types.submodule {
    options = {
      address = mkOption {
        type = types.str;
        description = "The destination.";
      };
      prefixLength = mkOption {
        type = types.ints.between 0 bits;
        description = "Bits of the destination that name the network.";
      };
      type = mkOption {
        type = types.nullOr (types.enum [ "unicast" "local" "broadcast" "multicast" "blackhole" "unreachable" "prohibit" "throw" ]);
        default = null;
        description = "The route's type.";
      };
      via = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The next hop.";
      };
      options = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = { metric = "10"; };
        description = "Further words for `ip route`.";
      };
    };
  };
  family = bits: {
    addresses = mkOption {
      type = types.listOf (address bits);
      default = [ ];
      description = "Addresses of the interface.";
    };
    routes = mkOption {
      type = types.listOf (route bits);
      default = [ ];
      description = "Routes through the interface.";
    };
  };

  interface = { name, ... }: {
    options = {
      name = mkOption {
        type = types.str;
        default = name;
        defaultText = "the attribute's name";
        description = "The interface's name.";
      };
      ipv4 = family 32;
      ipv6 = family 128;
      useDHCP = mkOption {
        type = types.nullOr types.bool;
        default = null;
        description = "true: ask a DHCP server on the interface. (The interface to the host gets its address without a client; segments have no server unless a machine runs one.)";
      };
      macAddress = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Hardware address that the interface is given.";
      };
      mtu = mkOption {
        type = types.nullOr types.ints.positive;
        default = null;
        description = "Largest packet, in bytes.";
      };
      virtual = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the interface is made as a tun or tap.";
      };
      virtualType = mkOption {
        type = types.enum [ "tun" "tap" ];
        default = if lib.hasPrefix "tun" name then "tun" else "tap";
        defaultText = "by the name";
        description = "Which of both.";
      };
      proxyARP = mkOption {
        type = types.bool;
        default = false;
        description = "Answer for hosts of other segments.";
      };
      wakeOnLan.enable = mkOption {
        type = types.bool;
        default = false;
        description = "Accepted for NixOS' sake.";
      };
    };
  };

  gateway = types.coercedTo types.str (address: { inherit address; }) (
    types.submodule {
      options = {
        address = mkOption {
          type = types.str;
          description = "The gateway's address.";
        };
        interface = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "The interface that leads to it.";
        };
        source = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "Source address of packets.";
        };
        metric = mkOption {
          type = types.nullOr types.int;
          default = null;
          description = "The route's metric.";
        };
      };
    }
  );

  ip = "${pkgs.iproute2}/bin/ip";
  onSegment = cfg.segmentInterfaces;
  all = lib.attrValues cfg.interfaces;

  words = given: lib.concatStringsSep " " (lib.filter (word: word != "") given);
  addressLine = name: entry: "address replace ${entry.address}/${toString entry.prefixLength} dev ${name}";
  routeLine =
    name: entry:
    words (
      [ "route replace" (if entry.type == null then "" else entry.type) "${entry.address}/${toString entry.prefixLength}" ]
      ++ lib.optional (entry.via != null) "via ${entry.via}"
      ++ [ "dev ${name}" ]
      ++ lib.mapAttrsToList (key: value: "${key} ${value}") entry.options
    );

  # The batch of `ip` for one interface.
  batch =
    given:
    let
      inherit (given) name;
      addresses = lib.optionals (!lib.elem name onSegment) (map (addressLine name) (given.ipv4.addresses ++ given.ipv6.addresses));
      link =
        lib.optional (given.macAddress != null) "link set dev ${name} address ${given.macAddress}"
        ++ lib.optional (given.mtu != null) "link set dev ${name} mtu ${toString given.mtu}";
      routes = map (routeLine name) (given.ipv4.routes ++ given.ipv6.routes);
      made = lib.optional given.virtual "tuntap add dev ${name} mode ${given.virtualType}";
    in
    if made ++ link ++ addresses ++ routes == [ ] then
      [ ]
    else
      made ++ link ++ addresses ++ [ "link set dev ${name} up" ] ++ routes;

  bridges = lib.concatLists (
    lib.mapAttrsToList (
      name: given:
      [ "link add name ${name} type bridge${lib.optionalString given.rstp " stp_state 1"}" ]
      ++ map (member: "link set dev ${member} master ${name} up") given.interfaces
      ++ [ "link set dev ${name} up" ]
    ) cfg.bridges
  );
  vlans = lib.concatLists (
    lib.mapAttrsToList (name: given: [
      "link set dev ${given.interface} up"
      "link add link ${given.interface} name ${name} type vlan id ${toString given.id}"
      "link set dev ${name} up"
    ]) cfg.vlans
  );
  macvlans = lib.concatLists (
    lib.mapAttrsToList (name: given: [
      "link set dev ${given.interface} up"
      "link add link ${given.interface} name ${name} type macvlan${lib.optionalString (given.mode != null) " mode ${given.mode}"}"
      "link set dev ${name} up"
    ]) cfg.macvlans
  );
  bonds = lib.concatLists (
    lib.mapAttrsToList (
      name: given:
      [ "link add name ${name} type bond ${words (lib.mapAttrsToList (key: value: "${key} ${value}") given.driverOptions)}" ]
      ++ lib.concatMap (member: [ "link set dev ${member} down" "link set dev ${member} master ${name}" ]) given.interfaces
      ++ [ "link set dev ${name} up" ]
    ) cfg.bonds
  );
  gatewayLine =
    version: given:
    lib.optional (given != null) (
      words (
        [ "-${version} route replace default via ${given.address}" ]
        ++ lib.optional (given.interface != null) "dev ${given.interface}"
        ++ lib.optional (given.source != null) "src ${given.source}"
        ++ lib.optional (given.metric != null) "metric ${toString given.metric}"
      )
    );
  gateways = gatewayLine "4" cfg.defaultGateway ++ gatewayLine "6" cfg.defaultGateway6;
  # `ip -batch` does not take -4 and -6 within a line
  gatewayCommands = map (line: "${ip} ${line}") gateways;

  asking = lib.filter (given: given.useDHCP == true && given.name != "eth0") all;

  made = bonds ++ bridges ++ vlans ++ macvlans;
  lines = made ++ lib.concatMap batch all;
  file = pkgs.writeText "interfaces.batch" (lib.concatMapStrings (line: "${line}\n") lines);
  needed = lines != [ ] || gateways != [ ] || cfg.localCommands != "";

  member = extra: mkOption {
    type = types.attrsOf (types.submodule { options = extra; });
    default = { };
  };
  parent = mkOption {
    type = types.str;
    description = "The interface below.";
  };
  parts = mkOption {
    type = types.listOf types.str;
    default = [ ];
    description = "The interfaces that it joins.";
  };
in
{
  options.networking = {
    interfaces = mkOption {
      type = types.attrsOf (types.submodule interface);
      default = { };
      example = { eth1.ipv4.addresses = [ { address = "192.168.1.10"; prefixLength = 24; } ]; };
      description = "Interfaces by their names. Those on segments have an address from the machine's number, and those given here too.";
    };
    bridges = member {
      interfaces = parts;
      rstp = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the bridge speaks the spanning tree protocol.";
      };
    } // { description = "Bridges."; };
    vlans = member {
      id = mkOption {
        type = types.ints.between 0 4094;
        description = "The VLAN's number in the frames' tags.";
      };
      interface = parent;
    } // { description = "Interfaces of tagged VLANs."; };
    macvlans = member {
      interface = parent;
      mode = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "The mode.";
      };
    } // { description = "Interfaces of type macvlan."; };
    bonds = member {
      interfaces = parts;
      driverOptions = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = { mode = "active-backup"; };
        description = "Options of the driver.";
      };
    } // { description = "Bonds."; };
    defaultGateway = mkOption {
      type = types.nullOr gateway;
      default = null;
      example = "192.168.1.1";
      description = "The default route's gateway; null: the host's NAT, on eth0.";
    };
    defaultGateway6 = mkOption {
      type = types.nullOr gateway;
      default = null;
      description = "The same for IPv6.";
    };
    localCommands = mkOption {
      type = types.lines;
      default = "";
      example = "ip addr add 10.0.0.1/8 dev dummy0";
      description = "Shell commands after the interfaces are set.";
    };
    useDHCP = mkOption {
      type = types.bool;
      default = true;
      description = "Accepted for NixOS' sake. The interface to the host is set from the start, and segments have no DHCP server unless a machine runs one.";
    };
    useNetworkd = mkOption {
      type = types.bool;
      default = false;
      description = "Accepted: interfaces are set without a daemon.";
    };
    usePredictableInterfaceNames = mkOption {
      type = types.bool;
      default = false;
      description = "Interfaces of these machines are eth0 (to the host), eth1, ... (segments).";
    };
    dhcpcd.enable = mkOption {
      type = types.bool;
      default = true;
      description = "Accepted for NixOS' sake; no client runs.";
    };
    networkmanager.enable = mkOption {
      type = types.bool;
      default = false;
      description = "NetworkManager; not available in these machines.";
    };
    wireless.enable = mkOption {
      type = types.bool;
      default = false;
      description = "Wireless networks; these machines have no such hardware.";
    };
    primaryIPAddress = mkOption {
      type = types.str;
      default = (builtins.head (cfg.interfaces.eth1.ipv4.addresses or [ ] ++ [ { address = ""; } ])).address;
      defaultText = "the first address of eth1";
      description = "The machine's address on its first segment.";
    };
    primaryIPv6Address = mkOption {
      type = types.str;
      default = (builtins.head (cfg.interfaces.eth1.ipv6.addresses or [ ] ++ [ { address = ""; } ])).address;
      defaultText = "the first IPv6 address of eth1";
      description = "The machine's IPv6 address on its first segment.";
    };
  };

  config = {
    assertions = [
      {
        assertion = !cfg.networkmanager.enable;
        message = "networking.networkmanager.enable: the machines' interfaces are set without a daemon; set addresses by networking.interfaces.<name>";
      }
      {
        assertion = !cfg.wireless.enable;
        message = "networking.wireless.enable: the machines have no wireless hardware";
      }
    ];

    boot.kernelModules =
      lib.optional (cfg.bridges != { }) "bridge"
      ++ lib.optional (cfg.vlans != { }) "8021q"
      ++ lib.optional (cfg.bonds != { }) "bonding"
      ++ lib.optional (cfg.macvlans != { }) "macvlan"
      ++ lib.optional (lib.any (given: given.virtual) all) "tun"
      ++ lib.optional (lib.any (given: lib.hasPrefix "dummy" given.name) all) "dummy";
    boot.kernel.sysctl = lib.listToAttrs (
      map (given: lib.nameValuePair "net.ipv4.conf.${given.name}.proxy_arp" 1) (lib.filter (given: given.proxyARP) all)
    );

    users.users = lib.optionalAttrs (asking != [ ]) {
      # Debian's client gives up its privileges to this user
      _dhcpcd = {
        isSystemUser = true;
        group = "_dhcpcd";
        home = "/var/lib/dhcpcd";
      };
    };
    users.groups = lib.optionalAttrs (asking != [ ]) { _dhcpcd = { }; };

    systemd.services = lib.optionalAttrs (asking != [ ]) {
      dhcpcd = {
        description = "DHCP client";
        wantedBy = [ "multi-user.target" "network-online.target" ];
        wants = [ "network.target" ];
        after = [ "network-pre.target" "network-setup.service" ];
        before = [ "network-online.target" ];
        serviceConfig = {
          ExecStart = "${pkgs.dhcpcd}/bin/dhcpcd --nobackground --nohook resolv.conf ${lib.concatMapStringsSep " " (given: given.name) asking}";
          StateDirectory = "dhcpcd";
          RuntimeDirectory = "dhcpcd";
          Restart = "on-failure";
          RestartSec = 2;
        };
      };
    }
    // lib.optionalAttrs needed {
      network-setup = {
        description = "Interfaces and routes";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network.target" ];
        after = [ "network-pre.target" ];
        before = [ "network.target" "network-online.target" "shutdown.target" ];
        conflicts = [ "shutdown.target" ];
        unitConfig.DefaultDependencies = false;
        path = [ pkgs.iproute2 ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart =
            lib.optional (lines != [ ]) "${ip} -force -batch ${file}"
            ++ gatewayCommands
            ++ lib.optional (cfg.localCommands != "") (pkgs.writeShellScript "local-commands" cfg.localCommands);
        };
      };
    };
  };
}
