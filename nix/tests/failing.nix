# What must fail: { "file: test" = value; }, for a runner that forces each.
let
  lib = import ../lib;
  of = file: lib.mapAttrs' (name: test: { name = "${baseNameOf file}: ${name}"; value = test.failing; })
    (lib.filterAttrs (_: test: test ? failing) (import file { inherit lib; }));
in
of ./lib.nix // of ./types.nix // of ./modules.nix // of ./machine.nix // of ./packages.nix // of ./services.nix // of ./test-steps.nix
