# Platforms: `elaborate "x86_64-linux"` gives what packages and modules ask about a platform.
{ lib }:
let
  inherit (builtins) attrNames elem elemAt filter head isString length listToAttrs map mapAttrs match removeAttrs;
  cpus = {
    i386 = { bits = 32; family = "x86"; arch = "i386"; };
    i486 = { bits = 32; family = "x86"; arch = "i486"; };
    i586 = { bits = 32; family = "x86"; arch = "i586"; };
    i686 = { bits = 32; family = "x86"; arch = "i686"; };
    x86_64 = { bits = 64; family = "x86"; arch = "x86-64"; };
    armv5tel = { bits = 32; family = "arm"; version = "5"; arch = "armv5t"; };
    armv6l = { bits = 32; family = "arm"; version = "6"; arch = "armv6"; };
    armv7a = { bits = 32; family = "arm"; version = "7"; arch = "armv7-a"; };
    armv7l = { bits = 32; family = "arm"; version = "7"; arch = "armv7"; };
    aarch64 = { bits = 64; family = "arm"; version = "8"; arch = "armv8-a"; };
    riscv32 = { bits = 32; family = "riscv"; };
    riscv64 = { bits = 64; family = "riscv"; };
    powerpc64 = { bits = 64; family = "power"; bigEndian = true; };
    powerpc64le = { bits = 64; family = "power"; };
    loongarch64 = { bits = 64; family = "loongarch"; };
    mips64el = { bits = 64; family = "mips"; };
    mipsel = { bits = 32; family = "mips"; };
    s390x = { bits = 64; family = "s390"; bigEndian = true; };
    wasm32 = { bits = 32; family = "wasm"; };
  };
  kernels = {
    linux = { execFormat = "elf"; families = { }; };
    darwin = { execFormat = "macho"; families.darwin = { }; };
    freebsd = { execFormat = "elf"; families.bsd = { }; };
    netbsd = { execFormat = "elf"; families.bsd = { }; };
    openbsd = { execFormat = "elf"; families.bsd = { }; };
    windows = { execFormat = "pe"; families = { }; };
    none = { execFormat = "unknown"; families = { }; };
  };
  linuxArch = cpu:
    if cpu.family == "x86" then (if cpu.bits == 64 then "x86_64" else "i386")
    else if cpu.family == "arm" then (if cpu.bits == 64 then "arm64" else "arm")
    else if cpu.family == "power" then "powerpc" else if cpu.family == "s390" then "s390" else cpu.family;
  parseSystem = system:
    let
      parts = lib.splitString "-" system;
      n = length parts;
      cpuName = head parts;
      # cpu-kernel, cpu-vendor-kernel or cpu-vendor-kernel-abi
      kernelName = if n == 2 then elemAt parts 1 else if n >= 3 then elemAt parts (if n == 3 && kernels ? ${elemAt parts 1} then 1 else 2) else null;
      abiName = if n == 4 then elemAt parts 3 else if n == 3 && kernels ? ${elemAt parts 1} then elemAt parts 2 else "gnu";
      vendor = if n == 4 || (n == 3 && !(kernels ? ${elemAt parts 1})) then elemAt parts 1 else if kernelName == "darwin" then "apple" else "unknown";
      cpu = cpus.${cpuName} or null;
      kernel = kernels.${kernelName} or null;
    in
    if n < 2 || cpu == null || kernel == null then
      throw "`${system}` is not a system that is known here; examples of systems: x86_64-linux, i686-linux, aarch64-linux"
    else {
      _type = "system";
      cpu = {
        _type = "cpu-type";
        name = cpuName;
        inherit (cpu) bits family;
        significantByte = { _type = "significant-byte"; name = if cpu.bigEndian or false then "bigEndian" else "littleEndian"; };
      } // (if cpu ? version then { inherit (cpu) version; } else { }) // (if cpu ? arch then { inherit (cpu) arch; } else { });
      kernel = {
        _type = "kernel";
        name = kernelName;
        execFormat = { _type = "exec-format"; name = kernel.execFormat; };
        families = mapAttrs (name: _: { _type = "exec-format"; inherit name; }) kernel.families;
      };
      vendor = { _type = "vendor"; name = vendor; };
      abi = { _type = "abi"; name = abiName; };
    };
  doubleOf = p: "${p.cpu.name}-${p.kernel.name}";
  multiarch = p:
    let c = p.cpu.name; in
    if p.cpu.family == "x86" && p.cpu.bits == 32 then "i386-linux-gnu"
    else if c == "armv7l" then "arm-linux-gnueabihf"
    else "${c}-linux-gnu";
  elaborate = args:
    let
      given = if isString args then { system = args; } else args;
      parsed = given.parsed or (parseSystem (given.config or given.system or (throw "elaborate: neither `system` nor `config` is given")));
      inherit (parsed) cpu kernel;
      linux = kernel.name == "linux";
      x86 = cpu.family == "x86";
      self = {
        _type = "platform";
        inherit parsed;
        system = doubleOf parsed;
        config = "${cpu.name}-${parsed.vendor.name}-${kernel.name}-${parsed.abi.name}";
        isi686 = x86 && cpu.bits == 32;
        isx86_32 = x86 && cpu.bits == 32;
        isx86_64 = x86 && cpu.bits == 64;
        isx86 = x86;
        isAarch = cpu.family == "arm";
        isAarch32 = cpu.family == "arm" && cpu.bits == 32;
        isAarch64 = cpu.family == "arm" && cpu.bits == 64;
        isArmv7 = cpu.version or "" == "7";
        isArmv6 = cpu.version or "" == "6";
        isRiscV = cpu.family == "riscv";
        isRiscV32 = cpu.family == "riscv" && cpu.bits == 32;
        isRiscV64 = cpu.family == "riscv" && cpu.bits == 64;
        isPower = cpu.family == "power";
        isPower64 = cpu.family == "power" && cpu.bits == 64;
        isLoongArch64 = cpu.family == "loongarch";
        isMips = cpu.family == "mips";
        isS390 = cpu.family == "s390";
        isS390x = cpu.name == "s390x";
        isWasm = cpu.family == "wasm";
        is32bit = cpu.bits == 32;
        is64bit = cpu.bits == 64;
        isILP32 = cpu.bits == 32;
        isLittleEndian = cpu.significantByte.name == "littleEndian";
        isBigEndian = cpu.significantByte.name == "bigEndian";
        isLinux = linux;
        isDarwin = kernel.name == "darwin";
        isMacOS = kernel.name == "darwin";
        isiOS = false;
        isBSD = kernel.families ? bsd || kernel.families ? darwin;
        isFreeBSD = kernel.name == "freebsd";
        isNetBSD = kernel.name == "netbsd";
        isOpenBSD = kernel.name == "openbsd";
        isWindows = kernel.name == "windows";
        isCygwin = false;
        isMinGW = false;
        isNone = kernel.name == "none";
        isUnix = kernel.name != "windows" && kernel.name != "none";
        isGnu = parsed.abi.name == "gnu" && linux;
        isMusl = parsed.abi.name == "musl";
        isElf = kernel.execFormat.name == "elf";
        isMacho = kernel.execFormat.name == "macho";
        isStatic = given.isStatic or false;
        isEfi = x86 || cpu.family == "arm" && cpu.bits == 64 || cpu.family == "riscv";
        isCompatible = other: self.canExecute other;
        canExecute = other:
          other.parsed.kernel.name == kernel.name
          && (other.parsed.cpu.name == cpu.name || (x86 && other.parsed.cpu.family == "x86" && cpu.bits >= other.parsed.cpu.bits));
        emulatorAvailable = _: true;
        libc = if linux then (if parsed.abi.name == "musl" then "musl" else "glibc") else "libc";
        linker = "bfd";
        linuxArch = linuxArch cpu;
        efiArch =
          if x86 then (if cpu.bits == 64 then "x64" else "ia32")
          else if cpu.name == "aarch64" then "aa64" else if cpu.family == "arm" then "arm" else cpu.name;
        qemuArch =
          if x86 then (if cpu.bits == 64 then "x86_64" else "i386")
          else if cpu.family == "arm" && cpu.bits == 32 then "arm" else cpu.name;
        darwinArch = if cpu.name == "aarch64" then "arm64" else cpu.name;
        uname = {
          system = if linux then "Linux" else if kernel.name == "darwin" then "Darwin" else kernel.name;
          processor = cpu.name;
          release = null;
        };
        extensions = {
          sharedLibrary = if kernel.name == "darwin" then ".dylib" else ".so";
          staticLibrary = ".a";
          library = if kernel.name == "darwin" then ".dylib" else ".so";
          executable = "";
        };
        hasSharedLibraries = true;
        # Debian's name for folders of libraries.
        debianMultiarch = multiarch parsed;
        linux-kernel = {
          name = if cpu.bits == 64 then "pc64" else "pc32";
          baseConfig = "defconfig";
          target = if x86 then "bzImage" else "Image";
          autoModules = true;
        };
        gcc = if x86 && cpu.bits == 32 then { arch = "i686"; } else { };
        rust = { rustcTarget = "${cpu.name}-unknown-linux-gnu"; cargoShortTarget = "${cpu.name}-unknown-linux-gnu"; };
        go = { GOARCH = { x86_64 = "amd64"; i686 = "386"; aarch64 = "arm64"; }.${cpu.name} or cpu.name; GOOS = kernel.name; };
        node = { arch = { x86_64 = "x64"; i686 = "ia32"; aarch64 = "arm64"; }.${cpu.name} or cpu.name; platform = kernel.name; };
      };
    in
    if isAttrs' args && args ? _type && args._type == "platform" then args
    else self // removeAttrs given [ "system" ];
  isAttrs' = builtins.isAttrs;
  all = [
    "i686-linux" "x86_64-linux" "aarch64-linux" "armv5tel-linux" "armv6l-linux" "armv7a-linux" "armv7l-linux"
    "loongarch64-linux" "mips64el-linux" "mipsel-linux" "powerpc64-linux" "powerpc64le-linux" "riscv32-linux" "riscv64-linux" "s390x-linux"
    "x86_64-darwin" "aarch64-darwin" "i686-freebsd" "x86_64-freebsd" "x86_64-netbsd" "x86_64-openbsd" "x86_64-windows" "i686-windows"
  ];
  where = pred: filter (s: pred (elaborate s)) all;
in
rec {
  inherit elaborate;
  systemEquals = a: b: (elaborate a).system == (elaborate b).system && (elaborate a).config == (elaborate b).config;
  equals = systemEquals;
  # Which processor features go with which architecture name of a compiler: none are looked at here.
  architectures = { features = { default = [ ]; }; inferiors = { }; };
  platforms = { pc = { linux-kernel.target = "bzImage"; }; select = _: { }; };
  flakeExposed = [ "x86_64-linux" "aarch64-linux" "i686-linux" "riscv64-linux" ];
  parse = {
    mkSystemFromString = parseSystem;
    doubleFromSystem = doubleOf;
    tripleFromSystem = p: "${p.cpu.name}-${p.vendor.name}-${p.kernel.name}-${p.abi.name}";
    isSystem = x: x._type or "" == "system";
    cpuTypes = cpus;
    inherit kernels;
  };
  inspect = {
    predicates = lib.genAttrs (filter (n: lib.hasPrefix "is" n) (attrNames (elaborate "x86_64-linux")))
      (name: p: (elaborate { parsed = p; system = doubleOf p; }).${name});
    patterns = {
      isx86_64 = { cpu = { family = "x86"; bits = 64; }; };
      isi686 = { cpu = { family = "x86"; bits = 32; }; };
      isAarch64 = { cpu = { family = "arm"; bits = 64; }; };
      isLinux = { kernel = { name = "linux"; }; };
    };
  };
  examples = {
    gnu64.config = "x86_64-unknown-linux-gnu";
    gnu32.config = "i686-unknown-linux-gnu";
    aarch64-multiplatform.config = "aarch64-unknown-linux-gnu";
    riscv64.config = "riscv64-unknown-linux-gnu";
    musl64.config = "x86_64-unknown-linux-musl";
  };
  supported = { tier1 = [ "x86_64-linux" ]; hydra = flakeExposed; };
  doubles = {
    inherit all;
    none = [ ];
    linux = where (p: p.isLinux);
    darwin = where (p: p.isDarwin);
    unix = where (p: p.isUnix);
    x86 = where (p: p.isx86);
    x86_64 = where (p: p.isx86_64);
    i686 = where (p: p.isi686);
    arm = where (p: p.isAarch32);
    aarch = where (p: p.isAarch);
    aarch64 = where (p: p.isAarch64);
    riscv = where (p: p.isRiscV);
    riscv64 = where (p: p.isRiscV64);
    mips = where (p: p.isMips);
    power = where (p: p.isPower);
    s390 = where (p: p.isS390);
    freebsd = where (p: p.isFreeBSD);
    netbsd = where (p: p.isNetBSD);
    openbsd = where (p: p.isOpenBSD);
    windows = where (p: p.isWindows);
    gnu = where (p: p.isGnu);
    musl = [ ];
    littleendian = where (p: p.isLittleEndian);
    bigendian = where (p: p.isBigEndian);
    allBut = excluded: filter (x: !(elem x excluded)) all;
  };
}
