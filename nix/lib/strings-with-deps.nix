# Texts that depend on each other, put in order.
{ lib }:
rec {
  # The entries that `names` need, dependencies first. An entry is a text or { text; deps; }.
  textClosureList = entries: names:
    let
      visit = path: acc: name:
        if acc.done ? ${name} then acc
        else if builtins.elem name path then
          throw "texts depend on each other in a circle: ${lib.concatStringsSep " -> " (path ++ [ name ])}"
        else
          let
            entry = entries.${name} or (throw "no text named \"${name}\"${lib.optionalString (path != [ ]) ", which \"${lib.last path}\" depends on"}");
            before = builtins.foldl' (visit (path ++ [ name ])) acc (entry.deps or [ ]);
          in
          {
            done = before.done // { ${name} = true; };
            texts = before.texts ++ [ (entry.text or entry) ];
          };
    in
    (builtins.foldl' (visit [ ]) { done = { }; texts = [ ]; } names).texts;
  textClosureMap = f: entries: names: lib.concatStringsSep "\n" (map f (textClosureList entries names));
  noDepEntry = text: { inherit text; deps = [ ]; };
  fullDepEntry = text: deps: { inherit text deps; };
  packEntry = deps: { inherit deps; text = ""; };
  stringAfter = deps: text: { inherit text deps; };
}
