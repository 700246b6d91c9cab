# Steps of tests: what they become, and what is refused.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
  make = machines: steps: import ../nixos/lib/testing/steps.nix { inherit lib machines steps; };
  two = make [ "a" "b" ];
  does = step: let s = builtins.head (two [ step ]); in [ s.on ] ++ [ (removeAttrs s.does [ "verb" ]) ];
  test = value: import ../nixos/lib/testing/network.nix {
    inherit lib value;
    system = "x86_64-linux";
    pkgs = { };
    name = "t";
  };
in
{
  testRun = is (does { on = "b"; run = "true"; user = "u"; }) [ [ "b" ] { command = "true"; user = "u"; stdin = null; expect = { }; } ];
  testAll = is (does { on = "*"; file = /etc/x; }) [ [ "a" "b" ] { path = "/etc/x"; present = true; content = null; } ];
  testOnly = is (builtins.head (make [ "m" ] [{ unit = "u"; }])).on [ "m" ];
  testMachines = is (does { reboot = [ "b" "a" ]; }) [ [ "b" "a" ] { } ];
  testBody = is (does { on = "a"; get = "http://b/"; expect.body = "x"; }) [ [ "a" ] { url = "http://b/"; expect = { stdout = "x"; }; } ];
  testPlace = is (let p = (builtins.head (two [{ sleep = 1; }])).place; in [ (baseNameOf p.file) (lib.hasInfix "testPlace" p.text) ]) [ "test-steps.nix" true ];
  testNested = is
    (map (s: s.does.verb) (builtins.head (two [{ group = "g"; steps = [ { heal = true; } { parallel = [{ log = "x"; }]; } ]; }])).does.steps)
    [ "heal" "parallel" ];
  testInterval = is (does { retry = [ ]; }) [ [ ] { steps = [ ]; interval = 1; } ];

  testUnknownStep = fails (two [{ on = "a"; runn = "true"; }]);
  testUnknownAttribute = fails (two [{ on = "a"; run = "true"; usr = "x"; }]);
  testUnknownExpectation = fails (two [{ on = "a"; run = "true"; expect.body = "x"; }]);
  testUnknownMachine = fails (two [{ on = "c"; run = "true"; }]);
  testUnknownInGroup = fails (two [{ partition = [ [ "a" ] [ "c" ] ]; }]);
  testNoMachine = fails (two [{ run = "true"; }]);
  testTwoThings = fails (two [{ on = "a"; run = "true"; fails = "false"; }]);
  testNothing = fails (two [{ on = "a"; }]);
  testValue = fails (two [{ on = "a"; run = 1; }]);
  testPort = fails (two [{ on = "a"; port = 0; }]);
  testTimeout = fails (two [{ on = "a"; run = "true"; timeout = 0; }]);
  testScheme = fails (two [{ on = "a"; get = "https://b/"; }]);
  testNoSource = fails (two [{ on = "a"; copyTo = "/x"; }]);
  testDeep = fails (two [{ group = "g"; steps = [{ retry = [{ on = "a"; rum = "x"; }]; }]; }]);
  testNoList = fails (two { run = "true"; });

  # Which files are plain networks.
  testPlain = is (test { a = { }; b = { }; testSteps = [ ]; }).testSteps "[]";
  testPlainFunction = is ((test ({ pkgs, ... }: { a = { }; testSteps = [ ]; })).name) "t";
  testNoSteps = is (test { a = { }; }) null;
  testNixosTest = is (map test [ { nodes.a = { }; testSteps = [ ]; } { machine = { }; testSteps = [ ]; } ({ config, ... }: { testSteps = [ ]; a = { }; }) ]) [ null null null ];
}
