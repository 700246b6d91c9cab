# A client and two web servers, one of them 32-bit. The servers open port 80 and serve a page of their own each:
#
#     nixos-build-vms web.nix && result/bin/run-vms
#     nixos-build-vms ssh client -- curl http://server1/
{
  client =
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.curl pkgs.lynx ];
    };

  server1 =
    { pkgs, ... }:
    {
      services.openssh.enable = true;
      services.httpd.enable = true;
      services.httpd.adminAddr = "webmaster@example.net";
      services.httpd.virtualHosts."server1.example.net" = {
        documentRoot = pkgs.writeTextDir "index.html" "<h1>Welcome to server1</h1>\n";
      };
      networking.domain = "example.net";
      networking.firewall.allowedTCPPorts = [ 80 ];
    };

  server2 =
    { pkgs, ... }:
    {
      nixpkgs.localSystem.system = "i686-linux";
      services.httpd.enable = true;
      services.httpd.adminAddr = "webmaster@example.net";
      services.httpd.virtualHosts."server2.example.net" = {
        documentRoot = pkgs.writeTextDir "index.html" "<h1>Welcome to server2, in 32 bits</h1>\n";
      };
      networking.domain = "example.net";
      networking.firewall.allowedTCPPorts = [ 80 ];
    };
}
