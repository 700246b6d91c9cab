# Fails with a diagnostic: `builtins.nbvError` where the evaluator has it, else `throw`.
{ code, message, hint ? null, notes ? [ ] }@diagnostic:
if builtins ? nbvError then
  builtins.nbvError diagnostic
else
  throw (builtins.concatStringsSep "\n" ([ message ] ++ (if hint == null then [ ] else [ "hint: ${hint}" ]) ++ notes))
