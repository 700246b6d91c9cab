# The module system: modules with options and definitions become one configuration.
#
# Evaluation of a set of modules has two parts. The declarations make a tree: attribute set of nodes, `{ option }` or
# `{ children }`. Modules that are plain sets do not depend on arguments, so for a submodule type their tree is made once
# and serves every value of that type. Definitions are then sent down the tree; work is spent on what is read.
{ lib }:
let
  inherit (builtins)
    addErrorContext all any attrNames attrValues concatLists concatMap elem elemAt filter foldl' functionArgs genericClosure
    head isAttrs isBool isFunction isList isPath isString length listToAttrs map mapAttrs removeAttrs seq sort tail
    toString typeOf unsafeGetAttrPos zipAttrsWith;
  inherit (lib.diagnostics) fail posOf showDefs where;
  inherit (lib) types;
  showOption = lib.options.showOption;
  isModuleFunction = m: isFunction m || (isAttrs m && m ? __functor);

  defaultOverridePriority = 100;
  defaultOrderPriority = 1000;

  ## Modules: from what the user writes to { file, key, class, disabledModules, imports, options, config, freeformType }

  moduleAttrs = [ "_class" "_file" "key" "disabledModules" "imports" "options" "config" "meta" "freeformType" ];
  unify = file: key: m:
    if !isAttrs m then
      fail {
        code = "bad-module";
        message = "module `${toString file}` is ${lib.diagnostics.describe m}; a module is a set, a function that returns one, or a path";
      }
    else if m ? _type && isString m._type && !(hasProperty m) then
      fail {
        code = "bad-module";
        message =
          if m._type == "option" then "an option declaration stands where module `${toString file}` should be a set"
          else "module `${toString file}` is a value of kind `${m._type}`, not a module";
        hint =
          if m._type == "flake" then "use one of its modules, such as `nixosModules.default`"
          else null;
      }
    else
      let
        file' =
          if m ? _file then toString m._file
          else if file == "<unknown-file>" then (
            # where the set is written
            let
              names = attrNames m;
              pos = if names == [ ] then null else unsafeGetAttrPos (head names) m;
            in
            if pos == null then file else pos.file)
          else toString file;
        structured = m ? config || m ? options;
        bad = attrNames (removeAttrs m moduleAttrs);
        common = {
          file = file';
          key = if m ? key then toString m.key else key;
          class = m._class or null;
          disabledModules = m.disabledModules or [ ];
          imports = m.imports or [ ];
          freeformType = m.freeformType or null;
        };
      in
      if structured then
        if bad != [ ] then
          fail {
            code = "bad-module";
            message = "module `${file'}` has the attribute `${head bad}` beside `config` or `options`";
            pos = unsafeGetAttrPos (head bad) m;
            hint = "once a module has `config` or `options`, all its definitions go into `config`";
          }
        else common // {
          options = m.options or { };
          config = if m ? meta then lib.mkMerge [ (m.config or { }) { inherit (m) meta; } ] else m.config or { };
        }
      else common // {
        options = { };
        imports = (m.require or [ ]) ++ common.imports;
        config = removeAttrs m [ "_class" "_file" "key" "disabledModules" "require" "imports" "freeformType" ];
      };

  # Calls a module function. Named arguments that are not in `args` come from `_module.args`, when they are used.
  applyArgs = file: f: args:
    let
      formals = lib.functionArgs f;
      missing = mapAttrs
        (name: _: addErrorContext "while evaluating the module argument `${name}` of ${toString file}"
          (let given = args.config._module.args; in
          given.${name} or (fail {
            code = "unknown-module-argument";
            message = "module `${toString file}` asks for the argument `${name}`, which is not defined";
            pos = unsafeGetAttrPos name formals;
            hint = "arguments beside config, options, lib, pkgs and modulesPath are defined by `_module.args.${name}` or specialArgs";
          })))
        (removeAttrs formals (attrNames args));
    in
    f (if missing == { } then args else args // missing);
  fileOf = file: f:
    if file != "<unknown-file>" then file
    else
      let
        names = attrNames (lib.functionArgs f);
        pos = if names == [ ] then null else unsafeGetAttrPos (head names) (lib.functionArgs f);
      in
      if pos == null then file else pos.file;

  # { static = module; } or { apply = args: module; }, and whether it has a key of its own.
  prepare = parentFile: key: m:
    if isAttrs m && !(m ? __functor) then
      let u = unify parentFile key m; in
      { static = u; keyed = m ? key; }
    else if isModuleFunction m then
      let file = fileOf parentFile m; in
      { apply = args: unify file key (applyArgs file m args); keyed = false; }
    else if isPath m && !(builtins.pathExists (lib.tree.resolveModule m)) then
      fail {
        code = "missing-module";
        message = "the file ${toString m} does not exist";
        notes = [ "it is in `imports` of ${toString parentFile}" ];
        hint = "a path is relative to the file that it is written in";
      }
    else if isPath m || isString m then let m' = lib.tree.resolveModule m; in prepareFile (toString m') m'
    else if isList m then
      fail {
        code = "bad-module";
        message = "a list stands where a module is expected (in ${toString parentFile})";
        hint = "`imports` and `modules` are flat lists; join lists with `++`";
      }
    else { static = unify parentFile key m; keyed = false; };
  prepareFile = path: m:
    let
      value = import m;
      at = addErrorContext "while evaluating the module ${path}";
    in
    if isModuleFunction value then { apply = args: unify path path (at (applyArgs path value args)); keyed = true; }
    else { static = unify path path value; keyed = true; };
  prepareAll = parentFile: parentKey: ms:
    lib.imap1 (n: prepare parentFile "${parentKey}:anon-${toString n}") ms;

  # All modules with those that they import, last first (so that imported definitions come before the importer's).
  # `loaded` are the modules of `prepared`, in its order.
  collect = modulesPath: prepared: loaded: args:
    let
      simple =
        all (m: m.imports == [ ] && m.disabledModules == [ ]) loaded
        && length (filter (p: p.keyed) prepared) < 2;
      nodeOf = m: {
        inherit (m) key;
        module = m;
        children = map (p: nodeOf (p.static or (p.apply args))) (prepareAll m.file m.key m.imports);
      };
      start = map nodeOf loaded;
      closure = genericClosure { startSet = start; operator = n: n.children; };
      disabled = concatMap (n: map (toKey n.module.file) n.module.disabledModules) closure;
      toKey = file: m:
        if builtins.isInt m then toString m
        else if isString m then lib.tree.resolve (if lib.hasPrefix "/" m then m else "${toString modulesPath}/${m}")
        else if isPath m then lib.tree.resolve (toString m)
        else if isAttrs m && m ? key then toString m.key
        else if isAttrs m && m ? _file then toString m._file
        else fail { code = "bad-module"; message = "`disabledModules` of ${file} has an entry that is no path, text or set with `key`"; };
      # A disabled module takes along what only it imports.
      enabled = filter (n: !(elem n.key disabled));
      keep = genericClosure { startSet = enabled start; operator = n: enabled n.children; };
    in
    if simple then lib.reverseList loaded
    else map (n: n.module) (lib.reverseList (if disabled == [ ] then closure else keep));

  ## Declarations

  # decls: list of { file, options }
  declTree = prefix: decls:
    if decls == [ ] then { }
    else if length decls == 1 then
      let d = head decls; in
      mapAttrs (name: value: mkNode (prefix ++ [ name ]) [ { inherit (d) file; options = value; pos = unsafeGetAttrPos name d.options; } ])
        (checkOptions prefix d)
    else
      zipAttrsWith (name: mkNode (prefix ++ [ name ]))
        (map (d: mapAttrs (name: value: { inherit (d) file; options = value; pos = unsafeGetAttrPos name d.options; }) (checkOptions prefix d)) decls);
  checkOptions = prefix: d:
    if isAttrs d.options then d.options
    else fail {
      code = "bad-option-declaration";
      message = "`options${lib.concatMapStrings (p: ".${p}") prefix}` in ${d.file} is ${lib.diagnostics.describe d.options}, not a set of options";
    };
  isOpt = v: isAttrs v && v ? _type && v._type == "option";
  mkNode = loc: decls:
    if length decls == 1 then
      let d = head decls; in
      if isOpt d.options then { option = oneDecl d; } else { children = declTree loc decls; }
    else
      let
        opts = filter (d: isOpt d.options) decls;
        others = filter (d: !(isOpt d.options)) decls;
        type = (head opts).options.type or types.unspecified;
      in
      if opts == [ ] then { children = declTree loc decls; }
      else if others == [ ] then { option = mergeDecls loc opts; }
      else if type.getSubModules or null != null then
        {
          # options declared below an option of a submodule type extend that type
          option = mergeDecls loc (opts ++ map
            (d: {
              inherit (d) file;
              options = lib.mkOption { type = types.submoduleWith { modules = [ { _file = d.file; inherit (d) options; } ]; }; };
            })
            others);
        }
      else fail {
        code = "bad-option-declaration";
        message = "the option `${showOption loc}` of ${(head opts).file} is a prefix of options in ${(head others).file}, but its type `${type.description or "unspecified"}` takes no sub-options";
      };
  oneDecl = d: d.options // { declarations = [ d.file ]; declarationPositions = [ (d.pos or null) ]; type = d.options.type or types.unspecified; };
  mergeDecls = loc: decls:
    foldl'
      (res: d:
        let
          opt = d.options;
          both = filter (a: res ? ${a} && opt ? ${a}) [ "default" "example" "description" "apply" ];
          clash = reason: fail {
            code = "option-declared-twice";
            message = "the option `${showOption loc}` in ${d.file} is already declared in ${lib.concatStringsSep " and " res.declarations}${reason}";
          };
          merged = res.type.typeMerge opt.type.functor;
          type =
            if !(opt ? type) then res.type
            else if res.type.name == "unspecified" then opt.type
            else if merged != null then merged
            else clash ", with a type that cannot be merged: `${res.type.description}` and `${opt.type.description}`";
        in
        if both != [ ] && !(both == [ "description" ] && res.description == opt.description)
        then clash " (both have `${head both}`)"
        else res // opt // {
          declarations = res.declarations ++ [ d.file ];
          declarationPositions = res.declarationPositions ++ [ (d.pos or null) ];
          inherit type;
        })
      (oneDecl (head decls))
      (tail decls);

  ## Definitions

  # Takes mkIf, mkMerge and mkOverride around a set of definitions into it; { value, orig } keeps the set that was
  # written, which knows the positions.
  push = cfg:
    let kind = cfg._type or ""; in
    if kind == "" then [ { value = cfg; orig = cfg; } ]
    else if kind == "merge" then concatMap push cfg.contents
    else if kind == "if" then
      map (p: p // { value = mapAttrs (_: mkIf cfg.condition) p.value; }) (push cfg.content)
    else if kind == "override" then
      map (p: p // { value = mapAttrs (_: mkOverride cfg.priority) p.value; }) (push cfg.content)
    else [ { value = cfg; orig = cfg; } ];

  # defs: list of { file, value, pos } with sets as values; result: name -> list of definitions
  defsByName = loc: defs:
    let
      one = d:
        if !isAttrs d.value then
          fail {
            code = "not-a-set";
            message = "`${showOption loc}` is a set of options, but its definition is ${lib.diagnostics.describe d.value}";
            pos = d.pos or null;
            notes = [ (where d) ];
          }
        else map
          (p: mapAttrs
            (name: value: { inherit (d) file; inherit value; pos = d.attrPos.${name} or (unsafeGetAttrPos name p.orig); })
            p.value)
          (push d.value);
      sets = concatMap one defs;
    in
    if length sets == 1 then mapAttrs (_: d: [ d ]) (head sets)
    else zipAttrsWith (_: ds: ds) sets;

  # Evaluates definitions against a tree: { results, config, options, unmatched }.
  evalTree = prefix: tree: defs:
    let
      byName = defsByName prefix defs;
      results = mapAttrs
        (name: node:
          let loc = prefix ++ [ name ]; in
          if node ? option then evalOption loc node.option (byName.${name} or [ ])
          else evalTree loc node.children (byName.${name} or [ ]))
        tree;
    in
    {
      config = mapAttrs (_: r: r.value or r.config) results;
      options = mapAttrs (_: r: r.options) results;
      # definitions that meet no option: list of { loc, defs }
      unmatched = concatMap
        (name:
          if !(tree ? ${name}) then [ { loc = [ name ]; full = prefix ++ [ name ]; defs = byName.${name}; siblings = tree; } ]
          else if tree.${name} ? option then [ ]
          else map (u: u // { loc = [ name ] ++ u.loc; }) results.${name}.unmatched)
        (if defs == [ ] then [ ] else attrNames byName);
    };

  evalOption = loc: opt: defs:
    let
      hasDefault = opt ? default;
      declaredIn = head opt.declarations;
      type = opt.type;
      plainDefault = hasDefault && !(isAttrs opt.default && opt.default ? _type);
      all' =
        if hasDefault then defs ++ [ { file = declaredIn; value = mkOptionDefault opt.default; } ]
        else defs;
      res =
        if opt.readOnly or false && length all' > 1 then
          fail {
            code = "read-only";
            message = "the option `${showOption loc}` is read-only, but it is set${if hasDefault then "" else " more than once"}";
            pos = posOf defs;
            notes = map where defs;
          }
        else mergeDefinitions loc type all';
      merged =
        if defs == [ ] && plainDefault && !(opt.readOnly or false) then
          # the usual case: the default alone
          (if type.check opt.default
          then type.merge loc [ { file = declaredIn; value = opt.default; pos = null; } ]
          else wrongType loc type [ { file = declaredIn; value = opt.default; } ])
        else if res.isDefined then res.mergedValue
        else notDefined loc opt;
      checked = if type.deprecationMessage or null != null
        then lib.warn "the type of the option `${showOption loc}` is deprecated: ${type.deprecationMessage}" merged
        else merged;
      value = addErrorContext "while evaluating the option `${showOption loc}`:"
        (if opt ? apply && opt.apply != null then opt.apply checked else checked);
      isDefined = if defs == [ ] && plainDefault then true else res.isDefined;
    in
    {
      inherit value;
      options = opt // {
        inherit value loc isDefined;
        inherit (res.defsFinal') highestPrio;
        definitions = map (d: d.value) res.defsFinal;
        files = map (d: d.file) res.defsFinal;
        definitionsWithLocations = res.defsFinal;
        valueMeta = { };
        __toString = _: showOption loc;
      };
    };

  notDefined = loc: opt: fail {
    code = "undefined-option";
    message = "the option `${showOption loc}` is used but not defined";
    hint =
      let d = opt.type.description or null; in
      if d == null then null else "it has no default; define it (${d})";
    notes = map (f: "declared in ${f}") (opt.declarations or [ ]);
  };

  wrongType = loc: type: defs: fail {
    code = "wrong-type";
    message = "the option `${showOption loc}`: expected ${type.description}, got ${lib.diagnostics.describe (head defs).value}";
    pos = posOf defs;
    notes = map (d: "defined in ${where d}") (filter (d: d.pos or null == null) defs)
      ++ (if length defs > 1 then map (n: "defined in ${n}") (showDefs defs) else [ ]);
  };

  # Merges definitions { file, value, pos ? null } of one option.
  mergeDefinitions = loc: type: defs: rec {
    defsFinal' =
      if length defs == 1 && !(hasProperty (head defs).value) then
        { values = defs; highestPrio = defaultOverridePriority; }
      else
        let
          normal = concatMap
            (d:
              if hasProperty d.value then
                concatMap
                  (value:
                    if isAttrs value && value._type or "" == "definition" then
                      [ { inherit (value) file value; pos = value.pos or null; } ]
                    else [ { inherit (d) file; inherit value; pos = d.pos or null; } ])
                  (addErrorContext "while evaluating definitions from ${where d}" (dischargeProperties d.value))
              else [ d ])
            defs;
          over = filterOverrides' normal;
          anyOrder = any (d: isAttrs d.value && d.value._type or "" == "order") over.values;
        in
        { values = if anyOrder then sortProperties over.values else over.values; inherit (over) highestPrio; };
    defsFinal = defsFinal'.values;
    isDefined = defsFinal != [ ];
    mergedValue =
      if isDefined then
        (if all (d: type.check d.value) defsFinal then type.merge loc defsFinal
        else wrongType loc type (filter (d: !type.check d.value) defsFinal))
      else fail {
        code = "undefined-option";
        message = "the option `${showOption loc}` is used but not defined";
      };
    optionalValue = if isDefined then { value = mergedValue; } else { };
  };

  hasProperty = v: isAttrs v && v ? _type && (
    let t = v._type; in t == "if" || t == "merge" || t == "override" || t == "order" || t == "definition");

  dischargeProperties = def:
    let kind = if isAttrs def then def._type or "" else ""; in
    if kind == "merge" then concatMap dischargeProperties def.contents
    else if kind == "if" then
      if isBool def.condition then (if def.condition then dischargeProperties def.content else [ ])
      else fail {
        code = "bad-condition";
        message = "the condition of mkIf is ${lib.diagnostics.describe def.condition}, not a boolean";
        pos = unsafeGetAttrPos "condition" def;
      }
    else [ def ];

  filterOverrides = defs: (filterOverrides' defs).values;
  filterOverrides' = defs:
    let
      isOver = d: isAttrs d.value && d.value ? _type && d.value._type == "override";
      prio = d: if isOver d then d.value.priority else defaultOverridePriority;
      highestPrio = foldl' (p: d: let q = prio d; in if q < p then q else p) 9999 defs;
      strip = d: if isOver d then d // { value = d.value.content; } else d;
    in
    {
      values = concatMap (d: if prio d == highestPrio then [ (strip d) ] else [ ]) defs;
      inherit highestPrio;
    };
  sortProperties = defs:
    let
      strip = d:
        if isAttrs d.value && d.value._type or "" == "order"
        then d // { value = d.value.content; inherit (d.value) priority; }
        else d;
      prio = d: d.priority or defaultOrderPriority;
    in
    sort (a: b: prio a < prio b) (map strip defs);

  pushDownProperties = cfg: map (p: p.value) (push cfg);

  ## Evaluation

  internalModule = {
    options._module = {
      args = lib.mkOption {
        type = types.lazyAttrsOf types.raw;
        internal = true;
        default = { };
        description = "Additional arguments passed to each module, beside those of specialArgs.";
      };
      check = lib.mkOption {
        type = types.bool;
        internal = true;
        default = true;
        description = "Whether definitions that meet no option are an error.";
      };
      freeformType = lib.mkOption {
        type = types.nullOr types.optionType;
        internal = true;
        default = null;
        description = "A type that takes the definitions that meet no option.";
      };
      optionalFiles = lib.mkOption {
        type = types.raw;
        internal = true;
        default = _: false;
        description = "Whether definitions of a file that meet no option may be left out when they are not in effect.";
      };
      specialArgs = lib.mkOption {
        readOnly = true;
        internal = true;
        type = types.raw;
        description = "The arguments that are available for `imports` too.";
      };
    };
  };
  internalTree = declTree [ ] [ { file = "lib/modules.nix"; inherit (internalModule) options; } ];

  # What of a list of modules does not depend on the arguments.
  prepareModules = modules:
    let
      prepared = prepareAll "<unknown-file>" "" modules;
      declaring = filter (m: m.options != { }) (concatMap (p: if p ? static then [ p.static ] else [ ]) (lib.reverseList prepared));
    in
    {
      inherit prepared;
      # how many plain sets declare options, and the tree that they make
      declaring = length declaring;
      tree = treeOf [ ] declaring;
    };
  treeOf = prefix: withOptions:
    let tree = declTree prefix (map (m: { inherit (m) file options; }) withOptions); in
    if tree ? _module
    then declTree prefix ([ { file = "lib/modules.nix"; inherit (internalModule) options; } ] ++ map (m: { inherit (m) file options; }) withOptions)
    else internalTree // tree;

  # base: of prepareModules; extra: further prepared modules, after those of base
  evalPrepared = { base, extra ? [ ], prefix, specialArgs, class, description ? null }:
    let
      prepared = if extra == [ ] then base.prepared else base.prepared ++ extra;
      loaded = map (p: p.static or (p.apply args)) prepared;
      modules = collect (specialArgs.modulesPath or "") prepared loaded args;
      # whether the declarations are just those of base's plain sets
      sameTree =
        length modules == length prepared
        && all (m: m.imports == [ ]) modules
        && base.declaring == length (filter (m: m.options != { }) loaded);
      tree =
        if sameTree then base.tree
        else treeOf prefix (filter (m: m.options != { }) modules);
      wrongClass = filter (m: m.class != null && m.class != class) modules;
      defs =
        [ { file = "lib/modules.nix"; value = { _module.specialArgs = specialArgs; }; } ]
        ++ concatMap
          (m:
            (if m.freeformType == null then [ ]
            else [ { inherit (m) file; value = { _module.freeformType = m.freeformType; }; } ])
            ++ (if m.config == { } then [ ] else [ { inherit (m) file; value = m.config; } ]))
          (if class != null && wrongClass != [ ] then
            let m = head wrongClass; in
            fail {
              code = "bad-module";
              message = "the module ${m.file} is of class `${m.class}`, but modules of class `${class}` are evaluated here";
            }
          else modules);
      merged = evalTree prefix tree defs;
      freeformType = merged.config._module.freeformType;
      freeform =
        let
          defs = concatMap
            (u: map
              (d: {
                inherit (d) file;
                value = lib.setAttrByPath u.loc d.value;
                pos = d.pos or null;
                attrPos.${head u.loc} = d.pos or null;
              })
              u.defs)
            merged.unmatched;
        in
        if defs == [ ] then { }
        else freeformType.merge prefix defs;
      config =
        if freeformType == null then merged.config
        else lib.recursiveUpdate freeform merged.config;
      options = merged.options;
      args = {
        inherit lib config options specialArgs;
        _class = class;
        _prefix = prefix;
      } // specialArgs;
      unknown =
        if merged.unmatched == [ ] || freeformType != null || !merged.config._module.check then [ ]
        else
          let isLeftOut = d: merged.config._module.optionalFiles d.file && dischargeProperties d.value == [ ]; in
          filter (u: !(all isLeftOut u.defs)) merged.unmatched;
      checkUnmatched = if unknown != [ ] then unknownOption (head unknown) (tail unknown) else null;
      visible = seq checkUnmatched (removeAttrs config [ "_module" ]);
    in
    {
      _type = "configuration";
      config = visible;
      options = seq checkUnmatched options;
      inherit class;
      inherit (merged) unmatched;
      _module = seq checkUnmatched config._module;
    };

  unknownOption = u: others:
    let
      def = head u.defs;
      parent = lib.init u.full;
      name = lib.last u.full;
      near = lib.diagnostics.nearest name (filter (n: n != "_module") (attrNames u.siblings));
      words = map (n: "`${showOption (parent ++ [ n ])}`") (lib.take 3 near);
    in
    fail {
      code = "unknown-option";
      message = "the option `${showOption u.full}` does not exist";
      pos = posOf u.defs;
      hint =
        if words == [ ] then null
        else "did you mean ${lib.concatStringsSep " or " words}?";
      notes =
        (if def.pos or null == null then [ "defined in ${def.file}" ] else [ ])
        ++ map (o: "${where (head o.defs)}: `${showOption o.full}` does not exist either") (lib.take 5 others);
    };

  evalModules = evalModulesArgs@{ modules, prefix ? [ ], specialArgs ? { }, class ? null, args ? { }, check ? true }:
    let
      legacy =
        (if args == { } then [ ] else [ { _module.args = args; } ])
        ++ (if check then [ ] else [ { _module.check = lib.mkDefault false; } ]);
      own = {
        _file = "lib/modules.nix";
        config._module.args = { inherit extendModules; moduleType = type; };
      };
      type = types.submoduleWith { inherit modules specialArgs class; };
      result = evalPrepared {
        base = prepareModules ([ own ] ++ legacy ++ modules);
        inherit prefix specialArgs class;
      };
      extendModules = { modules ? [ ], specialArgs ? { }, prefix ? evalModulesArgs.prefix or [ ] }:
        evalModules (evalModulesArgs // {
          inherit prefix;
          modules = evalModulesArgs.modules ++ modules;
          specialArgs = evalModulesArgs.specialArgs or { } // specialArgs;
        });
    in
    result // {
      inherit extendModules type;
    };

  ## Properties

  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkOrder = priority: content: { _type = "order"; inherit priority content; };
  mkOptionDefault = mkOverride 1500;

  ## Moved and removed options

  doRename = { from, to, visible, warn, use, withPriority ? true, condition ? true }:
    { config, options, ... }:
    let
      fromOpt = lib.getAttrFromPath from options;
      toOf = lib.attrByPath to (fail {
        code = "undefined-option";
        message = "the option `${showOption from}` is another name of `${showOption to}`, which does not exist";
      });
      toType = (lib.attrByPath to { } options).type or null;
    in
    {
      options = lib.setAttrByPath from (lib.mkOption ({
        inherit visible;
        description = "Alias of `${showOption to}`.";
        apply = x: use (toOf config);
      } // (if toType == null then { } else { type = toType; })));
      config = lib.mkIf condition (lib.mkMerge [
        (if warn && options ? warnings then {
          warnings = lib.optional fromOpt.isDefined
            "The option `${showOption from}' defined in ${lib.options.showFiles fromOpt.files} has been renamed to `${showOption to}'.";
        } else { })
        (if withPriority
        then mkAliasAndWrapDefsWithPriority (lib.setAttrByPath to) fromOpt
        else mkAliasAndWrapDefinitions (lib.setAttrByPath to) fromOpt)
      ]);
    };
  mkAliasAndWrapDefinitions = wrap: option: mkIf option.isDefined (wrap (mkMerge option.definitions));
  mkAliasAndWrapDefsWithPriority = wrap: option:
    mkIf option.isDefined (wrap (mkMerge (map
      (d: {
        # errors point to the definition that was written
        _type = "definition";
        inherit (d) file;
        pos = d.pos or null;
        value = mkOverride option.highestPrio d.value;
      })
      option.definitionsWithLocations)));
in
rec {
  inherit
    evalModules mergeDefinitions dischargeProperties filterOverrides filterOverrides' sortProperties pushDownProperties
    mkIf mkMerge mkOverride mkOrder mkOptionDefault doRename mkAliasAndWrapDefinitions mkAliasAndWrapDefsWithPriority
    defaultOverridePriority defaultOrderPriority;
  # For submodule types.
  internal = { inherit prepareModules evalPrepared prepare defsByName; };

  mkAssert = assertion: message: content: mkIf (if assertion then true else throw "\nFailed assertion: ${message}") content;
  mkDefinition = args@{ file, value, ... }: args // { _type = "definition"; };
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkFixStrictness = lib.id;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;
  mkAliasDefinitions = mkAliasAndWrapDefinitions lib.id;
  mkAliasIfDef = option: mkIf (lib.isOption option && option.isDefined);
  mkDerivedConfig = opt: f:
    mkOverride (opt.highestPrio or defaultOverridePriority) (f opt.value);
  fixMergeModules = modules: args: evalModules { inherit modules args; check = false; };
  setDefaultModuleLocation = file: m: { _file = file; imports = [ m ]; };
  unifyModuleSyntax = unify;
  applyModuleArgsIfFunction = key: f: args: if lib.isFunction f then applyArgs key f args else f;
  mergeOptionDecls = loc: decls: mergeDecls loc (map (d: { file = d._file or "<unknown-file>"; inherit (d) options; }) decls);
  evalOptionValue = loc: opt: defs: (evalOption loc ({ declarations = [ "<unknown-file>" ]; type = types.unspecified; } // opt) defs).options;
  fixupOptionType = loc: opt: opt // { type = opt.type or types.unspecified; };
  mergeModules = prefix: modules: mergeModules' prefix modules (map (m: { inherit (m) file config; }) modules);
  mergeModules' = prefix: modules: configs:
    let
      r = evalTree prefix (declTree prefix (map (m: { inherit (m) file options; }) (filter (m: m.options != { }) modules)))
        (map (c: { inherit (c) file; value = c.config; }) configs);
    in
    { matchedOptions = r.options; unmatchedDefns = r.unmatched; };
  # A module from a file that takes arguments before those of the module system.
  importApply = file: staticArgs: setDefaultModuleLocation file (import file staticArgs);
  importJSON = file: { _file = file; config = lib.importJSON file; };
  importTOML = file: { _file = file; config = lib.importTOML file; };

  mkRemovedOptionModule = path: replacementInstructions: { options, ... }: {
    options = lib.setAttrByPath path (lib.mkOption {
      visible = false;
      apply = x: fail {
        code = "removed-option";
        message = "the option `${showOption path}` can no longer be used since it's been removed. ${replacementInstructions}";
      };
    });
    config.assertions =
      let opt = lib.getAttrFromPath path options; in
      [
        {
          assertion = !opt.isDefined;
          message = ''
            The option definition `${showOption path}' in ${lib.options.showFiles opt.files} no longer has any effect; please remove it.
            ${replacementInstructions}
          '';
        }
      ];
  };
  mkRenamedOptionModule = from: to: doRename { inherit from to; visible = false; warn = true; use = x: x; };
  mkRenamedOptionModuleWith = { from, to, sinceRelease }: doRename {
    inherit from to;
    visible = false;
    warn = lib.trivial.oldestSupportedReleaseIsAtLeast sinceRelease;
    use = x: x;
  };
  mkAliasOptionModule = from: to: doRename { inherit from to; visible = true; warn = false; use = x: x; };
  mkAliasOptionModuleMD = mkAliasOptionModule;
  # Several old options become one new one: `mergeFn config`.
  mkMergedOptionModule = from: to: mergeFn: { config, options, ... }: {
    options = lib.foldl' lib.recursiveUpdate { } (map
      (path: lib.setAttrByPath path (lib.mkOption {
        visible = false;
        # An option that nobody defines says so to mergeFn.
        default = "_mkMergedOptionModule";
      }))
      from);
    config =
      let
        isSet = f: lib.attrByPath f null config != "_mkMergedOptionModule";
      in
      {
        warnings = filter (x: x != "") (map
          (f:
            if isSet f then
              "The option `${showOption f}' defined in ${lib.options.showFiles (lib.getAttrFromPath f options).files} has been changed to `${showOption to}' that has a different type. Please read `${showOption to}' documentation and update your configuration accordingly."
            else "")
          from);
      } // lib.setAttrByPath to (lib.mkMerge (lib.optional (any isSet from) (mergeFn config)));
  };
  mkChangedOptionModule = from: to: changeFn: mkMergedOptionModule [ from ] to changeFn;
}
