# Fixed points and overlays.
{ lib }:
let
  inherit (builtins) isAttrs isFunction;
in
rec {
  fix = f: let x = f x; in x;
  fix' = f: let x = f x // { __unfix__ = f; }; in x;
  converge = f: x: let next = f x; in if next == x then x else converge f next;
  # Puts an overlay (final: prev: attrs) on a function of the fixed point.
  extends = overlay: f: final: let prev = f final; in prev // overlay final prev;
  composeExtensions = f: g: final: prev:
    let
      first = f final prev;
      between = prev // first;
    in
    first // g final between;
  composeManyExtensions = builtins.foldl' (f: g: composeExtensions f g) (_: _: { });
  makeExtensible = makeExtensibleWithCustomName "extend";
  makeExtensibleWithCustomName = name: rattrs:
    fix' (self: rattrs self // {
      ${name} = overlay: makeExtensibleWithCustomName name (extends overlay rattrs);
    });
  # An overlay from `final: prev: attrs`, `prev: attrs` or an attribute set.
  toExtension = f:
    if lib.isFunction f then
      final: prev: let fPrev = f prev; in if lib.isFunction fPrev then f final prev else fPrev
    else _: _: f;
}
