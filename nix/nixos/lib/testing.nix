# The tests of a file. Gives for one test the network's plan and toplevels, as network.nix does, and the script; for
# several their names.
{
  # a set, a function ({ pkgs, lib, ... }: { ... }), a module, or the path of a file with one
  test
, system ? builtins.currentSystem
, pkgs ? import ../../pkgs { localSystem = { inherit system; }; }
  # the name of one test, where the file has several
, attribute ? null
}:
let
  lib = import ../../lib;
  isFile = builtins.isPath test || builtins.isString test;
  path = toString test;
  place = if isFile then lib.tree.split path else null;
  tree = import ./testing/tree.nix { inherit lib system pkgs; root = place.root; };

  read =
    if place != null then tree.import test
    else if isFile then import test
    else test;
  make = import ./testing/one.nix { inherit lib system pkgs; tree = if place == null then null else place.root; };
  ofModule = module: make (
    lib.optional isFile { name = lib.mkOptionDefault (lib.removeSuffix ".nix" (baseNameOf path)); } ++ [ module ]
  );

  # A plain network with steps.
  plain = import ./testing/network.nix {
    inherit lib system pkgs;
    value = read;
    name = if isFile then lib.removeSuffix ".nix" (baseNameOf path) else "test";
  };

  isTest = v: v._type or null == "nixos-test";
  args = { inherit system lib pkgs; callTest = t: t; };
  # A function that asks for `system`, or for nothing by name, gives a test or a set of tests; others are modules.
  called = f:
    let formals = lib.functionArgs f; in
    # the older form takes what it is given with `...` only
    f (if formals == { } then removeAttrs args [ "callTest" ] else builtins.intersectAttrs formals args);
  isCalled = f: let formals = lib.functionArgs f; in formals == { } || formals ? system;

  # Whether a set of the file is one test's module.
  isModule = v: builtins.any (name: v ? ${name}) [ "testScript" "testSteps" "nodes" "machine" "imports" "config" "defaults" ];
  # { "name.of.test" = test; }
  collect = prefix: v:
    if isTest v then { ${lib.concatStringsSep "." prefix} = v; }
    else if lib.isDerivation v || !builtins.isAttrs v then { }
    else lib.foldl' (found: name: found // collect (prefix ++ [ name ]) v.${name}) { }
      (builtins.filter (name: name != "recurseForDerivations" && name != "passthru") (builtins.attrNames v));

  listed = if place == null then [ ] else tree.entriesOf place.rest;
  found =
    if listed != [ ] then
      # as NixOS runs it
      lib.foldl' (all: name: all // collect [ name ] (tree.named name)) { } listed
    else if plain != null then { "" = plain; }
    else
      let v = if lib.isFunction read && isCalled read then called read else read; in
      if builtins.isAttrs v && !isTest v && !(lib.isFunction v) && !isModule v then collect [ ] v
      else { "" = if isTest v then v else ofModule v; };

  names = builtins.attrNames found;
  chosen =
    if attribute != null then
      found.${attribute} or (lib.diagnostics.fail {
        code = "no-such-test";
        message = "there is no test `${attribute}` in ${if isFile then path else "the set"}";
        hint =
          if names == [ "" ] then "it has one test, which needs no name"
          else "there are: ${lib.concatStringsSep ", " names}";
      })
    else found.${builtins.head names};
in
if names == [ ] then
  lib.diagnostics.fail {
    code = "no-test";
    message = "${if isFile then path else "the set"} has no test";
    pos = if isFile then { file = path; line = 1; column = 1; } else null;
    hint = "a test is a set with nodes and testScript, or a function that gives one: { pkgs, ... }: { nodes.machine = { }; testScript = \"...\"; }";
  }
else if attribute == null && builtins.length names > 1 then { several = names; }
else chosen
