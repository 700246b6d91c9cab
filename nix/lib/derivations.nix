# Derivations that are evaluated late.
{ lib }:
{
  lazyDerivation = args@{ derivation, meta ? null, passthru ? { }, outputs ? [ "out" ] }:
    let
      checked =
        if derivation.type or null != "derivation" then throw "lazyDerivation: the argument is not a derivation"
        else if derivation.outputs or [ "out" ] != outputs then throw "lazyDerivation: outputs differ from those of the derivation"
        else derivation;
    in
    {
      type = "derivation";
      inherit (checked) outputName name system meta outPath drvPath;
      inherit outputs;
    } // lib.genAttrs outputs (o: checked.${o}) // (if meta != null then { inherit meta; } else { }) // passthru;
  optionalDrvAttr = cond: value: if cond then value else null;
}
