# A network that tests itself, without a script: nixos-build-vms test steps.nix
# It is a network as any other: nixos-build-vms steps.nix builds it, and the steps do not matter then.
{
  web = { pkgs, ... }: {
    services.httpd.enable = true;
    services.httpd.adminAddr = "root@localhost";
    networking.firewall.allowedTCPPorts = [ 80 ];
    virtualisation.memorySize = 512;
  };
  client = {
    users.users.alice = { isNormalUser = true; uid = 1000; };
    virtualisation.memorySize = 384;
  };

  testSteps = [
    { on = "web"; unit = "httpd"; }
    {
      group = "pages";
      steps = [
        { on = "client"; port = 80; host = "web"; }
        { on = "client"; get = "http://web/nothing-here"; expect = { status = 404; body = "[Nn]ot [Ff]ound"; }; }
      ];
    }
    {
      group = "commands";
      steps = [
        { on = "*"; run = "hostname"; expect.stdout = "^(client|web)$"; }
        { on = "client"; run = "whoami; cat"; user = "alice"; stdin = "hello"; expect.equals = "alice\nhello"; }
        { on = "client"; run = "echo oops >&2; exit 7"; expect = { status = 7; stderr = "^oops$"; }; }
        { on = "client"; fails = "test -e /nope"; }
        {
          name = "a file that comes late";
          parallel = [
            { on = "client"; file = "/tmp/late"; content = "now"; timeout = 60; }
            { on = "client"; run = "sleep 1; echo now > /tmp/late"; }
          ];
        }
      ];
    }
    {
      group = "a network in two parts";
      steps = [
        { partition = [ [ "web" ] [ "client" ] ]; }
        { on = "client"; fails = "ping -c 1 -W 2 web"; }
        { heal = true; }
        { retry = [{ on = "client"; run = "ping -c 1 -W 2 web"; }]; timeout = 60; }
      ];
    }
    {
      group = "files and console";
      steps = [
        { on = "web"; copyTo = "/tmp/in/steps.nix"; source = ./steps.nix; }
        { on = "web"; copyFrom = "/tmp/in/steps.nix"; target = "copies"; }
        { on = "web"; run = "echo marker > /dev/console"; }
        { on = "web"; console = "mark.r"; }
      ];
    }
  ];
}
