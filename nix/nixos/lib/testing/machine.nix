# Every machine of a test, as on NixOS: it has a screen unless it says otherwise, and root logs in on it without a password.
{ lib, ... }: {
  virtualisation.graphics = lib.mkOverride 1400 true;
  users.users.root.initialHashedPassword = lib.mkOverride 1400 "";
}
