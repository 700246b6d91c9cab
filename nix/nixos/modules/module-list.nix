# All modules of a machine. One line each; a folder's modules together, in alphabetical order.
[
  ./config/console.nix
  ./config/i18n.nix
  ./config/nix.nix
  ./config/shells.nix
  ./config/system-path.nix
  ./config/users.nix
  ./misc/assertions.nix
  ./misc/ids.nix
  ./misc/meta.nix
  ./misc/nixpkgs.nix
  ./misc/version.nix
  ./security/pam.nix
  ./security/wrappers.nix
  ./system/activation.nix
  ./system/boot.nix
  ./system/etc.nix
  ./system/switch.nix
  ./system/toplevel.nix
  ./systemd/journald.nix
  ./systemd/systemd.nix
  ./systemd/tmpfiles.nix
  ./systemd/upstream.nix
  ./systemd/user.nix
  ./tasks/filesystems.nix
]
++ import ./service-list.nix
