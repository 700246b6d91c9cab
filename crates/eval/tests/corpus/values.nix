[
  (builtins.fromJSON "{\"a\":[1,2.5e3,\"\\u00e9\\ud83d\\ude00\",null]}") (builtins.fromTOML "a = [1, 2]\n[b.c]\nd = 1979-05-27T07:32:00Z")
  (builtins.match "([a-z]+)-([0-9.]{1,3})" "nix-2.3") (builtins.split "(x|y)*" "axbyc") (builtins.replaceStrings [ "" "a" ] [ "-" "b" ] "aba")
  (builtins.substring 1 (-1) "héllo") (builtins.sort builtins.lessThan [ 3 1 2 ]) (builtins.genList (x: x * x) 9)
  (builtins.foldl' (a: b: a + b) 0 [ 1 2 3 ]) (builtins.tryEval (throw "x")) (builtins.toJSON { a = 1.0; b = [ ]; }) (builtins.toXML { a = x: x; })
  (builtins.hashString "sha256" "x") (builtins.convertHash { hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; hashAlgo = "sha256"; toHashFormat = "nix32"; })
  (derivation { name = "d"; system = "s"; builder = "/b"; args = [ ./. ]; outputs = [ "out" "dev" ]; }).drvPath
  (builtins.parseDrvName "a-b-1.2") (builtins.splitVersion "1.2pre3") (builtins.compareVersions "1.0" "1.0pre") (builtins.groupBy (x: x) [ "a" "b" ])
  (builtins.genericClosure { startSet = [ { key = 1; } ]; operator = { key }: if key < 5 then [ { key = key + 1; } ] else [ ]; })
  (builtins.elemAt [ 1 2 ] 1) (builtins.zipAttrsWith (n: v: v) [ { a = 1; } { a = 2; } ]) (builtins.placeholder "out") (builtins.getContext "${./x}")
  (let x = { a = x; }; in x.a.a) (let f = n: if n == 0 then 0 else f (n - 1); in f 100) (builtins.bitXor 5 3) (builtins.ceil 1.5)
]
