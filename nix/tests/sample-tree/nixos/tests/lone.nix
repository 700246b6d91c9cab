{ lib, ... }: {
  name = "lone";
  nodes.a = { services.echo.enable = true; };
  nodes.b = { services.ecco.enable = true; };
  testScript = "a.shutdown()";
}
