# Options of NixOS that have no meaning in these machines, accepted so that configurations made for others evaluate.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  free = what: mkOption {
    type = types.submodule { freeformType = types.attrsOf types.anything; };
    default = { };
    description = "Accepted for compatibility: ${what}.";
  };
  flag = default: description: mkOption { type = types.bool; inherit default description; };
in
{
  options = {
    fonts = free "machines have no desktop";
    xdg = free "machines have no desktop";
    qt = free "machines have no desktop";
    gtk = free "machines have no desktop";
    sound = free "machines have no sound";
    system.fsPackages = mkOption { type = types.listOf types.package; default = [ ]; description = "Packages of file systems, for the system's path."; };
    system.requiredKernelConfig = mkOption { type = types.listOf types.raw; default = [ ]; internal = true; description = "Accepted for compatibility: the kernel is Debian's."; };
    security = {
      apparmor = free "the kernel's command line turns AppArmor off";
      audit = free "the kernel's command line turns auditing off";
      auditd = free "the kernel's command line turns auditing off";
      tpm2 = free "machines have no TPM";
      rtkit.enable = flag false "Accepted for compatibility: machines have no sound.";
      lockKernelModules = flag false "Whether no kernel module can be loaded once the machine is up.";
      protectKernelImage = flag false "Whether the running kernel cannot be replaced.";
      allowUserNamespaces = flag true "Whether users may make user namespaces.";
      unprivilegedUsernsClone = flag true "Whether ordinary users may make user namespaces.";
      forcePageTableIsolation = flag false "Accepted for compatibility.";
      virtualisation.flushL1DataCache = mkOption { type = types.nullOr types.str; default = null; description = "Accepted for compatibility."; };
      allowSimultaneousMultithreading = flag true "Accepted for compatibility.";
    };
  };
  config = {
    environment.systemPackages = config.system.fsPackages;
    boot.kernel.sysctl = lib.mkMerge [
      (lib.mkIf config.security.protectKernelImage { "kernel.kexec_load_disabled" = lib.mkDefault 1; })
      (lib.mkIf (!config.security.allowUserNamespaces) { "user.max_user_namespaces" = 0; })
    ];
    systemd.services.disable-kernel-module-loading = lib.mkIf config.security.lockKernelModules {
      description = "No more kernel modules";
      wantedBy = [ "multi-user.target" ];
      after = [ "multi-user.target" ];
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/bin/sh -c 'echo 1 >/proc/sys/kernel/modules_disabled'";
      };
    };
  };
}
