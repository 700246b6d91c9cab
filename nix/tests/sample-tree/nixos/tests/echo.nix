import ./make-test-python.nix ({ lib, loud, ... }: {
  name = "echo";
  nodes.machine = { imports = [ ../modules/services/nginx.nix ./common.nix ]; services.echo = { enable = true; text = lib.mkIf loud "HELLO"; }; };
  testScript = { nodes, ... }: ''machine.succeed("echo ${nodes.machine.services.echo.text}")'';
})
