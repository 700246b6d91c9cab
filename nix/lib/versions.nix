# Parts of version texts.
{ lib }:
rec {
  splitVersion = builtins.splitVersion;
  major = v: builtins.elemAt (splitVersion v) 0;
  minor = v: builtins.elemAt (splitVersion v) 1;
  patch = v: builtins.elemAt (splitVersion v) 2;
  majorMinor = v: lib.concatStringsSep "." (lib.take 2 (splitVersion v));
  # Exactly `n` components, filled with zeros.
  pad = n: version:
    let
      numericVersion = builtins.head (lib.splitString "-" version);
      suffix = lib.removePrefix numericVersion version;
      parts = lib.splitString "." numericVersion;
    in
    lib.concatStringsSep "." (lib.take n (parts ++ lib.genList (_: "0") n)) + suffix;
}
