# Options that this library lacks, from a nixpkgs tree: which modules of the tree declare what a configuration uses.
#
# A module of the tree is taken only when it declares none of the options that are there already. What it reads of the
# configuration (`config.a.b` in its text) is looked for in the same way. Definitions of such modules that meet no option
# and are not in effect are left out.
{ lib, root, pkgs }:
let
  inherit (builtins) all any attrNames concatMap elem elemAt filter head isAttrs isList length map match pathExists readFile split toString tryEval;
  folder = "${root}/nixos/modules";
  modules = map (m: rec {
    path = toString m;
    name = lib.removeSuffix ".nix" (lib.removeSuffix "/default.nix" (lib.removePrefix "${folder}/" path));
    text = readFile (if lib.hasSuffix ".nix" path then path else path + "/default.nix");
    inherit (optionsOf path) value;
  }) (filter (m: !(isAttrs m) && lib.tree.resolve (toString m) == toString m && toString m != "${folder}/rename.nix") (import "${folder}/module-list.nix"));

  # What a module declares, as far as it can be told without a configuration.
  optionsOf = path:
    let
      module = import path;
      given = {
        inherit lib pkgs;
        config = unknown;
        options = unknown;
        utils = import ./utils.nix { inherit lib pkgs; config = unknown; };
        modulesPath = folder;
      };
      called =
        if lib.isFunction module then
          module (lib.mapAttrs (name: _: given.${name} or unknown) (lib.functionArgs module) // given)
        else module;
      found = tryEval (let o = called.options or { }; in builtins.seq (isAttrs o) o);
    in
    { value = if found.success then found.value else { }; };
  unknown = throw "not known yet";
  isActive = value: lib.modules.dischargeProperties value != [ ];
  isOption = v: isAttrs v && v._type or null == "option";

  # Whether a set of options has an option at a path, or the path is an inner one of it.
  has = path: options:
    let
      look = path: o:
        if isOption o || path == [ ] then true
        else isAttrs o && o ? ${head path} && look (builtins.tail path) o.${head path};
      found = tryEval (look path options);
    in
    found.success && found.value;
  # Whether two sets of options declare the same one.
  overlap = a: b:
    isOption a || isOption b
    || any (name: b ? ${name} && overlap a.${name} b.${name}) (attrNames a);

  word = w: text: match ".*[^A-Za-z0-9_-]${lib.escapeRegex w}[^A-Za-z0-9_-].*" text != null;
  # The module that declares an option, or null.
  providerOf = wanted:
    let
      w = if length wanted < 2 then head wanted else elemAt wanted 1;
      near = filter (m: lib.hasInfix (lib.toLower w) (lib.toLower m.name)) modules;
      declares = m: has wanted m.value;
      first = lib.findFirst declares null near;
    in
    if first != null then first
    else lib.findFirst declares null (filter (m: word w m.text) modules);

  # Options that a module's text reads: [ "services" "nginx" ].
  reads = m: lib.unique (map (found: [ (head found) (elemAt found 1) ])
    (filter isList (split "config\\.([a-z][A-Za-z0-9]*)\\.([a-z][A-Za-z0-9_-]*)" m.text)));

  # All modules of the tree that a set of wanted options leads to, by what they read.
  close = declared: chosen: wanted:
    let
      missing = filter (w: !(has w declared) && !(any (m: has w m.value) chosen)) wanted;
      candidates = filter (m: m != null && !(elem m.path (map (c: c.path) chosen)) && !(overlap m.value declared)) (map providerOf missing);
      new = lib.foldl' (list: m: if any (c: c.path == m.path || overlap c.value m.value) (chosen ++ list) then list else list ++ [ m ]) [ ] candidates;
    in
    if new == [ ] then chosen
    else close declared (chosen ++ new) (concatMap reads new);
in
{
  inherit folder;
  # evaluate: modules -> { options, unmatched }, not checked. Gives the paths of the tree's modules that are needed.
  needed = evaluate:
    let
      base = evaluate [ ];
      declared = removeAttrs base.options [ "_module" ];
      round = chosen:
        let
          result = if chosen == [ ] then base else evaluate (map (m: m.path) chosen);
          wanted = map (u: u.full) (filter (u: any (d: !(lib.tree.below folder d.file) || isActive d.value) u.defs) result.unmatched);
          more = close declared chosen wanted;
        in
        if length more == length chosen then chosen else round more;
    in
    map (m: m.path) (round [ ]);
  # Fixed numbers of users and groups that this library does not list.
  ids =
    let file = "${folder}/misc/ids.nix"; in
    if !(pathExists file) then { }
    else
      let found = (import file { inherit lib; config = { }; }).config.ids; in
      {
        uids = lib.mapAttrs (_: lib.mkDefault) found.uids;
        gids = lib.mapAttrs (_: lib.mkDefault) found.gids;
      };
}
