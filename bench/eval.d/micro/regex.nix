let
  one = i: builtins.match "([a-z]+)-([0-9]+(\\.[0-9]+)*)(-(rc|pre)[0-9]*)?" "package-${toString i}.12.3-rc4";
  parts = i: builtins.length (builtins.split "[.-]" "package-${toString i}.12.3-rc4");
in builtins.foldl' (s: i: s + parts i + builtins.stringLength (builtins.elemAt (one i) 1)) 0 (builtins.genList (i: i) 40000)
