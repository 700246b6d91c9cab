# The module system.
{ lib }:
let
  inherit (lib) mkOption types mkIf mkMerge mkForce mkDefault evalModules;
  inherit (import ./helpers.nix) is fails;
  eval = modules: (evalModules { inherit modules; }).config;
  ints = { options.l = mkOption { type = types.listOf types.int; default = [ ]; }; };
  str = { options.s = mkOption { type = types.str; default = "default"; }; };
  enable = { options.enable = lib.mkEnableOption "it"; };
in
{
  testDefault = is (eval [ str ]).s "default";
  testDefined = is (eval [ str { s = "x"; } ]).s "x";
  testFunction = is (eval [ str ({ lib, ... }: { s = lib.toUpper "x"; }) ]).s "X";
  testConfigArg = is (eval [ str enable { enable = true; } ({ config, ... }: { s = mkIf config.enable "on"; }) ]).s "on";
  testIfFalse = is (eval [ str (mkIf false { s = "x"; }) ]).s "default";
  testTopLevelForce = is (eval [ str { s = "x"; } (mkForce { s = "forced"; }) ]).s "forced";
  testMerge = is (eval [ ints (mkMerge [ { l = [ 1 ]; } (mkIf true { l = [ 2 ]; }) ]) ]).l [ 1 2 ];
  testForce = is (eval [ str { s = "x"; } { s = mkForce "y"; } ]).s "y";
  testDefaultPriority = is (eval [ str { s = mkDefault "a"; } { s = "b"; } ]).s "b";
  testOverrideOrder = is (eval [ str { s = lib.mkOverride 30 "low"; } { s = lib.mkVMOverride "vm"; } ]).s "vm";
  testConflict = fails (eval [ str { s = "a"; } { s = "b"; } ]);
  testEqual = is (eval [ str { s = "a"; } { s = "a"; } ]).s "a";
  testOrder = is (eval [ ints { l = lib.mkAfter [ 9 ]; } { l = [ 5 ]; } { l = lib.mkBefore [ 1 ]; } { l = lib.mkOrder 600 [ 2 ]; } ]).l [ 1 2 5 9 ];
  # later modules' definitions come first, those of imports before the importer's
  testListOrder = is (eval [ ints { l = [ 1 ]; imports = [ { l = [ 2 ]; } ]; } { l = [ 3 ]; } ]).l [ 2 3 1 ];
  testUnknown = fails (eval [ str { t = 1; } ]);
  testUnknownNested = fails (eval [ { options.a.b = mkOption { default = 1; }; } { a.c = 2; } ]);
  testNoCheck = is (eval [ str { _module.check = false; t = 1; } ]).s "default";
  testWrongType = fails (eval [ str { s = 1; } ]);
  testUndefined = fails (eval [ { options.a = mkOption { type = types.int; }; } ]);
  testReadOnly = fails (eval [ { options.a = mkOption { readOnly = true; default = 1; }; } { a = 2; } ]);
  testReadOnlyOnce = is (eval [ { options.a = mkOption { readOnly = true; }; } { a = 2; } ]).a 2;
  testApply = is (eval [ { options.a = mkOption { default = 1; apply = x: x + 1; }; } ]).a 2;
  testImportsPath = is (builtins.length (eval [ ints { imports = [ ./sample-module.nix ./sample-module.nix ]; } ]).l) 1;
  testDisabled = is (eval [ ints { imports = [ ./sample-module.nix ]; disabledModules = [ ./sample-module.nix ]; } ]).l [ ];
  testKey = is (eval [ ints { imports = [ { key = "k"; l = [ 1 ]; } { key = "k"; l = [ 1 ]; } ]; } ]).l [ 1 ];
  testArgs = is (eval [ str { _module.args.extra = "e"; } ({ extra, ... }: { s = extra; }) ]).s "e";
  testSpecialArgs = is (evalModules { modules = [ str ({ extra, ... }: { imports = [ { s = extra; } ]; }) ]; specialArgs.extra = "special"; }).config.s "special";
  testStructuredMixed = fails (eval [ str { config = { }; s = "x"; } ]);
  testFreeform = is (eval [ { freeformType = types.attrsOf types.int; options.a = mkOption { type = types.str; default = "a"; }; } { b = 2; c = 3; } ]) { a = "a"; b = 2; c = 3; };
  testFreeformType = fails (eval [ { freeformType = types.attrsOf types.int; } { b = "x"; } ]);
  testFreeformNested = is (eval [ { freeformType = (types.attrsOf types.anything); options.a.x = mkOption { default = 1; }; } { a.y = 2; } ]) { a = { x = 1; y = 2; }; };
  testSubmodule =
    is
      (eval [
        { options.units = mkOption { default = { }; type = types.attrsOf (types.submodule ({ name, ... }: { options.n = mkOption { default = name; }; options.k = mkOption { type = types.int; }; })); }; }
        { units.a.k = 1; }
        { units.b = { config, ... }: { k = 2; n = "n${toString config.k}"; }; }
      ]).units
      { a = { n = "a"; k = 1; }; b = { n = "n2"; k = 2; }; };
  testSubmoduleUnknown = fails (eval [ { options.u = mkOption { type = types.submodule { options.a = mkOption { default = 1; }; }; }; } { u.b = 1; } ]);
  testSubmoduleOptionsMerge =
    is
      (eval [
        { options.u = mkOption { type = types.submodule { options.a = mkOption { default = 1; }; }; default = { }; }; }
        { options.u = mkOption { type = types.submodule { options.b = mkOption { default = 2; }; }; }; }
      ]).u
      { a = 1; b = 2; };
  testOptionBelowSubmodule =
    is
      (eval [
        { options.u = mkOption { type = types.submodule { options.a = mkOption { default = 1; }; }; default = { }; }; }
        { options.u.b = mkOption { default = 2; }; }
      ]).u
      { a = 1; b = 2; };
  testSubmoduleShorthand = is (eval [ { options.u = mkOption { type = types.submoduleWith { shorthandOnlyDefinesConfig = true; modules = [ { options.config = mkOption { }; } ]; }; }; } { u.config = 5; } ]).u.config 5;
  testDeclaredTwice = fails (eval [ { options.a = mkOption { default = 1; }; } { options.a = mkOption { default = 2; }; } ]);
  testEnumExtended = is (eval [ { options.a = mkOption { type = types.enum [ "x" ]; }; } { options.a = mkOption { type = types.enum [ "y" ]; }; } { a = "y"; } ]).a "y";
  testRename = is (eval [ { imports = [ (lib.mkRenamedOptionModule [ "old" "x" ] [ "new" "y" ]) ]; options.new.y = mkOption { default = 1; }; options.warnings = mkOption { default = [ ]; type = types.listOf types.str; }; } { old.x = 5; } ]).new.y 5;
  testRenameWarns = is (builtins.length (eval [ { imports = [ (lib.mkRenamedOptionModule [ "old" ] [ "new" ]) ]; options.new = mkOption { default = 1; }; options.warnings = mkOption { default = [ ]; type = types.listOf types.str; }; } { old = 5; } ]).warnings) 1;
  testAlias = is (let c = eval [ { imports = [ (lib.mkAliasOptionModule [ "alias" ] [ "real" ]) ]; options.real = mkOption { type = types.int; }; } { alias = 3; } ]; in [ c.alias c.real ]) [ 3 3 ];
  testAliasPriority = is (eval [ { imports = [ (lib.mkAliasOptionModule [ "alias" ] [ "real" ]) ]; options.real = mkOption { type = types.int; }; } { alias = mkForce 3; real = 4; } ]).real 3;
  testAliasPlace =
    let o = (evalModules { modules = [ { imports = [ (lib.mkAliasOptionModule [ "alias" ] [ "real" ]) ]; options.real = mkOption { type = types.int; }; } { alias = 3; } ]; }).options.real; in
    is (map (d: baseNameOf (dirOf d.pos.file)) o.definitionsWithLocations) [ "tests" ];
  testRemoved =
    is
      (map (a: a.assertion) (eval [ { imports = [ (lib.mkRemovedOptionModule [ "gone" ] "Use x.") ]; options.assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; }; } { gone = 1; } ]).assertions)
      [ false ];
  testChanged =
    is
      (eval [ { imports = [ (lib.mkChangedOptionModule [ "old" ] [ "new" ] (c: c.old + 1)) ]; options.new = mkOption { type = types.int; }; options.warnings = mkOption { default = [ ]; type = types.listOf types.str; }; } { old = 1; } ]).new
      2;
  testExtend = is ((evalModules { modules = [ str ]; }).extendModules { modules = [ { s = "more"; } ]; }).config.s "more";
  testOptionInfo =
    let o = (evalModules { modules = [ str { s = "x"; } ]; }).options.s; in
    is [ o.isDefined o.value o.loc (builtins.length o.definitionsWithLocations) o.highestPrio ] [ true "x" [ "s" ] 1 100 ];
  testDefinitionPlace =
    let d = builtins.head (evalModules { modules = [ str { s = "x"; } ]; }).options.s.definitionsWithLocations; in
    is (baseNameOf d.pos.file) "modules.nix";
  testLaziness = is (eval [ str { options.bad = mkOption { type = types.int; }; } { bad = throw "not read"; } ]).s "default";
  testDocs = is (map (d: d.name) (lib.optionAttrSetToDocList (builtins.removeAttrs (evalModules { modules = [ str enable ]; }).options [ "_module" ]))) [ "enable" "s" ];
  testEnableOption = is (lib.mkEnableOption "thing").description "Whether to enable thing.";
  testPackageOption = is (lib.mkPackageOption { hello = "h"; } "hello" { }).default "h";
  testClass = fails (evalModules { class = "nixos"; modules = [ { _class = "darwin"; } ]; }).config;
  testModuleIsList = fails (eval [ [ str ] ]);
  testUnknownArgument = fails (eval [ str ({ nothing, ... }: { s = nothing; }) ]);
}
