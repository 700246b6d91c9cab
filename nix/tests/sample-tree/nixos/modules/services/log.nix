# Read by echo.nix.
{ lib, ... }: { options.services.echo-log.size = lib.mkOption { type = lib.types.int; default = 7; description = "Lines."; }; }
