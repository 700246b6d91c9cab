# Derivations that look odd, to compare with those of C++ Nix. Floats that older versions print otherwise in JSON are left out.
let
  base = { system = "x86_64-linux"; builder = "/bin/sh"; };
  d = more: derivation (base // { name = "x"; } // more);
  multi = d { outputs = [ "out" "dev" "a" ]; };
  fixed = d { outputHash = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"; outputHashAlgo = "sha256"; };
  fixed2 = d { name = "x"; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; other = "y"; };
  top = d { a = multi.dev; b = fixed; };
in {
  t01 = d { x = 1.5; y = true; z = false; n = null; l = [ 1 [ ] [ 2 [ 3 null ] ] "x" true ]; };
  t02 = d { __ignoreNulls = true; n = null; m = 1; };
  t03 = d { args = [ "a" 1 null ./derivations.nix multi ]; };
  t04 = d { s = { __toString = s: "hi"; outPath = "/no"; }; o = { outPath = "/yes"; }; };
  t05 = d { outputs = [ "zz" "out" "aa" ]; zz = "mine"; };
  t06 = d { a = fixed; b = fixed2; };
  t07 = d { x = top.drvPath; };
  t08 = d { x = builtins.unsafeDiscardOutputDependency top.drvPath; };
  t09 = d { x = builtins.unsafeDiscardStringContext top.drvPath; };
  t10 = d { x = builtins.toFile "t" "hello"; y = builtins.toFile "u" "ref ${builtins.toFile "t" "hello"}"; };
  t11 = d { x = builtins.placeholder "out"; };
  t12 = d { __structuredAttrs = true; outputs = [ "out" "b" ]; x = { "é" = "a/b\"\n"; f = 1.5; g = 1.0e100; h = 0.1; l = [ null true multi ./derivations.nix ]; }; args = [ "y" ]; };
  t13 = d { __structuredAttrs = true; __ignoreNulls = true; n = null; b = { }; c = [ ]; };
  t14 = d { outputHash = "900150983cd24fb0d6963f7d28e17f72"; outputHashAlgo = "md5"; };
  t15 = d { outputHash = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="; outputHashMode = "recursive"; };
  t16 = d { outputHash = "a9993e364706816aba3e25717850c26c9cd0d89d"; outputHashAlgo = "sha1"; outputHashMode = "recursive"; };
  t17 = d { "weird key" = "\$\{x} \"q\" \\ \t \r"; };
  t18 = d { name = ".x"; };
  t19 = d { name = "a+b-c.d_e?f=G"; };
  t20 = d { src = builtins.path { path = ./src; name = "nm"; }; s2 = ./src; s3 = builtins.filterSource (p: t: t != "symlink" && baseNameOf p != "a") ./src; s4 = builtins.path { path = ./src/a; recursive = false; }; };
  t21 = d { x = builtins.substring 0 0 "${top}"; y = builtins.substring 1 3 "${multi.a}"; };
  t22 = d { x = builtins.replaceStrings [ "a" "b" ] [ "${multi}" "${fixed}" ] "xax"; };
  t23 = d { x = builtins.appendContext "foo" (builtins.getContext "${multi.dev}${top}"); };
  t24 = d { x = builtins.toJSON { a = multi; b = ./src; c = 1.5; }; y = builtins.toXML { a = multi; f = { a, b ? 1, ... }@z: 1; }; };
  t25 = d { a = [ multi.dev multi.a ]; b = "${multi.out}/bin"; };
  t26 = d { passAsFile = [ "text" ]; text = "long"; allowedReferences = [ ]; };
  t27 = d { x = builtins.concatStringsSep ":" [ "${multi}" "${top}" ]; };
  t28 = d { x = toString ./src; y = toString [ 1 ./src ]; };
  t29 = d { x = builtins.hashString "sha256" "${multi}"; };
  t30 = multi.dev; t31 = builtins.head multi.all; t32 = top.drvAttrs.b;
  t33 = d { builder = ./derivations.nix; };
  t34 = d { outputHash = ""; outputHashAlgo = "sha256"; };
  t35 = d { x = baseNameOf "${multi}"; y = dirOf "${multi}/x"; };
  t36 = d { x = (builtins.addDrvOutputDependencies or (_: top.drvPath)) (builtins.unsafeDiscardOutputDependency top.drvPath); };
  t37 = import <nix/fetchurl.nix> { url = "http://x/y.tar"; sha256 = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73"; };
  t38 = d { x = builtins.match "(.*)-x.*" "${multi}"; };
  t39 = d { __structuredAttrs = true; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };
  t40 = d { a.b = 1; a.outPath = ./src; n = -5; big = 9223372036854775807; f = 1.0e20; g = 0.0000001; };
}
