# A chain of 2,000 lazy updates of a set of 200 attributes, 20 times.
let
  base = builtins.listToAttrs (builtins.genList (i: { name = "k${toString i}"; value = i; }) 200);
  chain = n: builtins.foldl' (acc: i: acc // { extra = i; "k${toString (i - i / 200 * 200)}" = acc.k7 or 0; }) base (builtins.genList (i: i + n) 2000);
in builtins.foldl' (s: n: s + (chain n).extra) 0 (builtins.genList (i: i) 20)
