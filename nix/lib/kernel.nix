# Values of a Linux kernel's configuration.
{ lib }:
{
  yes = { tristate = "y"; optional = false; };
  no = { tristate = "n"; optional = false; };
  module = { tristate = "m"; optional = false; };
  unset = { tristate = null; optional = false; };
  freeform = value: { freeform = value; optional = false; };
  option = x: x // { optional = true; };
  whenHelpers = version: {
    whenAtLeast = v: lib.mkIf (lib.versionAtLeast version v);
    whenOlder = v: lib.mkIf (lib.versionOlder version v);
    whenBetween = low: high: lib.mkIf (lib.versionAtLeast version low && lib.versionOlder version high);
  };
}
