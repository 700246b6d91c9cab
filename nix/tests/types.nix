# Types: what they take, and how definitions merge.
{ lib }:
let
  inherit (lib) types;
  inherit (import ./helpers.nix) is fails;
  checks = type: yes: no: is { yes = map type.check yes; no = map type.check no; } { yes = map (_: true) yes; no = map (_: false) no; };
  merge = type: values: (lib.mergeDefinitions [ "x" ] type (map (value: { file = "t"; inherit value; }) values)).mergedValue;
in
{
  testBool = checks types.bool [ true false ] [ 1 "true" null ];
  testInt = checks types.int [ 1 (-1) ] [ 1.5 "1" ];
  testPositive = checks types.ints.positive [ 1 ] [ 0 (-5) ];
  testBetween = checks (types.ints.between 1 3) [ 1 3 ] [ 0 4 ];
  testPort = checks types.port [ 0 65535 ] [ (-1) 65536 ];
  testStr = checks types.str [ "" "a" ] [ 1 { } ];
  testNonEmptyStr = checks types.nonEmptyStr [ "a" ] [ "" " " ];
  testStrMatching = checks (types.strMatching "[a-z]+") [ "abc" ] [ "A" "" ];
  testSingleLine = is (merge types.singleLineStr [ "abc\n" ]) "abc";
  testEnum = checks (types.enum [ "a" 1 ]) [ "a" 1 ] [ "b" ];
  testPath = checks types.path [ "/x" ./types.nix ] [ "x" 1 ];
  testNullOr = checks (types.nullOr types.int) [ null 1 ] [ "a" ];
  testEither = checks (types.either types.int types.str) [ 1 "a" ] [ true ];
  testOneOf = checks (types.oneOf [ types.int types.str types.bool ]) [ 1 "a" true ] [ null ];
  testAddCheck = checks (types.addCheck types.int (x: x > 2)) [ 3 ] [ 2 ];
  testPasswdEntry = checks (types.passwdEntry types.str) [ "abc" ] [ "a:b" "a\nb" ];
  testAttrTag = checks (types.attrTag { a = lib.mkOption { type = types.int; }; b = lib.mkOption { type = types.str; }; }) [ { a = 1; } ] [ { a = 1; b = ""; } { c = 1; } ];
  testLines = is (merge types.lines [ "a" "b" ]) "a\nb";
  testCommas = is (merge types.commas [ "a" "b" ]) "a,b";
  testListOf = is (merge (types.listOf types.int) [ [ 1 ] [ 2 3 ] ]) [ 1 2 3 ];
  testListOfIf = is (merge (types.listOf types.int) [ [ (lib.mkIf false 1) 2 ] ]) [ 2 ];
  testAttrsOf = is (merge (types.attrsOf types.int) [ { a = 1; } { b = lib.mkIf true 2; c = lib.mkIf false 3; } ]) { a = 1; b = 2; };
  testLazyAttrsOf = is (builtins.attrNames (merge (types.lazyAttrsOf types.int) [ { a = throw "x"; } ])) [ "a" ];
  testAttrsOfConflict = fails (merge (types.attrsOf types.int) [ { a = 1; } { a = 2; } ]);
  testAttrs = is (merge types.attrs [ { a = 1; } { b = 2; } ]) { a = 1; b = 2; };
  testAnything = is (merge types.anything [ { a.b = 1; } { a.c = [ 2 ]; } ]) { a = { b = 1; c = [ 2 ]; }; };
  testCoercedTo = is (merge (types.coercedTo types.int toString types.str) [ 1 ]) "1";
  testCoercedList = is (merge (types.coercedTo types.str lib.singleton (types.listOf types.str)) [ "a" [ "b" ] ]) [ "a" "b" ];
  testFunctionTo = is (merge (types.functionTo (types.listOf types.int)) [ (x: [ x ]) (x: [ (x + 1) ]) ] 1) [ 1 2 ];
  testUniqConflict = fails (merge (types.uniq types.str) [ "a" "a" ]);
  testNullConflict = fails (merge (types.nullOr types.int) [ null 1 ]);
  testDeferred = is (lib.evalModules { modules = [ (merge types.deferredModule [ { options.a = lib.mkOption { default = 3; }; } ]) ]; }).config.a 3;
  testTypeMerge = is (types.int.typeMerge types.int.functor).name "int";
  testTypeMergeNo = is (types.int.typeMerge types.str.functor) null;
  testEnumMerge = checks ((types.enum [ "a" ]).typeMerge (types.enum [ "b" ]).functor) [ "a" "b" ] [ "c" ];
  testDescriptions = is
    (map (t: t.description) [ (types.listOf types.str) (types.attrsOf (types.nullOr types.int)) (types.either types.ints.positive (types.enum [ "auto" ])) ])
    [ "list of string" "attribute set of (null or signed integer)" "positive integer, meaning >0, or value \"auto\" (singular enum)" ];
  testNumbers = checks types.numbers.positive [ 1 0.5 ] [ 0 (-1) "1" ];
  testPackage = checks types.package [ { type = "derivation"; outPath = "/x"; } ] [ "x" { } ];
}
