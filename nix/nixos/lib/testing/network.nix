# A plain network (machines as attributes) that has `testSteps`: the test that it is. Null for everything else.
{ lib, system, pkgs
  # the value of the file
, value
  # the test's name
, name
}:
let
  inherit (builtins) all any attrNames elem functionArgs intersectAttrs isAttrs isPath;
  # What a NixOS test has and a network has not.
  ofTests = [ "nodes" "containers" "testScript" "name" "imports" "config" "options" ];
  # Attributes that both may have: alone they make a test with the machine `machine`.
  ofBoth = [ "testSteps" "machine" "defaults" "meta" "globalTimeout" "interactive" "skipLint" "skipTypeCheck" "enableOCR" "node" "passthru" ];
  isPlain = v:
    isAttrs v && v ? testSteps && !(any (n: v ? ${n}) ofTests) && !(all (n: elem n ofBoth) (attrNames v));

  asked = if lib.isFunction value then functionArgs value else null;
  args = { inherit lib pkgs; inherit (network) nodes; };
  set =
    if asked == null then value
    else if asked != { } && all (n: args ? ${n} || asked.${n}) (attrNames asked) then value (intersectAttrs asked args)
    else null;
  network = import ../network.nix {
    hostSystem = system;
    network = set // { defaults = [ ./machine.nix ] ++ lib.toList (set.defaults or [ ]); };
  };
  steps = import ./steps.nix {
    inherit lib;
    machines = attrNames network.toplevels;
    steps = if lib.isFunction set.testSteps then set.testSteps { inherit (network) nodes; } else set.testSteps;
  };
  result = {
    _type = "nixos-test";
    inherit name;
    inherit (network) plan toplevels nodes warnings;
    globalTimeout = 3600;
    enableOCR = false;
    skipLint = false;
    testScript = "";
    testSteps = builtins.toJSON steps;
  };
in
if isPlain set then result // { interactive = result; } else null
