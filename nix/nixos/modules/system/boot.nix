# boot.*: kernel parameters, modules and sysctls. The kernel itself is the layer's; there is no boot loader.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  inherit (builtins) map toString;
  cfg = config.boot;
  sysctlValue = types.nullOr (types.oneOf [ types.bool types.str types.int ]);
  ignored = type: default: mkOption { inherit type default; description = "Accepted for compatibility: machines are booted by the program, with a kernel and first file system of its own."; };
in
{
  options.boot = {
    kernelParams = mkOption { type = types.listOf (types.strMatching "([^\"[:space:]]|\"[^\"]*\")+"); default = [ ]; description = "Words added to the kernel's command line."; };
    consoleLogLevel = mkOption { type = types.int; default = 4; description = "The kernel's messages above this level are not shown on the console."; };
    kernelModules = mkOption { type = types.listOf types.str; default = [ ]; description = "Kernel modules that are loaded at boot."; };
    blacklistedKernelModules = mkOption { type = types.listOf types.str; default = [ ]; description = "Kernel modules that are not loaded by themselves."; };
    extraModprobeConfig = mkOption { type = types.lines; default = ""; description = "Lines of modprobe.d(5)."; };
    extraModulePackages = ignored (types.listOf types.package) [ ];
    kernelPackages = mkOption { type = types.raw; default = pkgs.linuxPackages; defaultText = lib.literalExpression "pkgs.linuxPackages"; description = "The kernel's packages; the kernel booted is Debian's."; };
    kernel.enable = mkOption { type = types.bool; default = true; description = "Whether the machine has a kernel of its own."; };
    kernel.features = ignored types.attrs { };
    kernelPatches = ignored (types.listOf types.attrs) [ ];
    kernel.sysctl = mkOption {
      type = types.attrsOf sysctlValue;
      default = { };
      example = { "net.ipv4.tcp_syncookies" = false; "vm.swappiness" = 60; };
      description = "Kernel parameters set at run time, as sysctl(8) names them; null leaves one alone.";
    };
    tmp = {
      useTmpfs = mkOption { type = types.bool; default = false; description = "Whether /tmp is in memory."; };
      tmpfsSize = mkOption { type = types.oneOf [ types.str types.ints.positive ]; default = "50%"; description = "The size of /tmp in memory."; };
      cleanOnBoot = mkOption { type = types.bool; default = false; description = "Whether /tmp is emptied at boot."; };
    };
    isContainer = mkOption { type = types.bool; default = false; description = "Whether the system is a container."; };
    hardwareScan = ignored types.bool true;
    supportedFilesystems = ignored (types.coercedTo (types.listOf types.str) (l: lib.genAttrs l (_: true)) (types.attrsOf types.bool)) { };
    growPartition = ignored types.bool false;
    resumeDevice = ignored types.str "";
    devShmSize = mkOption { type = types.str; default = "50%"; description = "The size of /dev/shm."; };
    devSize = ignored types.str "5%";
    runSize = ignored types.str "25%";
    postBootCommands = mkOption { type = types.lines; default = ""; description = "Shell commands run at boot, before systemd."; };
    extraSystemdUnitPaths = ignored (types.listOf types.str) [ ];
    loader = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility: there is no boot loader."; };
    initrd = mkOption {
      default = { };
      description = "The first file system is the program's own; modules named here are loaded at boot.";
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options = {
          enable = mkOption { type = types.bool; default = true; description = "Accepted for compatibility."; };
          kernelModules = mkOption { type = types.listOf types.str; default = [ ]; description = "Kernel modules that are loaded at boot."; };
          availableKernelModules = mkOption { type = types.listOf types.str; default = [ ]; description = "Accepted for compatibility."; };
        };
      };
    };
    plymouth.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
  };
  options.hardware = mkOption {
    type = types.submodule { freeformType = types.attrsOf types.anything; };
    default = { };
    description = "Accepted for compatibility: a machine has no hardware but QEMU's.";
  };
  options.powerManagement = mkOption {
    type = types.submodule { freeformType = types.attrsOf types.anything; };
    default = { };
    description = "Accepted for compatibility.";
  };

  config = {
    boot.kernel.sysctl = {
      "kernel.kptr_restrict" = lib.mkDefault 1;
      "net.core.rmem_max" = lib.mkDefault 1048576;
      "fs.inotify.max_user_instances" = lib.mkDefault 524288;
      "fs.inotify.max_user_watches" = lib.mkDefault 524288;
    };
    environment.etc = {
      "sysctl.d/60-nixos.conf".text = lib.concatStrings (lib.mapAttrsToList
        (n: v: lib.optionalString (v != null) "${n}=${if v == false then "0" else toString v}\n")
        cfg.kernel.sysctl);
      "modules-load.d/nixos.conf".text = lib.concatMapStrings (m: "${m}\n") (cfg.initrd.kernelModules ++ cfg.kernelModules);
    } // lib.optionalAttrs (cfg.blacklistedKernelModules != [ ] || cfg.extraModprobeConfig != "") {
      "modprobe.d/nixos.conf".text = lib.concatMapStrings (m: "blacklist ${m}\n") cfg.blacklistedKernelModules + cfg.extraModprobeConfig;
    };
    system.activation.manifest = lib.mkMerge [
      (lib.mkOrder 300 (map (m: [ "module" m ]) (lib.unique (cfg.initrd.kernelModules ++ cfg.kernelModules))))
      (lib.mkOrder 600 (lib.concatLists (lib.mapAttrsToList
        # a key of a module that may be missing is no failure
        (n: v: lib.optional (v != null) [ "sysctl" "-${n}" (if v == false then "0" else if v == true then "1" else toString v) ])
        cfg.kernel.sysctl)))
      (lib.mkIf cfg.tmp.useTmpfs (lib.mkOrder 350 [ [ "mount" "tmpfs" "/tmp" "tmpfs" "mode=1777,nosuid,nodev,size=${toString cfg.tmp.tmpfsSize}" ] ]))
      (lib.mkIf cfg.tmp.cleanOnBoot (lib.mkOrder 360 [ [ "tmpfile" "D" "/tmp" "1777" "root" "root" "" ] ]))
      (lib.mkIf (cfg.postBootCommands != "") (lib.mkOrder 2500 [ [ "script" "postBootCommands" "${pkgs.writeShellScript "local-cmds" "[ \"$NIXOS_ACTION\" = boot ] || exit 0\n${cfg.postBootCommands}"}" ] ]))
    ];
  };
}
