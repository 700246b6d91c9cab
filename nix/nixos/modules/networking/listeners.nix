# Ports that services listen on, for `status` and the demo: which is open, and which option opens it.
{ config, lib, ... }:

let
  inherit (lib) mkOption types;
  firewall = config.networking.firewall;

  inside = port: given: lib.any (range: range.from <= port && port <= range.to) given;
  allowed =
    protocol: given: port:
    lib.elem port given."allowed${protocol}Ports" || inside port given."allowed${protocol}PortRanges";
  # Rules of one's own are not understood, only searched for the port.
  own = lib.concatStringsSep "\n" [ firewall.extraCommands firewall.extraInputRules ];
  open =
    entry:
    !firewall.enable
    || lib.any (word: lib.hasInfix word "${own}\n") (map (end: "dport ${toString entry.port}${end}") [ " " "\n" ])
    || allowed (lib.toUpper entry.proto) firewall entry.port
    || lib.any (given: allowed (lib.toUpper entry.proto) given entry.port) (lib.attrValues firewall.interfaces)
    || lib.any (name: name != "lo") firewall.trustedInterfaces;
in
{
  options.networking.listeners = mkOption {
    internal = true;
    default = [ ];
    description = "Ports that services of the configuration listen on.";
    type = types.listOf (
      types.submodule (
        { config, ... }:
        {
          options = {
            service = mkOption {
              type = types.str;
              description = "The service's name.";
            };
            proto = mkOption {
              type = types.enum [ "tcp" "udp" ];
              default = "tcp";
              description = "The protocol.";
            };
            port = mkOption {
              type = types.port;
              description = "The port.";
            };
            open = mkOption {
              type = types.bool;
              default = open config;
              defaultText = "by networking.firewall";
              description = "Whether the firewall lets it through.";
            };
            openedBy = mkOption {
              type = types.str;
              default = "networking.firewall.allowed${lib.toUpper config.proto}Ports";
              defaultText = "by the protocol";
              description = "The option that opens it.";
            };
          };
        }
      )
    );
  };
}
