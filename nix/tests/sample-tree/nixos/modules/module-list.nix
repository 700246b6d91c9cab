[
  ./services/echo.nix
  ./services/nginx.nix
  ./services/broken.nix
  ./services/log.nix
]
