# The package set.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
  pkgs = import ../pkgs { system = "x86_64-linux"; };
  old = import ../pkgs { system = "i686-linux"; };
  links = drv: lib.listToAttrs (map (link: lib.nameValuePair link.name link.target) drv.drvAttrs.links);
in
{
  testDebianName = is pkgs.netcat-openbsd.drvAttrs.packages [ "netcat-openbsd" ];
  testRenamed = is pkgs.apacheHttpd.drvAttrs.packages [ "apache2-bin" "apache2-data" "apache2-utils" "media-types" ];
  testVersions = is [ pkgs.hello.name pkgs.hello.version pkgs.hello.pname ] [ "hello-1.0-1" "1.0" "hello" ];
  testSystem = is [ pkgs.bash.system old.bash.system ] [ "x86_64-linux" "i686-linux" ];
  testMissing = is (pkgs ? grafana) false;

  testLacking = is [ (pkgs ? powerdns) (pkgs ? postgresql) ] [ false false ];
  testUnsupported = fails (import ../pkgs { system = "z80-cpm"; }).bash;
  testCross = fails (import ../pkgs { localSystem = "x86_64-linux"; crossSystem = "i686-linux"; }).bash;
  testLinks = is (links pkgs.apacheHttpd).modules "/usr/lib/apache2/modules";
  testSh = is (links pkgs.bash)."bin/sh" "/usr/bin/bash";
  testOutputs = is (map (o: pkgs.curl.${o}.outPath == pkgs.curl.outPath) [ "bin" "dev" "lib" "out" "man" ]) [ true true true true true ];
  testGetExe = is (lib.getExe pkgs.iproute2) "${pkgs.iproute2}/bin/ip";
  testOverrideName = is (pkgs.hello.overrideAttrs { pname = "hallo"; }).pname "hallo";
  testOverrideFunction = is (pkgs.hello.overrideAttrs (old: { meta = old.meta // { priority = 3; }; })).meta.priority 3;
  testOverlay = is (import ../pkgs { system = "x86_64-linux"; overlays = [ (final: prev: { hello = prev.file; }) ]; }).hello.pname "file";
  testExtend = is (pkgs.extend (final: prev: { hi = final.hello; })).hi.pname "hello";
  testCallPackage = is (pkgs.callPackage ({ hello, extra }: [ hello.pname extra ]) { extra = 1; }) [ "hello" 1 ];
  testPython = is (pkgs.python3.withPackages (p: [ p.requests p.PyYAML or p.pyyaml ])).drvAttrs.packages [ "python3" "python3-minimal" "python3-requests" "python3-yaml" ];
  testPerl = is pkgs.perlPackages.FileSlurp.drvAttrs.packages [ "libfile-slurp-perl" ];

  testText = is (let t = pkgs.writeText "a" "b"; in [ t.drvAttrs.text t.drvAttrs.destination t.builder ]) [ "b" "" "builtin:write-text" ];
  testScriptBin = is (let s = pkgs.writeShellScriptBin "x" "true"; in [ s.drvAttrs.destination s.drvAttrs.executable s.meta.mainProgram ]) [ "/bin/x" true "x" ];
  testShebang = is (lib.hasPrefix "#!${pkgs.bash}/bin/bash\n" (pkgs.writeShellScript "x" "true").drvAttrs.text) true;
  testApplication =
    is (lib.hasInfix (builtins.unsafeDiscardStringContext "export PATH=\"${pkgs.curl}/bin:$PATH\"") (pkgs.writeShellApplication { name = "x"; runtimeInputs = [ pkgs.curl ]; text = "curl"; }).drvAttrs.text) true;
  testFarmLast = is (map (e: e.name) (pkgs.linkFarm "x" [ { name = "a"; path = pkgs.hello; } { name = "a"; path = pkgs.file; } ]).drvAttrs.entries) [ "a" ];
  testPriority = is (map (p: p.priority) (pkgs.buildEnv { name = "x"; paths = [ pkgs.hello (lib.hiPrio pkgs.file) ]; }).drvAttrs.paths) [ 5 (-10) ];
  testRunCommand = is (let r = pkgs.runCommand "x" { A = 1; } "touch $out"; in [ r.name r.drvAttrs.A r.drvAttrs.buildCommand ]) [ "x" 1 "touch $out" ];
  testMkDerivation = is (pkgs.stdenv.mkDerivation (final: { pname = "a"; version = "1"; src = ./.; passthru.full = "${final.pname}!"; })).full "a!";
  testOverrideDerivation = is (let d = pkgs.stdenv.mkDerivation { name = "a"; X = "1"; }; in (d.overrideAttrs (old: { X = old.X + "2"; })).drvAttrs.X) "12";
  testReplaceVars = is (pkgs.replaceVars ./sample-text { name = "x"; }).drvAttrs.text "hello x\n";

  testJson = is ((pkgs.formats.json { }).generate "x" { a = [ 1 true ]; }).drvAttrs.text "{\n  \"a\": [\n    1,\n    true\n  ]\n}\n";
  testToml =
    is ((pkgs.formats.toml { }).generate "x" { a = 1; b.c = { d = [ 1 2 ]; "e f" = "g"; }; h = [ { i = 1; } { i = 2; } ]; }).drvAttrs.text
      "a = 1\n\n[b]\n\n[b.c]\nd = [1, 2]\n\"e f\" = \"g\"\n\n[[h]]\ni = 1\n\n[[h]]\ni = 2\n";
  testIni = is ((pkgs.formats.ini { }).generate "x" { a = { b = true; c = 3; }; }).drvAttrs.text "[a]\nb=true\nc=3\n";
  testLibconfig = is ((pkgs.formats.libconfig { }).generate "x" { a = [ { b = true; } ]; c = "d"; }).drvAttrs.text "a = ({ b = true;\n});\nc = \"d\";\n";
  testKeyValue = is ((pkgs.formats.keyValue { }).generate "x" { a = 1; }).drvAttrs.text "a=1\n";
}
