# A machine without a screen.
{ lib, ... }:
{
  virtualisation.graphics = lib.mkDefault false;
  systemd.enableEmergencyMode = false;
}
