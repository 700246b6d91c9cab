# Faults of links: the option virtualisation.links, and what the plan says of it.
{ lib }:
let
  inherit (builtins) attrNames elemAt filter floor fromJSON isFloat isInt isString listToAttrs match;
  inherit (lib) mkOption types;
  inherit (lib.diagnostics) fail;

  # A text as a number in the unit of the scales, or null.
  measure = scales: text:
    let
      parts = if isString text then match "([0-9]+(\\.[0-9]+)?) *([a-z%]*)" text else null;
      unit = elemAt parts 2;
    in
    if parts == null || !(scales ? ${unit}) then null else fromJSON (elemAt parts 0) * scales.${unit};
  round = number: floor (number + 0.5);

  microseconds = measure { us = 1.0; ms = 1.0e3; s = 1.0e6; };
  share = value:
    let number = if isInt value || isFloat value then value * 1.0 else measure { "%" = 1.0e-2; } value; in
    if number == null || number < 0 || number > 1 then null else number;
  bits = value: if isInt value then (if value > 0 then value * 1.0 else null) else measure { bit = 1.0; kbit = 1.0e3; mbit = 1.0e6; gbit = 1.0e9; } value;

  type = name: description: check: types.mkOptionType {
    inherit name description check;
    descriptionClass = "noun";
    merge = lib.options.mergeEqualOption;
  };
  time = type "time" "time up to an hour, such as \"50ms\", \"200us\" or \"1.5s\"" (value: microseconds value != null && microseconds value <= 3.6e9);
  chance = type "share" "share, such as \"1%\" or 0.01" (value: share value != null);
  rate = type "rate" "rate, such as \"10mbit\", \"512kbit\" or a number of bits per second" (value: bits value != null && bits value >= 1 && bits value <= 1.0e12);

  value = type: example: description: mkOption {
    type = types.nullOr type;
    default = null;
    inherit example description;
  };
  # In the plan's words: name -> { name; of; }.
  values = {
    delay = { option = value time "50ms" "Time that a frame is under way."; name = "delayUs"; of = v: round (microseconds v); };
    jitter = { option = value time "5ms" "The delay varies by up to this much, both ways; the order of frames stays."; name = "jitterUs"; of = v: round (microseconds v); };
    loss = { option = value chance "1%" "Share of frames that are lost."; name = "loss"; of = share; };
    duplicate = { option = value chance "0.1%" "Share of frames that come twice."; name = "duplicate"; of = share; };
    reorder = { option = value chance "1%" "Share of frames that are overtaken by the next one."; name = "reorder"; of = share; };
    corrupt = { option = value chance "0.1%" "Share of frames that come with a wrong bit."; name = "corrupt"; of = share; };
    rate = { option = value rate "10mbit" "Bits per second, counted over whole frames."; name = "rate"; of = v: round (bits v); };
    queue = { option = value (types.ints.between 1 65535) 100 "Frames that wait for the rate at most (1000 without a word); more are dropped."; name = "queue"; of = v: v; };
    mtu = { option = value (types.ints.between 1 65535) 1400 "Longest payload of a frame, bytes; frames beyond are dropped."; name = "mtu"; of = v: v; };
    cut = { option = value types.bool true "Nothing passes."; name = "cut"; of = v: v; };
  };
  valueOptions = lib.mapAttrs (_: v: v.option) values;
  direction = what: mkOption {
    type = types.submodule { options = valueOptions; };
    default = { };
    description = "Values for frames ${what} alone; they go before those for both directions.";
  };

  # The faults of a direction: what it says itself, else what is said for both; the later link wins.
  resolve = given: name:
    listToAttrs (lib.concatMap
      (key:
        let
          said = filter (v: v != null) (map (link: if link.${name}.${key} != null then link.${name}.${key} else link.${key}) given);
        in
        if said == [ ] then [ ] else [ { name = values.${key}.name; value = values.${key}.of (lib.last said); } ])
      (attrNames values));
in
{
  option = mkOption {
    type = types.attrsOf (types.submodule {
      options = valueOptions // {
        incoming = direction "to the machine";
        outgoing = direction "from the machine";
        seed = mkOption {
          type = types.nullOr types.ints.unsigned;
          default = null;
          example = 42;
          description = "Seed of the chances (loss, jitter, ...). The same seed gives the n-th frame of a kind (receiver, protocol) the same fate in each run; without one it is made from the link's name.";
        };
      };
    });
    default = { };
    example = { eth1 = { delay = "50ms"; loss = "1%"; outgoing.rate = "1mbit"; }; };
    description = ''
      Faults of the machine's links from the start, by the interface (`eth1`), or by the segment (`vlan1`: each of its interfaces on that segment; what an
      interface says itself goes first). They can be changed while the network runs: `nixos-build-vms link`.
    '';
  };

  # The faults of one of the machine's interfaces for the plan, or null.
  faultsOf = links: interface:
    let
      names = filter (name: links ? ${name}) [ "vlan${toString interface.segment}" interface.name ];
      given = map (name: links.${name}) names;
      seeds = filter (s: s != null) (map (link: link.seed) given);
      both = { outgoing = resolve given "outgoing"; incoming = resolve given "incoming"; };
    in
    if names == [ ] then null
    else both // lib.optionalAttrs (seeds != [ ]) { seed = lib.last seeds; };

  # Fails when a link is none of the machine's.
  check = { name, options, links, interfaces }:
    let
      known = lib.unique (lib.concatMap (i: [ i.name "vlan${toString i.segment}" ]) interfaces);
      unknown = filter (link: !(lib.elem link known)) (attrNames links);
      link = builtins.head unknown;
    in
    if unknown == [ ] then true
    else fail {
      code = "no-such-link";
      message = "the machine `${name}` has no link `${link}`";
      pos = lib.diagnostics.posOf (map
        (d: { pos = if builtins.isAttrs d.value then builtins.unsafeGetAttrPos link d.value else null; })
        (options.virtualisation.links.definitionsWithLocations or [ ]));
      hint = if known == [ ] then "it is on no segment; virtualisation.vlans gives it interfaces" else "virtualisation.links has the names ${lib.concatStringsSep ", " known}";
    };
}
