# 300 overlays of 20 packages each, to a fixed point.
let
  fix = f: let x = f x; in x;
  extends = overlay: f: self: let super = f self; in super // overlay self super;
  overlay = n: self: super: builtins.listToAttrs (builtins.genList (i: {
    name = "p${toString (i * 7 + n)}";
    value = { version = n; deps = [ self.p0 ]; old = (super."p${toString (i * 7 + n)}" or { version = 0; }).version; };
  }) 20);
  all = fix (builtins.foldl' (f: n: extends (overlay n) f) (self: { p0 = { version = 1; old = 0; }; }) (builtins.genList (i: i) 300));
in builtins.foldl' (s: n: s + all.${n}.version + all.${n}.old) 0 (builtins.attrNames all)
