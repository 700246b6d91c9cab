# 10 MB of JSON written and read back.
let
  record = i: { id = i; name = "record ${toString i}"; tags = [ "a" "b\n" "c" ]; nested = { x = i * 0.5; y = null; z = true; }; };
  text = builtins.toJSON (builtins.genList record 100000);
  back = builtins.fromJSON text;
in [ (builtins.stringLength text) (builtins.length back) (builtins.elemAt back 99999).nested.x ]
