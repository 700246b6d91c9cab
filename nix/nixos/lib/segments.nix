# The interfaces of a machine on the segments, with their addresses.
{ lib }:
{ name, config, options, number, target, others, machines }:
let
  inherit (builtins) elem elemAt filter head length map match toString;
  inherit (lib.diagnostics) fail;
  v = config.virtualisation;
  links = import ./links.nix { inherit lib; };
  hex2 = n: lib.fixedWidthString 2 "0" (lib.toLower (lib.toHexString n));

  vlans = lib.imap1 (i: segment: { name = "eth${toString i}"; inherit segment; }) v.vlans;
  extra = lib.mapAttrsToList (n: i: { name = n; segment = i.vlan; }) (v.interfaces or { });
  all = vlans ++ extra;

  usual4 = segment: "192.168.${toString segment}.${toString number}/24";
  usual6 = segment: "2001:db8:${toString segment}::${toString number}/64";
  configured = ifname: family:
    map (a: "${a.address}/${toString a.prefixLength}") (config.networking.interfaces.${ifname}.${family}.addresses or [ ]);
  addressesOf = i:
    let
      own4 = configured i.name "ipv4";
      own6 = configured i.name "ipv6";
    in
    (if own4 != [ ] then own4 else [ (usual4 i.segment) ]) ++ (if own6 != [ ] then own6 else [ (usual6 i.segment) ]);

  ## deployment.targetHost as an address
  targetPos = lib.diagnostics.posOf (map
    (d: { pos = if builtins.isAttrs d.value then builtins.unsafeGetAttrPos "targetHost" d.value else null; })
    (options.deployment.definitionsWithLocations or [ ]));
  v4 = if target == null then null else match "([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})\\.([0-9]{1,3})" target;
  isV6 = target != null && v4 == null && match "[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:]*" target != null;
  plain = a: head (lib.splitString "/" a);
  have = lib.concatMap (i: map plain (addressesOf i)) all;
  octets = map lib.toIntBase10 v4;
  why = reason: fail {
    code = "bad-target-host";
    message = "deployment.targetHost of `${name}` is ${target}, ${reason}";
    pos = targetPos;
    hint = "its own addresses are ${lib.concatStringsSep ", " have}; a name works too: it is given to this machine in the whole network";
  };
  # { index, address } of the interface that takes the address, or null
  added =
    if target == null || elem target have then null
    else if v4 != null then
      let
        segment = elemAt octets 2;
        last = elemAt octets 3;
        takenBy = filter (other: elem number' (map (n: n) [ machines.${other}.config.virtualisation.test.nodeNumber ])) others;
        number' = last;
        fits = filter (i: i.segment == segment) all;
      in
      if builtins.any (o: o > 255) octets then why "which is not an IPv4 address"
      else if elemAt octets 0 != 192 || elemAt octets 1 != 168 || fits == [ ] then
        why "which is an address of none of its segments"
      else if last == 0 || last == 255 then why "which is not an address of a machine"
      else if last == 254 || takenBy != [ ] then
        why "which belongs to ${if takenBy != [ ] then "the machine `${head takenBy}`" else "the segment itself"}"
      else { interface = (head fits).name; address = "${target}/24"; }
    else if isV6 then
      let
        fits = filter (i: lib.hasPrefix "2001:db8:${toString i.segment}::" (lib.toLower target)) all;
        takenBy = filter
          (other: elem (lib.toLower target) (map (i: "2001:db8:${toString i.segment}::${toString machines.${other}.config.virtualisation.test.nodeNumber}") all))
          others;
      in
      if fits == [ ] then why "which is an address of none of its segments"
      else if takenBy != [ ] then why "which belongs to the machine `${head takenBy}`"
      else { interface = (head fits).name; address = "${lib.toLower target}/64"; }
    else null;
in
assert links.check { inherit name options; links = v.links; interfaces = all; };
map
  (i: let faults = links.faultsOf v.links i; in {
    inherit (i) name segment;
    mac = "52:54:00:12:${hex2 i.segment}:${hex2 number}";
    addresses = addressesOf i ++ lib.optional (added != null && added.interface == i.name) added.address;
  } // lib.optionalAttrs (faults != null) { inherit faults; })
  all
