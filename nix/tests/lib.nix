# Functions of lib.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
in
{
  testFix = is (lib.fix (self: { a = 1; b = self.a + 1; })).b 2;
  testExtends = is (lib.fix (lib.extends (final: prev: { a = prev.a + 1; c = final.b; }) (self: { a = 1; b = self.a * 10; }))) { a = 2; b = 20; c = 20; };
  testMakeExtensible = is ((lib.makeExtensible (self: { a = 1; b = self.a; })).extend (final: prev: { a = 5; })).b 5;
  testComposeExtensions =
    let
      both = lib.composeExtensions (final: prev: { a = prev.a + 1; }) (final: prev: { a = prev.a * 2; });
    in
    is (lib.fix (lib.extends both (_: { a = 1; }))).a 4;
  testPipe = is (lib.pipe 2 [ (x: x + 1) (x: x * 10) ]) 30;
  testFunctionArgs = is (lib.functionArgs (lib.setFunctionArgs (x: x) { a = true; })) { a = true; };
  testToHexString = is (lib.toHexString 250) "FA";
  testFromHexString = is (lib.fromHexString "ff") 255;
  testCompare = is [ (lib.compare 1 2) (lib.compare 2 2) (lib.compare "b" "a") ] [ (-1) 0 1 ];

  testAttrByPath = is (lib.attrByPath [ "a" "b" ] 6 { a.b = 3; }) 3;
  testAttrByPathDefault = is (lib.attrByPath [ "z" "z" ] 6 { a.b = 3; }) 6;
  testHasAttrByPath = is [ (lib.hasAttrByPath [ "a" "b" ] { a.b = 3; }) (lib.hasAttrByPath [ "a" "c" ] { a.b = 3; }) ] [ true false ];
  testSetAttrByPath = is (lib.setAttrByPath [ "a" "b" ] 3) { a.b = 3; };
  testMapAttrs' = is (lib.mapAttrs' (n: v: lib.nameValuePair "x${n}" (v + 1)) { a = 1; b = 2; }) { xa = 2; xb = 3; };
  testFilterAttrs = is (lib.filterAttrs (n: v: v > 1) { a = 1; b = 2; }) { b = 2; };
  testRecursiveUpdate = is (lib.recursiveUpdate { a.b = 1; a.c = 2; d = 1; } { a.b = 5; d.e = 1; }) { a = { b = 5; c = 2; }; d.e = 1; };
  testRecursiveUpdateUntil = is (lib.recursiveUpdateUntil (path: l: r: path == [ "foo" ]) { foo.bar = 1; foo.baz = 2; bar = 3; } { foo.bar = 1; foo.quz = 2; baz = 4; }) { foo.bar = 1; foo.quz = 2; bar = 3; baz = 4; };
  testGenAttrs = is (lib.genAttrs [ "a" "b" ] (n: "x" + n)) { a = "xa"; b = "xb"; };
  testFoldlAttrs = is (lib.foldlAttrs (acc: n: v: acc + n + toString v) "" { b = 2; a = 1; }) "a1b2";
  testFoldAttrs = is (lib.foldAttrs (item: acc: [ item ] ++ acc) [ ] [ { a = 2; } { a = 3; } ]) { a = [ 2 3 ]; };
  testZipAttrs = is (lib.zipAttrs [ { a = "x"; } { a = "y"; b = "z"; } ]) { a = [ "x" "y" ]; b = [ "z" ]; };
  testCollect = is (lib.collect builtins.isInt { a = { b = 1; c = "x"; }; d = 2; }) [ 1 2 ];
  testCartesianProduct = is (lib.cartesianProduct { a = [ 1 2 ]; b = [ 10 ]; }) [ { a = 1; b = 10; } { a = 2; b = 10; } ];
  testMapAttrsRecursive = is (lib.mapAttrsRecursive (path: v: lib.concatStringsSep "-" (path ++ [ v ])) { n.a = "A"; b = "B"; }) { n.a = "n-a-A"; b = "b-B"; };
  testConcatMapAttrs = is (lib.concatMapAttrs (n: v: { ${n} = v; "${n}${v}" = v; }) { x = "a"; }) { x = "a"; xa = "a"; };
  testUpdateMany = is (lib.updateManyAttrsByPath [ { path = [ "a" "b" ]; update = old: old + 1; } { path = [ "c" ]; update = _: 9; } ] { a.b = 1; c = 0; }) { a.b = 2; c = 9; };
  testShowAttrPath = is (lib.showAttrPath [ "foo" "10" "a b" ]) "foo.\"10\".\"a b\"";
  testGetBin = is (lib.getBin { out = "o"; bin = "b"; }) "b";
  testGetExe = is (lib.getExe { type = "derivation"; name = "hello-1.0"; outPath = "/x"; }) "/x/bin/hello";
  testGetExeMain = is (lib.getExe { type = "derivation"; name = "hello-1.0"; outPath = "/x"; meta.mainProgram = "hi"; }) "/x/bin/hi";
  testMatchAttrs = is (lib.matchAttrs { a.b = 1; } { a = { b = 1; c = 2; }; }) true;
  testUnionOfDisjoint = fails (lib.attrsets.unionOfDisjoint { a = 1; } { a = 2; });
  testMergeAttrsList = is (lib.attrsets.mergeAttrsList [ { a = 1; } { b = 2; } { a = 3; } ]) { a = 3; b = 2; };

  testFoldr = is (lib.foldr (a: b: a + b) "" [ "a" "b" "c" ]) "abc";
  testFoldl = is (lib.foldl (a: b: a - b) 10 [ 1 2 ]) 7;
  testImap = is (lib.imap1 (i: v: "${v}-${toString i}") [ "a" "b" ]) [ "a-1" "b-2" ];
  testFlatten = is (lib.flatten [ 1 [ 2 [ 3 ] 4 ] 5 ]) [ 1 2 3 4 5 ];
  testFindFirst = is [ (lib.findFirst (x: x > 3) 7 [ 1 6 4 ]) (lib.findFirst (x: x > 9) 7 [ 1 6 4 ]) ] [ 6 7 ];
  testFindFirstLazy = is (lib.findFirst (x: x == 1) 0 [ 1 (throw "not needed") ]) 1;
  testFindSingle = is [ (lib.findSingle (x: x == 3) "none" "many" [ 1 3 ]) (lib.findSingle (x: x == 3) "none" "many" [ 3 3 ]) (lib.findSingle (x: x == 3) "none" "many" [ 9 ]) ] [ 3 "many" "none" ];
  testRange = is [ (lib.range 2 4) (lib.range 3 2) ] [ [ 2 3 4 ] [ ] ];
  testSublist = is [ (lib.sublist 1 3 [ "a" "b" "c" "d" "e" ]) (lib.sublist 1 3 [ ]) ] [ [ "b" "c" "d" ] [ ] ];
  testTakeDrop = is [ (lib.take 2 [ 1 2 3 ]) (lib.drop 2 [ 1 2 3 ]) (lib.take 0 [ 1 ]) (lib.drop 9 [ 1 ]) ] [ [ 1 2 ] [ 3 ] [ ] [ ] ];
  testUnique = is (lib.unique [ 3 2 3 4 ]) [ 3 2 4 ];
  testReverse = is (lib.reverseList [ 1 2 3 ]) [ 3 2 1 ];
  testToposort = is (lib.toposort (a: b: a < b) [ 3 2 1 ]) { result = [ 1 2 3 ]; };
  testToposortCycle = is ((lib.toposort (a: b: lib.elem "${a}${b}" [ "ab" "ba" ]) [ "a" "b" ]) ? cycle) true;
  testNaturalSort = is (lib.naturalSort [ "disk11" "disk8" "disk100" "disk9" ]) [ "disk8" "disk9" "disk11" "disk100" ];
  testSortOn = is (lib.sortOn builtins.stringLength [ "aa" "b" "cccc" ]) [ "b" "aa" "cccc" ];
  testGroupBy' = is (lib.groupBy' builtins.add 0 (x: if x > 2 then "big" else "small") [ 1 2 3 4 ]) { big = 7; small = 3; };
  testCompareLists = is (lib.compareLists lib.compare [ 1 2 ] [ 1 3 ]) (-1);
  testZipListsWith = is (lib.zipListsWith (a: b: a + b) [ "h" "l" ] [ "e" "o" "x" ]) [ "he" "lo" ];
  testLast = is (lib.last [ 1 2 3 ]) 3;
  testLastEmpty = fails (lib.last [ ]);
  testMutuallyExclusive = is (lib.mutuallyExclusive [ 1 2 ] [ 3 ]) true;

  testConcatMapStringsSep = is (lib.concatMapStringsSep "-" lib.toUpper [ "foo" "bar" ]) "FOO-BAR";
  testMakeBinPath = is (lib.makeBinPath [ "/opt" "/usr" ]) "/opt/bin:/usr/bin";
  testSplitString = is (lib.splitString "." "foo.bar.baz") [ "foo" "bar" "baz" ];
  testSplitStringRegex = is (lib.splitString "|" "a|b") [ "a" "b" ];
  testHasInfix = is [ (lib.hasInfix "b.d" "abcd") (lib.hasInfix "bc" "abcd") ] [ false true ];
  testRemove = is [ (lib.removePrefix "foo." "foo.bar") (lib.removeSuffix "r" "foo.bar") (lib.removePrefix "xxx" "foo") ] [ "bar" "foo.ba" "foo" ];
  testEscapeShellArg = is (lib.escapeShellArg "it's") "'it'\\''s'";
  testEscapeShellArgPlain = is (lib.escapeShellArg "plain-1.0/x") "plain-1.0/x";
  testEscapeNixIdentifier = is (map lib.strings.escapeNixIdentifier [ "hello" "0abc" "with" ]) [ "hello" "\"0abc\"" "\"with\"" ];
  testEscapeURL = is (lib.escapeURL "a b/~") "a%20b%2F~";
  testToInt = is [ (lib.toInt "1337") (lib.toInt "-4") (lib.toInt " 12 ") ] [ 1337 (-4) 12 ];
  testToIntLeadingZero = fails (lib.toInt "007");
  testToIntBase10 = is (lib.toIntBase10 "00024") 24;
  testVersions = is [ (lib.versionOlder "1.1" "1.2") (lib.versionAtLeast "1.10" "1.9") (lib.versions.major "3.4.5") (lib.versions.majorMinor "3.4.5") ] [ true true "3" "3.4" ];
  testGetName = is [ (lib.getName "youtube-dl-2016.01.01") (lib.getVersion { name = "a-1.2"; }) ] [ "youtube-dl" "1.2" ];
  testFixedWidth = is (lib.fixedWidthString 5 "0" "15") "00015";
  testSanitize = is (map lib.strings.sanitizeDerivationName [ "..hello." "" "a b c" ]) [ "hello." "unknown" "a-b-c" ];
  testLevenshtein = is [ (lib.levenshtein "foo" "foo") (lib.levenshtein "book" "hook") (lib.levenshtein "hello" "Heyo") (lib.levenshtein "" "abc") ] [ 0 1 3 3 ];
  testTrim = is (lib.trim " a b \n") "a b";
  testReplicate = is (lib.strings.replicate 3 "v") "vvv";
  testShellVar = is (lib.toShellVar "a" [ "x y" ]) "declare -a a=('x y')";
  testCamelCase = is (lib.toCamelCase "hello-world") "helloWorld";

  testINI = is (lib.generators.toINI { } { foo = { hi = "x"; ciao = true; }; baz."also, n" = 42; }) "[baz]\nalso, n=42\n\n[foo]\nciao=true\nhi=x\n";
  testKeyValue = is (lib.generators.toKeyValue { listsAsDuplicateKeys = true; } { a = [ 1 2 ]; b = null; }) "a=1\na=2\nb=null\n";
  testPretty = is (lib.generators.toPretty { multiline = false; } { a = [ 1 "x" ]; "b c" = null; }) "{ a = [ 1 \"x\" ]; \"b c\" = null; }";
  testPrettyMultiline = is (lib.generators.toPretty { } { a = { }; b = [ true ]; }) "{\n  a = { };\n  b = [\n    true\n  ];\n}";
  testLua = is (lib.generators.toLua { multiline = false; } { a = [ 1 "b" ]; }) "{ [\"a\"] = { 1, \"b\" } }";
  testGitINI = is (lib.generators.toGitINI { user.name = "me"; url."https://x".insteadOf = "y"; }) "[url \"https://x\"]\n\tinsteadOf = \"y\"\n\n[user]\n\tname = \"me\"\n";
  testGNUCommandLine = is (lib.cli.toGNUCommandLine { } { X = "PUT"; retry = 3; silent = false; verbose = true; url = [ "a" "b" ]; none = null; }) [ "-X" "PUT" "--retry" "3" "--url" "a" "--url" "b" "--verbose" ];

  testTextClosure = is (lib.textClosureList { a = lib.fullDepEntry "A" [ "b" ]; b = lib.noDepEntry "B"; c = "C"; } [ "a" "c" ]) [ "B" "A" "C" ];
  testTextClosureCycle = fails (lib.textClosureList { a = lib.fullDepEntry "A" [ "b" ]; b = lib.fullDepEntry "B" [ "a" ]; } [ "a" ]);

  testElaborate = is (let p = lib.systems.elaborate "i686-linux"; in [ p.system p.config p.isi686 p.is32bit p.isLinux p.linuxArch ]) [ "i686-linux" "i686-unknown-linux-gnu" true true true "i386" ];
  testElaborateUnknown = fails (lib.systems.elaborate "z80-cpm").system;
  testPlatforms = is (lib.elem "x86_64-linux" lib.platforms.linux && !(lib.elem "x86_64-darwin" lib.platforms.linux)) true;
  testLicense = is lib.licenses.mit.spdxId "MIT";

  testMakeOverridable = is (let f = lib.makeOverridable ({ a, b ? 2 }: { sum = a + b; }); in [ (f { a = 1; }).sum ((f { a = 1; }).override { b = 10; }).sum ]) [ 3 11 ];
  testCallPackage = is ((lib.callPackageWith { a = 1; b = 2; } ({ a, c }: { v = a + c; }) { c = 5; }).v) 6;
  testScope = is (let s = lib.makeScope lib.callPackageWith (self: { a = 1; b = self.callPackage ({ a }: { v = a; }) { }; }); in (s.overrideScope (final: prev: { a = 7; })).b.v) 7;
  testFileset = is
    (let s = lib.fileset.toSource { root = ./.; fileset = lib.fileset.difference (lib.fileset.unions [ ./lib.nix ./types.nix ]) ./types.nix; }; in
    map (f: s.filter (toString f) "regular") [ ./lib.nix ./types.nix ./modules.nix ])
    [ true false false ];
  testFilesetFilter = is
    (let s = lib.fileset.toSource { root = ./.; fileset = lib.fileset.fileFilter (f: f.hasExt "nix" && f.name != "types.nix") ./.; }; in
    [ (s.filter (toString ./lib.nix) "regular") (s.filter (toString ./types.nix) "regular") ])
    [ true false ];
  testNearest = is (lib.diagnostics.nearest "opensh" [ "openssh" "httpd" "openvpn" ]) [ "openssh" ];
}
