let
  inherit (builtins) map; f = { a, b ? 1, ... }@all: x: a + b * -x;
  s = "a${toString 1}\n$${x}\${y}"; i = ''
    two
      ''${no} ''' ${s} ''\n
  '';
in rec {
  p = ./a/${s}/b.nix; h = ~/x; search = <nixpkgs/lib>; u = https://example.org/x?y=1; n = [ 1 1.5 .5e3 9223372036854775807 ];
  q."a b".${s}.c = if a.b or c ? d.e then !x && y || z -> w else assert x == y; with z; { or = 1; };
  c = a // b ++ c; /* comment */ d = x <= y; # end
  let_ = let { body = 1; }; lt = (f { a = 1; } 2) < 3;
}
