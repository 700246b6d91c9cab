# A network of machines: from the value of network.nix to the plan (JSON, crate `plan`) and the toplevels.
{
  # what network.nix evaluates to, or its path
  network
  # the host's system, for machines that do not say theirs
, hostSystem ? builtins.currentSystem
, specialArgs ? { }
, extraModules ? [ ]
  # folder of the nixpkgs tree that the network lies in, or null
, tree ? null
}:
let
  lib = import ../../lib;
  inherit (builtins) attrNames concatMap filter isAttrs isFunction isPath isString length listToAttrs map match toString unsafeGetAttrPos;
  inherit (lib.diagnostics) fail describe;

  sharedPkgs = lib.genAttrs [ "x86_64-linux" "i686-linux" "aarch64-linux" "riscv64-linux" ]
    (system: import ../../pkgs { localSystem = { inherit system; }; });
  pkgsFor = system: sharedPkgs.${system} or (import ../../pkgs { localSystem = { inherit system; }; });

  read = if isPath network then import network else network;
  value =
    if lib.isFunction read then
      let
        formals = lib.functionArgs read;
        args = { inherit lib; pkgs = pkgsFor hostSystem; nodes = nodes; };
      in
      read (if formals == { } then args else builtins.intersectAttrs formals args // unknownArgs formals args)
    else read;
  # An argument that is asked for and not there is named.
  unknownArgs = formals: args: builtins.mapAttrs
    (name: _: fail {
      code = "unknown-argument";
      message = "the network asks for the argument `${name}`; there are `lib`, `pkgs` and `nodes`";
      pos = unsafeGetAttrPos name formals;
    })
    (lib.filterAttrs (name: optional: !optional && !(args ? ${name})) formals);
  set =
    if isAttrs value && !lib.isDerivation value then value
    else fail {
      code = "not-a-network";
      message = "the network is ${describe value}, not a set of machines";
      pos = if isPath network then { file = toString network; line = 1; column = 1; } else null;
      hint = "a network is a set whose attributes are machines: { web = { pkgs, ... }: { ... }; }";
    };

  # Attributes that are no machines.
  isMeta = name: name == "meta" || name == "testSteps" || name == "defaults" || name == "_file"
    || (name == "network" && isAttrs set.network && removeAttrs set.network [ "description" "enableRollback" "nixpkgs" "storage" ] == { });
  names = filter (name: !(isMeta name)) (attrNames set);
  machineNames =
    if names == [ ] then
      fail {
        code = "empty-network";
        message = "the network has no machine";
        hint = "each attribute of the set is a machine: { web = { pkgs, ... }: { ... }; }";
      }
    else map checkName names;
  checkName = name:
    if match "[a-zA-Z0-9]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?" name != null then name
    else fail {
      code = "bad-machine-name";
      message = "the machine name `${name}` cannot be a host name";
      pos = unsafeGetAttrPos name set;
      hint = "host names have 1 to 63 letters, digits and hyphens, with no hyphen at either end";
    };
  moduleOf = name:
    let machine = set.${name}; in
    if lib.isFunction machine || isPath machine || (isAttrs machine && !lib.isDerivation machine) then machine
    else if isString machine && lib.hasPrefix "/" machine then machine
    else fail {
      code = "not-a-machine";
      message = "the machine `${name}` is ${describe machine}; a machine is a function, a set or a path of a file with one";
      pos = unsafeGetAttrPos name set;
    };
  defaults = lib.toList (set.defaults or [ ]);
  file = set._file or null;

  numbers = listToAttrs (lib.imap1 (number: name: { inherit name; value = number; }) machineNames);
  evaluate = name: import ./eval-config.nix {
    inherit lib pkgsFor extraModules tree;
    system = hostSystem;
    specialArgs = { inherit nodes name; } // set.meta.specialArgs or { } // set.meta.nodeSpecialArgs.${name} or { } // specialArgs;
    modules = [
      {
        _file = "lib/network.nix";
        networking.hostName = lib.mkDefault name;
        virtualisation.test.nodeName = lib.mkDefault name;
        virtualisation.test.nodeNumber = lib.mkDefault numbers.${name};
      }
    ] ++ map (located "`defaults` of the network") defaults ++ [ (located "machine `${name}`" (moduleOf name)) ];
  };
  # Functions and sets have no file of their own; errors then name the machine.
  located = what: m: if isPath m || isString m then m else { _file = what; imports = [ m ]; };
  machines = lib.genAttrs machineNames evaluate;
  # What machines see of each other.
  nodes = lib.mapAttrs (_: m: m.config // { inherit (m) config options pkgs; }) machines;

  plan = {
    version = 1;
    machines = checkNames (checkNumbers (map describeMachine machineNames));
  };
  # Two machines that answer to one name: a name must mean one of them.
  checkNames = list:
    let
      entries = concatMap
        (m:
          let full = if m.domain == null || m.domain == "" then m.hostName else "${m.hostName}.${m.domain}"; in
          map (name: { inherit name; machine = m.name; })
            (lib.unique ([ full ] ++ lib.optional (m.targetHost != null) m.targetHost)))
        list;
      taken = builtins.groupBy (e: e.name) entries;
      clash = filter (n: length taken.${n} > 1) (attrNames taken);
      name = builtins.head clash;
      inherit (machines.${(builtins.head taken.${name}).machine}) options;
    in
    if clash == [ ] then list
    else fail {
      code = "name-taken-twice";
      message = "the machines ${lib.concatMapStringsSep " and " (e: "`${e.machine}`") taken.${name}} have the same name `${name}`";
      pos = lib.diagnostics.posOf (options.networking.hostName.definitionsWithLocations or [ ]);
      hint = "names come from networking.hostName (without it, the machine's name), networking.domain and deployment.targetHost; each must mean one machine";
    };
  checkNumbers = list:
    let
      taken = builtins.groupBy (m: toString m.number) list;
      clash = filter (n: length taken.${n} > 1) (attrNames taken);
      two = taken.${builtins.head clash};
    in
    if clash == [ ] then list
    else fail {
      code = "number-taken-twice";
      message = "the machines ${lib.concatMapStringsSep " and " (m: "`${m.name}`") two} have the same number ${builtins.head clash}";
      hint = "numbers come from the alphabetical order of the names; set `virtualisation.test.nodeNumber` of one of them to a number that is free";
    };
  segmentsOf = import ./segments.nix { inherit lib; };
  describeMachine = name:
    let
      inherit (machines.${name}) config options;
      v = config.virtualisation;
      number = v.test.nodeNumber;
      toplevel = toplevels.${name};
      target = config.deployment.targetHost;
      optionalInt = value: if value == null then null else value;
    in
    {
      inherit name number;
      hostName = if config.networking.hostName == "" then name else config.networking.hostName;
      domain = config.networking.domain;
      targetHost = target;
      system = config.nixpkgs.hostPlatform.system;
      toplevel = "${toplevel}";
      kernelParams = config.boot.kernelParams;
      memoryMib = v.memorySize;
      cores = v.cores;
      diskMib = if v.diskImage == null then null else v.diskSize;
      emptyDisksMib = map (d: if isAttrs d then d.size else d) v.emptyDiskImages;
      interfaces = segmentsOf { inherit name config options number target; others = filter (n: n != name) machineNames; inherit machines; };
      forwardPorts = map
        (f: {
          inherit (f) from proto;
          host = { inherit (f.host) address port; };
          guest = { inherit (f.guest) address port; };
        })
        v.forwardPorts;
      restrictNetwork = v.restrictNetwork;
      graphics = v.graphics;
      qemuOptions = v.qemu.options;
      sharedDirectories = lib.mapAttrsToList (tag: d: { inherit tag; source = toString d.source; target = toString d.target; }) v.sharedDirectories;
      listeners = config.networking.listeners or [ ];
    };
  toplevels = lib.mapAttrs (_: m: m.config.system.build.checkedToplevel) machines;
in
{
  plan = builtins.toJSON plan;
  inherit toplevels nodes;
  # The plan as a value.
  network = plan;
  warnings = concatMap (name: map (w: "${name}: ${w}") machines.${name}.config.warnings) machineNames;
}
