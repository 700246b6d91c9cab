let
  next = x: let y = x * 1103515245 + 12345; in y - y / 2147483648 * 2147483648;
  numbers = builtins.genList (i: next (next (i + 7))) 200000;
in builtins.elemAt (builtins.sort (a: b: a < b) numbers) 1000
