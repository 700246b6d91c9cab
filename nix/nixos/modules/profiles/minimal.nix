# A machine without what only people at a screen need. The embedded modules leave that out anyway.
{ lib, ... }:
{
  documentation.enable = lib.mkDefault false;
  environment.defaultPackages = lib.mkDefault [ ];
}
