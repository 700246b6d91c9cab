# Toplevels of `count` machines on the modules of a nixpkgs tree.
{ tree, names, count ? 2 }:
let
  pkgs = import ./stand-in.nix { inherit tree; names = import names; };
  machine = i: (import (tree + "/nixos/lib/eval-config.nix") {
    system = null;
    lib = import (tree + "/lib");
    modules = [{
      nixpkgs.pkgs = pkgs;
      networking.hostName = "m${toString i}";
      networking.firewall.allowedTCPPorts = [ 80 ];
      services.openssh.enable = true;
      fileSystems."/" = { device = "/dev/vda"; fsType = "ext4"; };
      boot.loader.grub.enable = false;
      documentation.enable = false;
      nix.enable = false;
      system.stateVersion = "24.11";
    }];
  }).config.system.build.toplevel.drvPath;
in builtins.genList (i: machine (i + 1)) count
