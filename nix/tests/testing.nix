# Tests of NixOS: their forms, sets of tests, tests of a nixpkgs tree.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
  of = args: import ../nixos/lib/testing.nix ({ system = "x86_64-linux"; } // args);
  tree = ./sample-tree;
  echo = attribute: of { test = tree + "/nixos/tests/echo.nix"; inherit attribute; };
  lone = of { test = tree + "/nixos/tests/lone.nix"; };
  one = { name = "one"; nodes.machine = { }; testScript = "pass"; };
  python = import ../nixos/lib/testing-python.nix { system = "x86_64-linux"; };
in
{
  testSet = is (of { test = one; }).name "one";
  testModule = is (of { test = { lib, ... }: lib.recursiveUpdate one { name = "two"; }; }).name "two";
  testMake = is (of { test = import ../nixos/tests/make-test-python.nix ({ pkgs, ... }: one // { name = pkgs.hello.pname; }); }).name "hello";
  testMakeTest = is (builtins.attrNames (python.makeTest (one // { meta.description = "x"; })).nodes) [ "machine" ];
  testSeveral = is (of { test = { system, ... }: { a = python.makeTest one; b.c = python.makeTest one; }; }) { several = [ "a" "b.c" ]; };
  testChosen = is (of { test = { system, ... }: { a = python.makeTest one; b.c = python.makeTest (one // { name = "c"; }); }; attribute = "b.c"; }).name "c";
  testNoSuchTest = fails (of { test = one; attribute = "x"; }).name;
  testNone = fails (of { test = { system, ... }: { }; }).name;
  testInteractive = is (of { test = one // { interactive.nodes.second = { }; }; }).interactive.nodes.second.networking.hostName "second";

  testTreeNames = is (echo null) { several = [ "echo" "echo-loud" ]; };
  testTreeArguments = is (map (name: (echo name).testScript) [ "echo" "echo-loud" ]) [ "machine.succeed(\"echo hello\")" "machine.succeed(\"echo HELLO\")" ];
  # modules of the tree where the library has none, and what they read
  testTreeModule = is (lib.hasInfix "echo hello 7" (echo "echo").nodes.machine.systemd.services.echo.script) true;
  testTreeNeighbour = is (echo "echo").nodes.machine.networking.domain "example";
  testTreeRunTest = is lone.nodes.a.services.echo.text "hello";
  # an option that neither has is an error as ever
  testTreeUnknown = fails lone.nodes.b.networking.hostName;
  testNoTree = is (lib.tree.resolve "/a/nixos/modules/services/nginx.nix") "/a/nixos/modules/services/nginx.nix";
}
