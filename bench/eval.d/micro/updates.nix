let
  step = acc: i: acc // { "a${toString (i - i / 500 * 500)}" = i; b = acc.b + 1; };
  end = builtins.foldl' step { b = 0; } (builtins.genList (i: i) 20000);
in builtins.foldl' (s: n: s + end.${n}) 0 (builtins.attrNames end)
