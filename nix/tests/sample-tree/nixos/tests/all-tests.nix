{ system, pkgs, callTest }:
let
  handleTest = path: args: callTest (import path ({ inherit system pkgs; } // args));
in
{
  echo = handleTest ./echo.nix { loud = false; };
  echo-loud = handleTest ./echo.nix { loud = true; };
}
