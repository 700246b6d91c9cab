# virtualisation: the virtual machine around a configuration. The plan reads these options (lib/network.nix).
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  number = cfg.test.nodeNumber;

  # In order: those of `vlans` are eth1, eth2, ...; then those with a name.
  segments =
    lib.imap1 (index: vlan: { name = "eth${toString index}"; inherit vlan; assignIP = true; }) cfg.vlans
    ++ lib.mapAttrsToList (name: given: { inherit name; inherit (given) vlan assignIP; }) cfg.interfaces;

  endpoint = {
    address = mkOption {
      type = types.str;
      default = "";
      description = "The address; empty: the loopback interface of the host, the machine's own address of the guest.";
    };
    port = mkOption {
      type = types.port;
      description = "The port.";
    };
  };
  ignored = type: default: what: mkOption {
    inherit type default;
    description = "Accepted for NixOS' sake: ${what}";
  };
in
{
  options.virtualisation = {
    memorySize = mkOption {
      type = types.ints.positive;
      default = 1024;
      description = "Memory of the machine, MiB.";
    };
    cores = mkOption {
      type = types.ints.positive;
      default = 1;
      description = "Processors of the machine.";
    };
    diskSize = mkOption {
      type = types.either (types.enum [ "auto" ]) types.ints.positive;
      default = 1024;
      apply = size: if size == "auto" then 1024 else size;
      description = "Size of the root disk, MiB. The disk is sparse.";
    };
    diskImage = mkOption {
      type = types.nullOr types.str;
      default = "./${config.system.name}.img";
      defaultText = "a file in the state directory";
      description = "null: the root is in memory. Other values: a disk in the state directory of the run.";
    };
    emptyDiskImages = mkOption {
      type = types.listOf (
        types.coercedTo types.ints.positive (size: { inherit size; }) (
          types.submodule {
            options = {
              size = mkOption {
                type = types.ints.positive;
                description = "Size, MiB.";
              };
              driveConfig = ignored types.attrs { } "the disks are virtio block devices.";
            };
          }
        )
      );
      default = [ ];
      example = [ 512 1024 ];
      description = "Sizes of further, empty disks, MiB: /dev/vdb, /dev/vdc, ...";
    };
    graphics = mkOption {
      type = types.bool;
      default = false;
      description = "Give the machine a screen. (NixOS' default is true.)";
    };
    resolution = mkOption {
      type = types.attrs;
      default = { x = 1024; y = 768; };
      description = "Size of the screen.";
    };
    vlans = mkOption {
      type = types.listOf (types.ints.between 1 255);
      default = if cfg.interfaces == { } then [ 1 ] else [ ];
      defaultText = "[ 1 ]";
      example = [ 1 2 ];
      description = "Segments that the machine is on: eth1, eth2, ... in this order.";
    };
    interfaces = mkOption {
      type = types.attrsOf (
        types.submodule {
          options = {
            vlan = mkOption {
              type = types.ints.between 1 255;
              description = "The segment.";
            };
            assignIP = mkOption {
              type = types.bool;
              default = false;
              description = "Whether the interface gets the machine's address on the segment.";
            };
          };
        }
      );
      default = { };
      example = { wan = { vlan = 2; assignIP = true; }; };
      description = "Interfaces on segments, by names of your own.";
    };
    links = (import ../../lib/links.nix { inherit lib; }).option;
    forwardPorts = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            from = mkOption {
              type = types.enum [ "host" "guest" ];
              default = "host";
              description = "Who connects: `host`: a port of the host leads to the machine; `guest`: an address of the machine's network leads to the host.";
            };
            proto = mkOption {
              type = types.enum [ "tcp" "udp" ];
              default = "tcp";
              description = "The protocol.";
            };
            host = endpoint;
            guest = endpoint;
          };
        }
      );
      default = [ ];
      example = [ { host.port = 8080; guest.port = 80; } ];
      description = "Ports that lead from the host to the machine or the other way. The firewall of the machine holds for them too.";
    };
    restrictNetwork = mkOption {
      type = types.bool;
      default = false;
      description = "Let nothing out of the machine by eth0.";
    };
    sharedDirectories = mkOption {
      type = types.attrsOf (
        types.submodule {
          options = {
            source = mkOption {
              type = types.str;
              description = "Folder of the host.";
            };
            target = mkOption {
              type = types.path;
              description = "Where the machine sees it.";
            };
            securityModel = ignored types.str "mapped-xattr" "folders are shared by virtio-fs.";
          };
        }
      );
      default = { };
      example = { work = { source = "/home/me/work"; target = "/work"; }; };
      description = "Folders of the host that the machine shares.";
    };
    additionalPaths = mkOption {
      type = types.listOf types.path;
      default = [ ];
      description = "Further store paths for the machine's store.";
    };

    qemu = {
      options = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "-vga std" ];
        apply = lib.concatMap (entry: lib.filter (word: word != "") (lib.splitString " " entry));
        description = "Further arguments of QEMU. An entry may have several words.";
      };
      package = ignored types.unspecified null "the host's QEMU is used.";
      networkingOptions = ignored (types.listOf types.str) [ ] "eth0 is set by restrictNetwork and forwardPorts.";
      consoles = ignored (types.listOf types.str) [ ] "the machine has one console.";
      drives = ignored (types.listOf types.attrs) [ ] "use emptyDiskImages.";
      diskInterface = ignored types.str "virtio" "disks are virtio block devices.";
      guestAgent.enable = ignored types.bool false "the machine is controlled by a channel of its own.";
      virtioKeyboard = ignored types.bool true "machines with a screen have a keyboard.";
      forceAccel = ignored types.bool false "the accelerator is chosen by what works.";
    };

    test = {
      nodeNumber = mkOption {
        type = types.ints.between 1 254;
        default = 1;
        description = "N of the addresses 192.168.V.N and 2001:db8:V::N; in a network its default follows the alphabetical order of the machines.";
      };
      nodeName = mkOption {
        type = types.str;
        default = config.system.name;
        defaultText = "the machine's name";
        description = "The machine's attribute name.";
      };
    };

    host.pkgs = ignored types.unspecified null "the host's programs are its own.";
    writableStore = ignored types.bool false "the store is read-only.";
    writableStoreUseTmpfs = ignored types.bool true "the store is read-only.";
    useNixStoreImage = ignored types.bool true "the store is an image.";
    mountHostNixStore = ignored types.bool false "the store is an image.";
    useBootLoader = ignored types.bool false "machines boot without a boot loader.";
    useEFIBoot = ignored types.bool false "machines boot without firmware.";
    useDefaultFilesystems = ignored types.bool true "the root is a disk of the run.";
    useHostCerts = ignored types.bool false "certificates are those of Debian.";
    rootDevice = ignored (types.nullOr types.str) "/dev/vda" "the root disk.";
    bootDevice = ignored types.str "/dev/vda" "the root disk.";
    directBoot.enable = ignored types.bool true "machines always boot so.";
    msize = ignored types.ints.positive 16384 "there is no 9p.";
    tpm.enable = ignored types.bool false "machines have no TPM.";
    credentials = ignored types.attrs { } "no credentials are passed.";
    fileSystems = ignored types.attrs { } "file systems of the machine are in fileSystems.";
  };

  options.networking.segmentInterfaces = mkOption {
    internal = true;
    readOnly = true;
    type = types.listOf types.str;
    default = map (entry: entry.name) segments;
    defaultText = "from virtualisation.vlans and virtualisation.interfaces";
    description = "Interfaces that are on segments: their addresses are set before systemd starts.";
  };

  config = {
    assertions = [
      {
        assertion = lib.length (lib.unique (map (entry: entry.name) segments)) == lib.length segments;
        message = "virtualisation.interfaces: a name is one of those that virtualisation.vlans gives (eth1, eth2, ...)";
      }
    ];

    networking.interfaces = lib.listToAttrs (
      map (
        entry:
        lib.nameValuePair entry.name {
          ipv4.addresses = lib.optional entry.assignIP {
            address = "192.168.${toString entry.vlan}.${toString number}";
            prefixLength = 24;
          };
          ipv6.addresses = lib.optional entry.assignIP {
            address = "2001:db8:${toString entry.vlan}::${toString number}";
            prefixLength = 64;
          };
        }
      ) segments
    );

    system.activation.manifest = lib.mapAttrsToList (tag: given: [ "mount" tag given.target "virtiofs" "rw" ]) cfg.sharedDirectories;
  };
}
