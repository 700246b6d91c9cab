let
  piece = i: "line ${toString i}: ${builtins.substring 0 3 "abcdef"}" + "\n";
  text = builtins.concatStringsSep "" (builtins.genList piece 300000);
in [ (builtins.stringLength text) (builtins.hashString "sha256" (builtins.replaceStrings [ "line" "abc" ] [ "row" "x" ] text)) ]
