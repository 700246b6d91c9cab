# Packages as functions: overriding, calling with arguments by name, scopes.
{ lib }:
let
  inherit (builtins) attrNames concatStringsSep filter functionArgs head intersectAttrs isAttrs isFunction map mapAttrs removeAttrs unsafeGetAttrPos;
in
rec {
  overrideDerivation = drv: f:
    let
      new = derivation (drv.drvAttrs // f drv);
    in
    lib.flip (extendDerivation (builtins.seq drv.drvPath true)) new (
      { meta = drv.meta or { }; passthru = drv.passthru or { }; }
      // drv.passthru or { }
      // (if drv ? __spliced then { __spliced = { }; } else { }));

  # The result of `f args` with `override` (new arguments) and `overrideDerivation`.
  makeOverridable = f:
    let
      keepArgs = lib.mirrorFunctionArgs f;
    in
    keepArgs (origArgs:
      let
        result = f origArgs;
        argsWith = new: origArgs // (if lib.isFunction new then new origArgs else new);
        overrideArgs = lib.mirrorFunctionArgs f (new: makeOverridable f (argsWith new));
        overrideResult = g: makeOverridable (keepArgs (args: g (f args))) origArgs;
      in
      if isAttrs result then
        result // {
          override = overrideArgs;
          overrideDerivation = fdrv: overrideResult (x: overrideDerivation x fdrv);
        } // (if result ? overrideAttrs then { overrideAttrs = fdrv: overrideResult (x: x.overrideAttrs fdrv); } else { })
      else if lib.isFunction result then
        lib.setFunctionArgs result (lib.functionArgs result) // { override = overrideArgs; }
      else result);

  # Calls `fn` (a function or a file) with its arguments from `autoArgs`, then `args`.
  callPackageWith = autoArgs: fn: args:
    let
      f = if lib.isFunction fn then fn else import fn;
      formals = lib.functionArgs f;
      all = intersectAttrs formals autoArgs // args;
      missing = filter (n: !formals.${n} && !(all ? ${n})) (attrNames formals);
      name = head missing;
      near = lib.diagnostics.nearest name (attrNames autoArgs);
    in
    if missing == [ ] then makeOverridable f all
    else lib.diagnostics.fail {
      code = "missing-package-argument";
      message = "callPackage: nothing is named `${name}`, which ${if lib.isFunction fn then "the function" else toString fn} asks for";
      pos = unsafeGetAttrPos name formals;
      hint = if near == [ ] then null else "did you mean `${head near}`?";
    };
  callPackagesWith = autoArgs: fn: args:
    let
      f = if lib.isFunction fn then fn else import fn;
      origArgs = intersectAttrs (lib.functionArgs f) autoArgs // args;
      pkgs = f origArgs;
    in
    if lib.isDerivation pkgs then throw "callPackages: the function gives one package; use callPackage"
    else mapAttrs (name: _: makeOverridable (lib.mirrorFunctionArgs f (a: (f a).${name})) origArgs) pkgs;

  extendDerivation = condition: passthru: drv:
    let
      outputs = drv.outputs or [ "out" ];
      common = drv // lib.listToAttrs list // { all = map (x: x.value) list; } // passthru;
      list = map
        (name: {
          inherit name;
          value = common // {
            inherit (drv.${name}) type outputName;
            outputSpecified = true;
            drvPath = assert condition; drv.${name}.drvPath;
            outPath = assert condition; drv.${name}.outPath;
          };
        })
        outputs;
    in
    common // {
      drvPath = assert condition; drv.drvPath;
      outPath = assert condition; drv.outPath;
    };
  hydraJob = drv: drv;

  # A set of packages that call each other: `makeScope newScope (self: { ... })`.
  makeScope = newScope: f:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = self.newScope { };
        overrideScope = g: makeScope newScope (lib.extends g f);
        overrideScope' = g: makeScope newScope (lib.extends g f);
        packages = f;
      };
    in
    self;
  makeScopeWithSplicing = splicePackages: newScope: otherSplices: keep: extra: f:
    makeScopeWithSplicing' { inherit splicePackages newScope; } { inherit otherSplices keep extra f; };
  makeScopeWithSplicing' = { splicePackages ? null, newScope }: { otherSplices ? null, keep ? (_: { }), extra ? (_: { }), f }:
    let
      self = f self // {
        newScope = scope: newScope (self // scope);
        callPackage = newScope (self // keep self);
        overrideScope = g: makeScopeWithSplicing' { inherit splicePackages newScope; } { inherit otherSplices keep extra; f = lib.extends g f; };
        packages = f;
      };
    in
    self;
  extendMkDerivation = { constructDrv, excludeDrvArgNames ? [ ], extendDrvArgs, transformDrv ? lib.id, inheritFunctionArgs ? true }:
    lib.setFunctionArgs
      (fpargs: transformDrv (constructDrv (lib.extends
        (final: prev: removeAttrs prev excludeDrvArgNames // extendDrvArgs final prev)
        (lib.toFunction fpargs))))
      (removeAttrs ((if inheritFunctionArgs then lib.functionArgs constructDrv else { }) // lib.functionArgs (extendDrvArgs { })) excludeDrvArgNames);
  renameCrossIndexFrom = prefix: x: x;
  renameCrossIndexTo = prefix: x: x;
}
