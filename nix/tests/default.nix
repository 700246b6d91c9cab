# All tests of the library: a list of those that fail, [ { name, expected, result } ].
#
# With C++ Nix: NIX_REMOTE=dummy:// nix-instantiate --eval --strict -I nbv-debian-index=nix/tests/index.nix nix/tests
# (a test of crate `eval` does it with the project's own evaluator).
let
  lib = import ../lib;
  run = file: map (f: f // { name = "${baseNameOf file}: ${f.name}"; }) (lib.runTests (import file { inherit lib; }));
in
run ./lib.nix ++ run ./types.nix ++ run ./modules.nix ++ run ./machine.nix ++ run ./packages.nix ++ run ./services.nix ++ run ./test-steps.nix ++ run ./testing.nix
