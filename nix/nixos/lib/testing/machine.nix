# Every machine of a test, as on NixOS: it has a screen unless it says otherwise, root logs in on it without a password,
# and its PATH has what scripts of tests take for granted.
{ lib, pkgs, ... }: {
  virtualisation.graphics = lib.mkOverride 1400 true;
  users.users.root.initialHashedPassword = lib.mkOverride 1400 "";
  environment.systemPackages = lib.mkAfter (with pkgs; [ host nettools iputils kbd perl rsync strace netcat ]);
}
