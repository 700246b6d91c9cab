# systemd's own units that are in effect: few, because each costs time at every boot, most of all under emulation.
# A service that needs more (udev, logind, D-Bus, getty) switches them on.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types optionals;
  cfg = config.systemd;
  sdLib = import ../../lib/systemd-lib.nix { inherit lib config pkgs; };
  # where the layer keeps the units of Debian's packages, out of systemd's sight
  from = "/usr/share/nbv/systemd/system";
  targets = [
    "basic.target" "sysinit.target" "sockets.target" "timers.target" "paths.target" "slices.target" "multi-user.target"
    "graphical.target" "local-fs-pre.target" "local-fs.target" "remote-fs-pre.target" "remote-fs.target" "swap.target"
    "network-pre.target" "network.target" "network-online.target" "nss-lookup.target" "nss-user-lookup.target"
    "time-set.target" "time-sync.target" "rpcbind.target" "getty.target" "getty-pre.target" "printer.target" "sound.target"
    "sleep.target" "first-boot-complete.target" "boot-complete.target" "soft-reboot.target"
    "shutdown.target" "umount.target" "final.target" "exit.target" "poweroff.target" "reboot.target" "halt.target" "kexec.target"
    "rescue.target" "emergency.target" "system-update-pre.target" "user.slice"
  ];
  ends = [
    "systemd-poweroff.service" "systemd-reboot.service" "systemd-halt.service" "systemd-exit.service"
    "systemd-soft-reboot.service" "systemd-kexec.service" "rescue.service" "emergency.service"
  ];
  # bookworm's systemd has no soft reboot
  old = [ "soft-reboot.target" "systemd-soft-reboot.service" ];
  names = lib.subtractLists (cfg.suppressedSystemUnits ++ optionals pkgs.stdenv.hostPlatform.isi686 old)
    (targets ++ ends ++ cfg.additionalUpstreamSystemUnits);
  link = unit: by: { name = "${by}.wants/${unit}"; path = "../${unit}"; };
in
{
  options.systemd = {
    additionalUpstreamSystemUnits = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "debug-shell.service" ];
      description = "Further units of systemd's own that are in effect.";
    };
    suppressedSystemUnits = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "systemd-backlight@.service" ];
      description = "Units of systemd's own that are taken out of effect.";
    };
    upstreamWants = mkOption {
      type = types.listOf types.str;
      internal = true;
      default = [ ];
      description = "Links UNIT.wants/NAME that systemd's own package would have.";
    };
  };
  config = {
    system.build.units = pkgs.nbvFarm "system-units" (
      sdLib.unitEntries {
        inherit (cfg) units packages;
        inherit from;
        upstream = lib.unique names;
        upstreamWants = map (w: { name = w; path = "../${baseNameOf w}"; }) cfg.upstreamWants;
      }
      ++ [
        { name = "default.target"; path = cfg.defaultUnit; }
        { name = "ctrl-alt-del.target"; path = cfg.ctrlAltDelUnit; }
      ]);
    environment.etc."systemd/system".source = config.system.build.units;
    # The network is there before systemd starts; scripts and units wait for its targets.
    systemd.upstreamWants = [ "multi-user.target.wants/network.target" "multi-user.target.wants/network-online.target" "multi-user.target.wants/remote-fs.target" ];

    # Generators read what the toplevel does not use (fstab, rc.local, partitions) and cost a process each at boot.
    systemd.generators = lib.genAttrs [
      "systemd-cryptsetup-generator" "systemd-debug-generator" "systemd-fstab-generator" "systemd-getty-generator"
      "systemd-gpt-auto-generator" "systemd-hibernate-resume-generator" "systemd-integritysetup-generator"
      "systemd-rc-local-generator" "systemd-run-generator" "systemd-ssh-generator" "systemd-system-update-generator"
      "systemd-sysv-generator" "systemd-tpm2-generator" "systemd-veritysetup-generator" "systemd-bless-boot-generator"
      "systemd-factory-reset-generator" "systemd-import-generator"
    ] (_: lib.mkDefault "/dev/null");
  };
}
