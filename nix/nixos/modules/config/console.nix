# console.*: the machine's console is a line-oriented terminal; fonts and keymaps are accepted.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  accepted = type: default: description: mkOption { inherit type default description; };
in
{
  options.console = {
    enable = accepted types.bool false "Whether virtual consoles are set up.";
    font = accepted (types.nullOr (types.either types.str types.path)) null "The font of virtual consoles.";
    keyMap = accepted (types.either types.str types.path) "us" "The keyboard's layout.";
    colors = accepted (types.listOf (types.strMatching "[[:xdigit:]]{6}")) [ ] "The colours of virtual consoles.";
    packages = accepted (types.listOf types.package) [ ] "Packages of fonts and keymaps.";
    useXkbConfig = accepted types.bool false "Whether the keyboard's layout is X's.";
    earlySetup = accepted types.bool false "Whether consoles are set up early.";
  };
}
