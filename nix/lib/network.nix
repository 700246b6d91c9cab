# Internet addresses.
{ lib }:
let
  hex = s: lib.toLower s;
  groupsOf = s:
    if s == "" then [ ] else lib.splitString ":" s;
  parse = addr:
    let
      halves = lib.splitString "::" addr;
      left = groupsOf (builtins.elemAt halves 0);
      right = if builtins.length halves == 2 then groupsOf (builtins.elemAt halves 1) else [ ];
      missing = 8 - builtins.length left - builtins.length right;
      all = if builtins.length halves == 2 then left ++ lib.genList (_: "0") missing ++ right else left;
    in
    if builtins.length halves > 2 || builtins.length all != 8 || missing < 0
      || !(builtins.all (g: builtins.match "[0-9a-fA-F]{1,4}" g != null) all)
    then throw "lib.network.ipv6.fromString: ${addr} is not an IPv6 address"
    else map hex all;
in
{
  ipv6 = {
    fromString = s:
      let
        halves = lib.splitString "/" s;
        address = lib.concatMapStringsSep ":" (g: lib.toLower (lib.toHexString (lib.fromHexString g))) (parse (builtins.head halves));
        prefixLength = if builtins.length halves == 2 then lib.toInt (builtins.elemAt halves 1) else 128;
      in
      if prefixLength < 0 || prefixLength > 128 then throw "lib.network.ipv6.fromString: ${s} has a bad prefix length"
      else { inherit address prefixLength; url = "[${address}]"; urlWithPort = port: "[${address}]:${toString port}"; };
  };
}
