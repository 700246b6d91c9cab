# deployment: where a machine is reached. Tools for deployment have more options here; they are accepted.
{ lib, ... }:

let
  inherit (lib) mkOption types;
in
{
  options.deployment = mkOption {
    default = { };
    description = "Where the machine is reached, and what tools for deployment say about it.";
    type = types.submodule {
      freeformType = types.attrsOf types.anything;
      options = {
        targetHost = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "web.example.net";
          description = "Name or address by which the machine is reached. The other machines of the network resolve the name; an address of a segment becomes the machine's.";
        };
        targetUser = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = "User for remote commands.";
        };
        targetPort = mkOption {
          type = types.nullOr types.port;
          default = null;
          description = "Port of the machine's SSH server.";
        };
        tags = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = "Words to choose machines by.";
        };
        keys = mkOption {
          type = types.attrsOf types.anything;
          default = { };
          description = "Secrets; accepted, not put on the machine.";
        };
      };
    };
  };
}
