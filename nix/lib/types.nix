# Types of options: what values they take, and how several definitions become one value.
{ lib }:
let
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' functionArgs genList head
    isAttrs isBool isFloat isFunction isInt isList isPath isString length listToAttrs map mapAttrs match stringLength
    substring tail toString typeOf unsafeGetAttrPos zipAttrsWith isNull;
  inherit (lib.options) showOption getFiles getValues mergeDefaultOption mergeEqualOption mergeOneOption mergeUniqueOption conflict;
  inherit (lib.modules) mergeDefinitions;
  inherit (lib.modules.internal) defsByName prepareModules evalPrepared prepare;
  inherit (lib.diagnostics) fail posOf showDefs where;

  isType = type: x: (x._type or "") == type;
  setType = typeName: value: value // { _type = typeName; };

  # Merges two types that have the same functor, or gives null.
  defaultTypeMerge = f: f':
    let
      wrapped =
        if f.wrapped == null || f'.wrapped == null then null
        else f.wrapped.typeMerge f'.wrapped.functor;
      hasWrapped = f.wrapped != null && f'.wrapped != null;
      payload =
        if f.payload == null || f'.payload == null then null else f.binOp f.payload f'.payload;
    in
    if f.name != f'.name then null
    else if f.payload == null && f'.payload == null then
      (if !hasWrapped then (if f.wrapped == null && f'.wrapped == null then f.type else null)
      else if wrapped == null then null else f.type wrapped)
    else if payload == null then null
    else f.type payload;
  defaultFunctor = name: {
    inherit name;
    type = types.${name} or null;
    wrapped = null;
    payload = null;
    binOp = a: b: null;
  };
  # Functor of a type made from one other type.
  wrapping = name: make: elem: {
    inherit name;
    type = make;
    wrapped = elem;
    payload = null;
    binOp = a: b: null;
  };

  isOptionType = isType "option-type";
  mkOptionType =
    { name
    , description ? null
    , descriptionClass ? null
    , check ? (_: true)
    , merge ? mergeDefaultOption
    , emptyValue ? { }
    , getSubOptions ? (_: { })
    , getSubModules ? null
    , substSubModules ? (_: null)
    , typeMerge ? null
    , functor ? null
    , deprecationMessage ? null
    , nestedTypes ? { }
    }:
    let
      self = {
        _type = "option-type";
        inherit name check merge emptyValue getSubOptions getSubModules substSubModules deprecationMessage nestedTypes descriptionClass;
        functor = if functor != null then functor else defaultFunctor name // { type = self; };
        typeMerge = if typeMerge != null then typeMerge else defaultTypeMerge self.functor;
        description = if description == null then name else description;
      };
    in
    self;
  # A type's description within another's: in brackets unless its class is one of `plain`.
  phrase = plain: t:
    if elem (t.descriptionClass or null) plain then t.description or t.name else "(${t.description or t.name})";
  noun = phrase [ "noun" ];
  nounOrComposite = phrase [ "noun" "composite" ];
  nounOrConjunction = phrase [ "noun" "conjunction" ];

  scalar = name: description: check: mkOptionType {
    inherit name description check;
    descriptionClass = "noun";
    merge = mergeEqualOption;
  };
  stringLike = x: isString x;

  # A list's definitions as list of lists of definitions of elements.
  listMerge = elemType: loc: defs:
    map (e: e.value) (filter (e: e ? value) (concatLists (lib.imap1
      (n: def:
        lib.imap1
          (m: value:
            (mergeDefinitions (loc ++ [ "[definition ${toString n}-entry ${toString m}]" ]) elemType
              [ { inherit (def) file; inherit value; pos = def.pos or null; } ]).optionalValue)
          def.value)
      defs)));

  bounded = { name, description, check }: mkOptionType {
    inherit name description check;
    descriptionClass = "nonRestrictiveClause";
    merge = mergeEqualOption;
  };

  types = rec {
    inherit isType setType defaultTypeMerge defaultFunctor isOptionType mkOptionType;
    inherit types;

    raw = mkOptionType {
      name = "raw";
      description = "raw value";
      descriptionClass = "noun";
      check = _: true;
      merge = mergeOneOption;
    };
    unspecified = mkOptionType { name = "unspecified"; description = "unspecified value"; descriptionClass = "noun"; };
    anything = mkOptionType {
      name = "anything";
      description = "anything";
      descriptionClass = "noun";
      check = _: true;
      merge = loc: defs:
        let
          kindOf = v:
            if isAttrs v then (if lib.strings.isStringLike v then "stringCoercibleSet" else "set") else typeOf v;
          kinds = lib.unique (map (d: kindOf d.value) defs);
          kind = head kinds;
        in
        if length kinds > 1 then conflict loc defs null
        else if kind == "set" then (lazyAttrsOf anything).merge loc defs
        else if kind == "list" then
          (if length defs > 1 then mergeOneOption loc defs else (listOf anything).merge loc defs)
        else if kind == "lambda" then
          arg: anything.merge (loc ++ [ "<function body>" ]) (map (d: { inherit (d) file; value = d.value arg; }) defs)
        else if kind == "stringCoercibleSet" then mergeOneOption loc defs
        else mergeEqualOption loc defs;
    };
    bool = scalar "bool" "boolean" isBool;
    boolByOr = mkOptionType {
      name = "boolByOr";
      description = "boolean (merged using or)";
      descriptionClass = "noun";
      check = isBool;
      merge = _: defs: any (d: d.value) defs;
    };
    int = scalar "int" "signed integer" isInt;
    float = scalar "float" "floating point number" isFloat;
    number = either int float;
    numbers =
      let
        between = lowest: highest: bounded {
          name = "numberBetween";
          description = "integer or floating point number between ${toString lowest} and ${toString highest} (both inclusive)";
          check = x: (isInt x || isFloat x) && x >= lowest && x <= highest;
        };
        atLeast = { name, description, check }: bounded {
          inherit name description;
          check = x: (isInt x || isFloat x) && check x;
        };
      in
      {
        inherit between;
        nonnegative = atLeast { name = "numberNonnegative"; description = "nonnegative integer or floating point number, meaning >=0"; check = x: x >= 0; };
        positive = atLeast { name = "numberPositive"; description = "positive integer or floating point number, meaning >0"; check = x: x > 0; };
      };
    ints =
      let
        between = lowest: highest: bounded {
          name = "intBetween";
          description = "integer between ${toString lowest} and ${toString highest} (both inclusive)";
          check = x: isInt x && x >= lowest && x <= highest;
        };
        sized = signed: bits: lowest: highest: bounded {
          name = "${if signed then "signedInt" else "unsignedInt"}${toString bits}";
          description = "${toString bits} bit ${if signed then "signed" else "unsigned"} integer; between ${toString lowest} and ${toString highest} (both inclusive)";
          check = x: isInt x && x >= lowest && x <= highest;
        };
      in
      {
        inherit between;
        unsigned = bounded { name = "unsignedInt"; description = "unsigned integer, meaning >=0"; check = x: isInt x && x >= 0; };
        positive = bounded { name = "positiveInt"; description = "positive integer, meaning >0"; check = x: isInt x && x > 0; };
        u8 = sized false 8 0 255;
        u16 = sized false 16 0 65535;
        u32 = sized false 32 0 4294967295;
        s8 = sized true 8 (-128) 127;
        s16 = sized true 16 (-32768) 32767;
        s32 = sized true 32 (-2147483648) 2147483647;
      };
    port = ints.u16;

    str = scalar "str" "string" stringLike;
    string = lib.warn "types.string is deprecated; use types.str or types.separatedString" (separatedString "" // { name = "string"; });
    nonEmptyStr = scalar "nonEmptyStr" "non-empty string" (x: isString x && match "[[:space:]]*" x == null);
    singleLineStr = mkOptionType {
      name = "singleLineStr";
      description = "(optionally newline-terminated) single-line string";
      descriptionClass = "noun";
      check = x: isString x && match "[^\n\r]*\n?" x != null;
      merge = loc: defs: lib.removeSuffix "\n" (mergeEqualOption loc defs);
    };
    strMatching = pattern: mkOptionType {
      name = "strMatching ${lib.strings.escapeNixString pattern}";
      description = "string matching the pattern ${pattern}";
      descriptionClass = "noun";
      check = x: isString x && match pattern x != null;
      merge = mergeEqualOption;
      functor = defaultFunctor "strMatching" // {
        type = strMatching;
        payload = pattern;
        binOp = a: b: if a == b then a else null;
      };
    };
    separatedString = sep: mkOptionType {
      name = "separatedString";
      description = if sep == "" then "Concatenated string" else "strings concatenated with ${builtins.toJSON sep}";
      descriptionClass = "noun";
      check = isString;
      merge = _: defs: concatStringsSep sep (getValues defs);
      functor = defaultFunctor "separatedString" // {
        type = separatedString;
        payload = sep;
        binOp = a: b: if a == b then a else null;
      };
    };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";
    passwdEntry = entryType: addCheck entryType (s: !(isString s) || match "[^:\n]*" s != null) // {
      name = "passwdEntry ${entryType.name}";
      description = "${nounOrConjunction entryType}, not containing newlines or colons";
    };

    optionDescriptionPhrase = ok: t: if ok (t.descriptionClass or null) then t.description or t.name else "(${t.description or t.name})";
    attrs = mkOptionType {
      name = "attrs";
      description = "attribute set";
      check = isAttrs;
      merge = _: foldl' (acc: d: acc // d.value) { };
      emptyValue = { value = { }; };
    };
    package = mkOptionType {
      name = "package";
      descriptionClass = "noun";
      description = "package";
      check = x: lib.isDerivation x || lib.strings.isStorePath x;
      merge = loc: defs:
        let res = mergeOneOption loc defs; in
        if isString res && builtins.getContext res == { } then lib.toDerivation res
        else if lib.isDerivation res then res else lib.toDerivation res;
    };
    shellPackage = package // { check = x: lib.isDerivation x && x ? shellPath; description = "package that is a shell"; };
    pkgs = addCheck (unique { message = "a Nixpkgs pkgs set can not be merged with another pkgs set"; } attrs // {
      name = "pkgs";
      descriptionClass = "noun";
      description = "Nixpkgs package set";
    }) (x: x._type or null == "pkgs");
    pathWith = { inStore ? null, absolute ? null }:
      mkOptionType {
        name = "path";
        description =
          (if absolute == null then "" else if absolute then "absolute " else "relative ") + "path"
          + (if inStore == null then "" else if inStore then " in the Nix store" else " not in the Nix store");
        descriptionClass = "noun";
        check = x:
          let
            s = toString x;
            isAbsolute = substring 0 1 s == "/";
            isInStore = lib.hasPrefix builtins.storeDir s && match "${builtins.storeDir}/[^.].*" s != null;
          in
          lib.strings.isStringLike x
          && (absolute == null || absolute == isAbsolute)
          && (inStore == null || inStore == isInStore);
        merge = mergeEqualOption;
        functor = defaultFunctor "path" // {
          type = pathWith;
          payload = { inherit inStore absolute; };
          binOp = a: b: if a == b then a else null;
        };
      };
    path = pathWith { absolute = true; };
    pathInStore = pathWith { inStore = true; };
    externalPath = pathWith { absolute = true; inStore = false; };

    listOf = elemType: mkOptionType {
      name = "listOf";
      description = "list of ${nounOrComposite elemType}";
      descriptionClass = "composite";
      check = isList;
      merge = listMerge elemType;
      emptyValue = { value = [ ]; };
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "*" ]);
      getSubModules = elemType.getSubModules;
      substSubModules = m: listOf (elemType.substSubModules m);
      functor = wrapping "listOf" listOf elemType;
      nestedTypes.elemType = elemType;
    };
    nonEmptyListOf = elemType:
      let list = addCheck (listOf elemType) (l: l != [ ]); in
      list // {
        description = "non-empty ${list.description}";
        emptyValue = { };
        substSubModules = m: nonEmptyListOf (elemType.substSubModules m);
      };

    attrsOf = elemType: attrsWith { inherit elemType; };
    # Like attrsOf, but names are known before the definitions' conditions are.
    lazyAttrsOf = elemType: attrsWith { inherit elemType; lazy = true; };
    attrsWith = { elemType, lazy ? false, placeholder ? "name" }: mkOptionType {
      name = if lazy then "lazyAttrsOf" else "attrsOf";
      description = (if lazy then "lazy attribute set of " else "attribute set of ") + nounOrComposite elemType;
      descriptionClass = "composite";
      check = isAttrs;
      merge =
        if lazy then
          loc: defs:
            mapAttrs
              (name: ds: let m = mergeDefinitions (loc ++ [ name ]) elemType ds; in m.optionalValue.value or elemType.emptyValue.value or m.mergedValue)
              (defsByName loc defs)
        else
          loc: defs:
            let
              merged = mapAttrs (name: ds: mergeDefinitions (loc ++ [ name ]) elemType ds) (defsByName loc defs);
              undefined = filter (n: !merged.${n}.isDefined) (attrNames merged);
            in
            mapAttrs (_: m: m.mergedValue) (if undefined == [ ] then merged else removeAttrs merged undefined);
      emptyValue = { value = { }; };
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<${placeholder}>" ]);
      getSubModules = elemType.getSubModules;
      substSubModules = m: attrsWith { elemType = elemType.substSubModules m; inherit lazy placeholder; };
      functor = defaultFunctor "attrsWith" // {
        type = attrsWith;
        payload = { inherit elemType lazy placeholder; };
        binOp = a: b:
          let elem = a.elemType.typeMerge b.elemType.functor; in
          if elem == null || a.lazy != b.lazy then null
          else {
            elemType = elem;
            inherit (a) lazy;
            placeholder = if a.placeholder == "name" then b.placeholder else a.placeholder;
          };
        wrapped = elemType;
      };
      nestedTypes.elemType = elemType;
    };
    loaOf = elemType: attrsOf elemType;

    # Exactly one of several named alternatives: { name = value; }
    attrTag = tags:
      let choices = concatStringsSep ", " (attrNames tags); in
      mkOptionType {
        name = "attrTag";
        description = "attribute-tagged union with choices: ${choices}";
        descriptionClass = "noun";
        check = v: isAttrs v && length (attrNames v) == 1 && tags ? ${head (attrNames v)};
        getSubOptions = prefix: mapAttrs (name: opt: opt // { loc = prefix ++ [ name ]; declarations = opt.declarations or [ ]; }) tags;
        merge = loc: defs:
          let
            names = lib.unique (concatMap (d: attrNames d.value) defs);
            name = head names;
            opt = tags.${name};
          in
          if length names != 1 then
            fail {
              code = "conflicting-definitions";
              message = "the option `${showOption loc}` is defined both as ${lib.concatMapStringsSep " and as " (n: "`${n}`") names}; only one is allowed";
              pos = posOf defs;
              notes = map where defs;
            }
          else {
            ${name} = (lib.modules.evalOptionValue (loc ++ [ name ]) opt
              (map (d: { inherit (d) file; value = d.value.${name}; pos = unsafeGetAttrPos name d.value; }) defs)).value;
          };
        functor = defaultFunctor "attrTag" // {
          type = { tags, ... }: attrTag tags;
          payload = { inherit tags; };
          binOp = a: b: {
            tags = a.tags // b.tags // mapAttrs
              (name: opt: lib.modules.mergeOptionDecls [ name ] [ { options = opt; } { options = b.tags.${name}; } ])
              (builtins.intersectAttrs b.tags a.tags);
          };
        };
        nestedTypes = mapAttrs (_: o: o.type) tags;
      };

    uniq = unique { message = ""; };
    unique = { message }: type: mkOptionType {
      name = "unique";
      inherit (type) description descriptionClass check emptyValue getSubOptions getSubModules;
      merge = mergeUniqueOption { inherit message; inherit (type) merge; };
      substSubModules = m: uniq (type.substSubModules m);
      functor = wrapping "unique" (unique { inherit message; }) type;
      nestedTypes.elemType = type;
    };
    nullOr = elemType: mkOptionType {
      name = "nullOr";
      description = "null or ${nounOrConjunction elemType}";
      descriptionClass = "conjunction";
      check = x: x == null || elemType.check x;
      merge = loc: defs:
        let nulls = lib.count (d: d.value == null) defs; in
        if nulls == 0 then elemType.merge loc defs
        else if nulls == length defs then null
        else fail {
          code = "conflicting-definitions";
          message = "the option `${showOption loc}` is defined both null and not null";
          pos = posOf defs;
          notes = showDefs defs;
        };
      emptyValue = { value = null; };
      getSubOptions = elemType.getSubOptions;
      getSubModules = elemType.getSubModules;
      substSubModules = m: nullOr (elemType.substSubModules m);
      functor = wrapping "nullOr" nullOr elemType;
      nestedTypes.elemType = elemType;
    };
    functionTo = elemType: mkOptionType {
      name = "functionTo";
      description = "function that evaluates to a(n) ${nounOrComposite elemType}";
      descriptionClass = "composite";
      check = lib.isFunction;
      merge = loc: defs:
        let
          formals = map (d: lib.functionArgs d.value) defs;
          together = mapAttrs (_: all (x: x)) (lib.zipAttrs formals);
        in
        lib.setFunctionArgs
          (arg: (mergeDefinitions (loc ++ [ "<function body>" ]) elemType
            (map (d: { inherit (d) file; value = d.value arg; }) defs)).mergedValue)
          together;
      getSubOptions = prefix: elemType.getSubOptions (prefix ++ [ "<function body>" ]);
      getSubModules = elemType.getSubModules;
      substSubModules = m: functionTo (elemType.substSubModules m);
      functor = wrapping "functionTo" functionTo elemType;
      nestedTypes.elemType = elemType;
    };

    submodule = modules: submoduleWith {
      shorthandOnlyDefinesConfig = true;
      modules = lib.toList modules;
    };
    submoduleWith = { modules, specialArgs ? { }, shorthandOnlyDefinesConfig ? false, description ? null, class ? null }@attrs:
      let
        base = prepareModules modules;
        freeform = (documented [ ] { })._module.freeformType;
        evaluate = loc: extra: evalPrepared { inherit base specialArgs class extra; prefix = loc; };
        # The options of the type itself, for documentation.
        documented = loc: args: evaluate loc [ (prepare "<unknown-file>" ":anon-args" { _module.args = { name = "‹name›"; } // args; }) ];
        named = name: {
          static = {
            file = "lib/types.nix";
            key = ":name";
            class = null;
            disabledModules = [ ];
            imports = [ ];
            options = { };
            freeformType = null;
            config._module.args.name = lib.mkOptionDefault name;
          };
          keyed = false;
        };
        ofDef = n: def:
          let v = def.value; in
          if isAttrs v && shorthandOnlyDefinesConfig && !(v ? __functor) then
            {
              static = {
                inherit (def) file;
                key = ":anon-def-${toString n}";
                class = null;
                disabledModules = [ ];
                imports = [ ];
                options = { };
                freeformType = null;
                config = v;
              };
              keyed = false;
            }
          else prepare def.file ":anon-def-${toString n}" v;
      in
      mkOptionType {
        name = "submodule";
        description =
          if description != null then description
          else
            let f = freeform.description or null; in
            if f == null then "submodule" else "open submodule of ${f}";
        descriptionClass = "noun";
        check = x: isAttrs x || isFunction x || isPath x;
        merge = loc: defs:
          (evaluate loc ([ (named (lib.last loc)) ] ++ lib.imap1 ofDef defs)).config;
        emptyValue = { value = { }; };
        getSubOptions = prefix:
          let docs = documented prefix { }; in
          docs.options // lib.optionalAttrs (docs._module.freeformType != null) {
            _freeformOptions = docs._module.freeformType.getSubOptions prefix;
          };
        getSubModules = modules;
        substSubModules = m: submoduleWith (attrs // { modules = m; });
        functor = defaultFunctor "submodule" // {
          type = submoduleWith;
          payload = { inherit modules specialArgs shorthandOnlyDefinesConfig description class; };
          binOp = a: b: {
            class =
              if a.class == null then b.class
              else if b.class == null || a.class == b.class then a.class
              else throw "a submodule option is declared with the classes `${a.class}` and `${b.class}`";
            modules = a.modules ++ b.modules;
            specialArgs =
              let both = builtins.intersectAttrs a.specialArgs b.specialArgs; in
              if both == { } then a.specialArgs // b.specialArgs
              else throw "a submodule option is declared multiple times with the same specialArgs ${toString (attrNames both)}";
            shorthandOnlyDefinesConfig =
              if a.shorthandOnlyDefinesConfig == null then b.shorthandOnlyDefinesConfig
              else if b.shorthandOnlyDefinesConfig == null then a.shorthandOnlyDefinesConfig
              else a.shorthandOnlyDefinesConfig || b.shorthandOnlyDefinesConfig;
            description = if a.description == null then b.description else a.description;
          };
        };
      };
    # A module as a value, to be imported elsewhere.
    deferredModule = deferredModuleWith { };
    deferredModuleWith = attrs@{ staticModules ? [ ] }: mkOptionType {
      name = "deferredModule";
      description = "module";
      descriptionClass = "noun";
      check = x: isAttrs x || isFunction x || isPath x;
      merge = loc: defs: {
        imports = staticModules ++ map
          (def: lib.setDefaultModuleLocation "${def.file}, via option ${showOption loc}" def.value)
          defs;
      };
      getSubOptions = (submoduleWith { modules = staticModules; }).getSubOptions;
      getSubModules = staticModules;
      substSubModules = m: deferredModuleWith (attrs // { staticModules = m; });
      functor = defaultFunctor "deferredModuleWith" // {
        type = deferredModuleWith;
        payload = { inherit staticModules; };
        binOp = a: b: { staticModules = lib.unique (a.staticModules ++ b.staticModules); };
      };
    };
    optionType = mkOptionType {
      name = "optionType";
      description = "optionType";
      descriptionClass = "noun";
      check = v: v._type or null == "option-type";
      merge = loc: defs:
        if length defs == 1 then (head defs).value
        else
          let
            modules = map
              (d: { _file = d.file; options = lib.mkOption { type = d.value; }; })
              defs;
            merged = foldl' (t: d: if t == null then null else t.typeMerge d.value.functor) (head defs).value (tail defs);
          in
          if merged == null then conflict loc defs "the types cannot be merged" else merged;
    };

    enum = values: mkOptionType {
      name = "enum";
      description =
        let show = v: if isString v then builtins.toJSON v else if isInt v then toString v else if isBool v then lib.boolToString v else lib.generators.toPretty { } v; in
        if values == [ ] then "impossible (empty enum)"
        else if length values == 1 then "value ${show (head values)} (singular enum)"
        else "one of ${lib.concatMapStringsSep ", " show values}";
      descriptionClass = if length values < 2 then "noun" else "conjunction";
      check = v: elem v values;
      merge = mergeEqualOption;
      functor = defaultFunctor "enum" // {
        type = { values, ... }: enum values;
        payload = { inherit values; };
        binOp = a: b: { values = lib.unique (a.values ++ b.values); };
      };
    };
    either = t1: t2: mkOptionType {
      name = "either";
      description =
        if t1.descriptionClass or null == "nonRestrictiveClause" then "${t1.description}, or ${nounOrConjunction t2}"
        else "${nounOrConjunction t1} or ${phrase [ "noun" "conjunction" "composite" ] t2}";
      descriptionClass = "conjunction";
      check = x: t1.check x || t2.check x;
      merge = loc: defs:
        if all (d: t1.check d.value) defs then t1.merge loc defs
        else if all (d: t2.check d.value) defs then t2.merge loc defs
        else mergeOneOption loc defs;
      typeMerge = f':
        let
          m1 = t1.typeMerge (elemAt f'.payload.elemType 0).functor;
          m2 = t2.typeMerge (elemAt f'.payload.elemType 1).functor;
        in
        if f'.name == "either" && m1 != null && m2 != null then either m1 m2 else null;
      functor = defaultFunctor "either" // {
        type = { elemType, ... }: either (elemAt elemType 0) (elemAt elemType 1);
        payload = { elemType = [ t1 t2 ]; };
      };
      nestedTypes = { left = t1; right = t2; };
    };
    oneOf = ts:
      if ts == [ ] then throw "types.oneOf needs at least one type" else foldl' either (head ts) (tail ts);
    coercedTo = coercedType: coerce: finalType: mkOptionType {
      name = "coercedTo";
      description = "${noun finalType} or ${noun coercedType} convertible to it";
      check = x: (coercedType.check x && finalType.check (coerce x)) || finalType.check x;
      merge = loc: defs:
        finalType.merge loc (map
          (d: if coercedType.check d.value then d // { value = coerce (coercedType.merge loc [ d ]); } else d)
          defs);
      emptyValue = finalType.emptyValue;
      getSubOptions = finalType.getSubOptions;
      getSubModules = finalType.getSubModules;
      substSubModules = m: coercedTo coercedType coerce (finalType.substSubModules m);
      typeMerge = _: null;
      functor = defaultFunctor "coercedTo" // { wrapped = finalType; };
      nestedTypes = { inherit coercedType finalType; };
    };
    addCheck = elemType: check: elemType // { check = x: elemType.check x && check x; };
    luaInline = mkOptionType {
      name = "luaInline";
      description = "inline lua";
      descriptionClass = "noun";
      check = x: x._type or null == "lua-inline";
      merge = mergeEqualOption;
    };
    # Any JSON-like value; `nullable` adds null.
    serializableValueWith = { typeName, nullable ? true }:
      let
        base = oneOf [ bool int float str path (attrsOf valueType) (listOf valueType) ];
        valueType = (if nullable then nullOr base else base) // { description = "${typeName} value"; };
      in
      valueType;
    json = serializableValueWith { typeName = "JSON"; };
    toml = serializableValueWith { typeName = "TOML"; nullable = false; };
  };
in
types
