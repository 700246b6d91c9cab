# What is known of a system: the part of nixpkgs' platform attributes that configurations read, and Debian's names.
{ lib, system }:

let
  known = {
    "x86_64-linux" = {
      cpu = "x86_64";
      debian = "amd64";
      suite = "trixie";
      triplet = "x86_64-linux-gnu";
      loader = "/lib64/ld-linux-x86-64.so.2";
      bits = 64;
      efi = "x64";
      linux = "x86_64";
    };
    "i686-linux" = {
      cpu = "i686";
      debian = "i386";
      suite = "bookworm";
      triplet = "i386-linux-gnu";
      loader = "/lib/ld-linux.so.2";
      bits = 32;
      efi = "ia32";
      linux = "i386";
    };
    "aarch64-linux" = {
      cpu = "aarch64";
      debian = "arm64";
      suite = "trixie";
      triplet = "aarch64-linux-gnu";
      loader = "/lib/ld-linux-aarch64.so.1";
      bits = 64;
      efi = "aa64";
      linux = "arm64";
    };
    "riscv64-linux" = {
      cpu = "riscv64";
      debian = "riscv64";
      suite = "trixie";
      triplet = "riscv64-linux-gnu";
      loader = "/lib/ld-linux-riscv64-lp64d.so.1";
      bits = 64;
      efi = "riscv64";
      linux = "riscv";
    };
  };
  facts =
    known.${system} or (throw "unsupported system \"${system}\"; supported: ${lib.concatStringsSep ", " (lib.attrNames known)}");
in
{
  inherit system;
  config = "${facts.cpu}-unknown-linux-gnu";
  libc = "glibc";
  debian = { inherit (facts) suite triplet; architecture = facts.debian; };
  dynamicLinker = facts.loader;
  efiArch = facts.efi;
  linuxArch = facts.linux;
  parsed = {
    cpu = {
      name = facts.cpu;
      bits = facts.bits;
      significantByte.name = "littleEndian";
    };
    kernel.name = "linux";
    abi.name = "gnu";
    vendor.name = "unknown";
  };
  uname = {
    system = "Linux";
    processor = facts.cpu;
  };
  qemuArch = if facts.cpu == "i686" then "i386" else facts.cpu;

  isLinux = true;
  isUnix = true;
  isGnu = true;
  isLittleEndian = true;
  isBigEndian = false;
  isDarwin = false;
  isMusl = false;
  isStatic = false;
  isFreeBSD = false;
  isWindows = false;
  is64bit = facts.bits == 64;
  is32bit = facts.bits == 32;
  isx86 = facts.cpu == "x86_64" || facts.cpu == "i686";
  isx86_64 = facts.cpu == "x86_64";
  isx86_32 = facts.cpu == "i686";
  isi686 = facts.cpu == "i686";
  isAarch = facts.cpu == "aarch64";
  isAarch64 = facts.cpu == "aarch64";
  isAarch32 = false;
  isArmv7 = false;
  isRiscV = facts.cpu == "riscv64";
  isRiscV64 = facts.cpu == "riscv64";
  isPower = false;
  isMips = false;
  isS390 = false;
  isS390x = false;
  isLoongArch64 = false;
  isEfi = true;
  canExecute = other: other.system == system;
  emulator = _: throw "pkgs.stdenv.hostPlatform.emulator: programs of other systems are not run in builds";
}
