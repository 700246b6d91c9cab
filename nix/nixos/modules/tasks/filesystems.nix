# fileSystems and swapDevices. The root, /usr and /nix/store are given by the program; what the configuration says of
# other places is mounted by activation, before systemd, without a process each.
{ config, lib, pkgs, utils, ... }:
let
  inherit (lib) mkOption types concatStringsSep;
  inherit (builtins) attrValues elem filter map;
  given = [ "/" "/usr" "/nix" "/nix/store" "/boot" "/proc" "/sys" "/dev" "/run" ];
  fsType = types.submodule ({ name, config, ... }: {
    options = {
      enable = mkOption { type = types.bool; default = true; description = "Whether the file system is mounted."; };
      mountPoint = mkOption { type = types.str; default = name; example = "/mnt/usb"; description = "Where it is mounted."; };
      stratis.poolUuid = mkOption { type = types.nullOr types.str; default = null; description = "Accepted for compatibility."; };
      device = mkOption { type = types.nullOr types.str; default = null; example = "/dev/vdb"; description = "What is mounted."; };
      label = mkOption { type = types.nullOr types.str; default = null; description = "The label of what is mounted."; };
      fsType = mkOption { type = types.str; default = "auto"; example = "ext4"; description = "The type."; };
      options = mkOption { type = types.nonEmptyListOf types.str; default = [ "defaults" ]; example = [ "noatime" ]; description = "Options of the mount."; };
      depends = mkOption { type = types.listOf types.str; default = [ ]; description = "Places that are mounted before."; };
      overlay = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
      autoFormat = mkOption { type = types.bool; default = false; description = "Whether an empty disk is formatted."; };
      formatOptions = mkOption { type = types.nullOr types.str; default = null; visible = false; description = "Accepted for compatibility."; };
      autoResize = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
      noCheck = mkOption { type = types.bool; default = false; description = "Whether the file system is not checked."; };
      neededForBoot = mkOption { type = types.bool; default = false; description = "Accepted for compatibility: all are mounted before systemd."; };
      encrypted = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
    };
    config.device = lib.mkIf (config.label != null) (lib.mkDefault "/dev/disk/by-label/${config.label}");
  });
  all = filter (fs: fs.enable) (attrValues config.fileSystems);
  mine = filter (fs: !(elem fs.mountPoint given)) all;
  sorted = lib.toposort utils.fsBefore mine;
  ordered = sorted.result or (throw "fileSystems: ${concatStringsSep " and " (map (fs: fs.mountPoint) (sorted.loops or [ ]))} depend on each other");
  deviceOf = fs: if fs.device != null then fs.device else fs.fsType;
  bare = opts: concatStringsSep "," (filter (o: !(lib.hasPrefix "x-" o) && o != "nofail" && o != "auto" && o != "noauto" && o != "_netdev") opts);
  now = filter (fs: !(elem "noauto" fs.options) && !(lib.hasPrefix "nfs" fs.fsType) && fs.fsType != "cifs") ordered;
  format = filter (fs: fs.autoFormat) now;
  swaps = filter (s: s.device != "") config.swapDevices;
in
{
  options = {
    fileSystems = mkOption {
      type = types.attrsOf fsType;
      default = { };
      example = { "/data" = { device = "/dev/vdb"; fsType = "ext4"; autoFormat = true; }; };
      description = "File systems that are mounted. The root and the store are the program's own and stay as they are.";
    };
    swapDevices = mkOption {
      default = [ ];
      description = "Devices and files to swap to.";
      type = types.listOf (types.submodule ({ config, ... }: {
        options = {
          device = mkOption { type = types.str; default = ""; description = "The device or file."; };
          label = mkOption { type = types.str; default = ""; description = "The label."; };
          size = mkOption { type = types.nullOr types.int; default = null; description = "The size of the file, MiB, if it is to be made."; };
          priority = mkOption { type = types.nullOr types.int; default = null; description = "The priority."; };
          options = mkOption { type = types.listOf types.str; default = [ "defaults" ]; description = "Options."; };
          randomEncryption = mkOption { type = types.anything; default = false; description = "Accepted for compatibility."; };
          discardPolicy = mkOption { type = types.nullOr types.str; default = null; description = "Accepted for compatibility."; };
        };
        config.device = lib.mkIf (config.label != "") (lib.mkDefault "/dev/disk/by-label/${config.label}");
      }));
    };
    zramSwap = {
      enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
      memoryPercent = mkOption { type = types.int; default = 50; description = "Accepted for compatibility."; };
    };
  };
  config = {
    environment.etc.fstab.text =
      "# The root, /usr and /nix/store are mounted by the machine's first program.\n"
      + lib.concatMapStrings (fs: "${deviceOf fs} ${lib.replaceStrings [ " " ] [ "\\040" ] fs.mountPoint} ${fs.fsType} ${concatStringsSep "," fs.options} 0 ${if fs.noCheck || fs.fsType == "tmpfs" then "0" else "2"}\n") ordered
      + lib.concatMapStrings (s: "${s.device} none swap ${concatStringsSep "," s.options}${lib.optionalString (s.priority != null) ",pri=${toString s.priority}"}\n") swaps;
    system.activation.manifest = lib.mkMerge [
      (lib.mkIf (format != [ ]) (lib.mkOrder 310 [
        [
          "script" "autoFormat" "${pkgs.writeShellScript "auto-format" (lib.concatMapStrings
            (fs: ''
              if [ -b ${fs.device} ] && [ -z "$(${pkgs.util-linux}/bin/blkid -p -o value -s TYPE ${fs.device})" ]; then
                ${if lib.hasPrefix "ext" fs.fsType then "${pkgs.e2fsprogs}/bin/mkfs.${fs.fsType} -q -F" else "${pkgs.${{ xfs = "xfsprogs"; btrfs = "btrfs-progs"; vfat = "dosfstools"; f2fs = "f2fs-tools"; }.${fs.fsType} or (throw "fileSystems.${fs.mountPoint}: file systems of type ${fs.fsType} cannot be made")}}/bin/mkfs.${fs.fsType}"} ${fs.device}
              fi
            '')
            format)}"
        ]
      ]))
      (lib.mkOrder 320 (map (fs: [ "mount" (deviceOf fs) fs.mountPoint fs.fsType (bare fs.options) ]) now))
      (lib.mkIf (swaps != [ ]) (lib.mkOrder 330 [
        [
          "script" "swap" "${pkgs.writeShellScript "swap" (lib.concatMapStrings
            (s: ''
              ${lib.optionalString (s.size != null) ''
                if [ ! -e ${s.device} ]; then
                  ${pkgs.util-linux}/bin/fallocate -l ${toString s.size}M ${s.device} && chmod 0600 ${s.device} && ${pkgs.util-linux}/bin/mkswap ${s.device}
                fi
              ''}
              grep -q '^${s.device} ' /proc/swaps || ${pkgs.util-linux}/bin/swapon ${lib.optionalString (s.priority != null) "-p ${toString s.priority} "}${s.device}
            '')
            swaps)}"
        ]
      ]))
    ];
    assertions = map
      (fs: {
        assertion = fs.device != null || elem fs.fsType [ "tmpfs" "ramfs" "overlay" ];
        message = "fileSystems.\"${fs.mountPoint}\".device is not set";
      })
      mine;
  };
}
