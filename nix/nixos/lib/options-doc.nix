# The options of a machine, as records: [ { name, type, description, default ? , example ?, declarations, readOnly } ].
{ hostSystem ? builtins.currentSystem, modules ? [ ] }:
let
  lib = import ../../lib;
  machine = import ./eval-config.nix { system = hostSystem; inherit lib modules; };
  root = toString ../..;
  shorten = file: if lib.hasPrefix "${root}/" file then "<nixpkgs/${lib.removePrefix "${root}/" file}>" else file;
  # Defaults that are computed have a defaultText; of the rest only plain values are shown.
  plain = v:
    builtins.isString v || builtins.isInt v || builtins.isBool v || builtins.isFloat v || v == null
    || (builtins.isList v && lib.all plain v) || v == { };
  literal = v: if v ? _type && v ? text then v.text else if plain v then lib.generators.toPretty { multiline = false; } v else null;
  text = v: if v ? _type && v ? text then v.text else if builtins.isString v then v else literal v;
  record = opt:
    let
      default =
        if opt ? defaultText then text opt.defaultText
        else if opt ? default then literal opt.default
        else null;
      sub = opt.type.getSubOptions opt.loc;
      shown = !(opt.internal or false) && opt.visible or true != false;
    in
    lib.optional shown ({
      name = lib.showOption opt.loc;
      type = opt.type.description;
      description = let d = opt.description or ""; in if builtins.isAttrs d then d.text or "" else if d == null then "" else d;
      declarations = map shorten (opt.declarations or [ ]);
      readOnly = opt.readOnly or false;
    }
    // lib.optionalAttrs (default != null) { inherit default; }
    // lib.optionalAttrs (opt ? example && literal opt.example != null) { example = literal opt.example; })
    ++ lib.optionals (shown && opt.visible or true != "shallow") (records (removeAttrs sub [ "_module" ]));
  records = options: lib.concatMap record (lib.collect lib.isOption options);
in
records (removeAttrs machine.options [ "_module" ])
