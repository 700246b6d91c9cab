# Modules of services, networking and virtualisation.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
  network = value: import ../nixos/lib/network.nix { network = value; hostSystem = "x86_64-linux"; };
  machine = config: (network { m = config; }).nodes.m;
  plan = config: builtins.head (network { m = config; }).network.machines;
  has = text: m: lib.hasInfix text m;
  sshd = config: (machine { services.openssh = { enable = true; } // config; }).environment.etc."ssh/sshd_config".source.drvAttrs.text;
  httpd = config: (machine { services.httpd = { enable = true; } // config; }).services.httpd.configFile.drvAttrs.text;
  # the file of rules that the firewall's unit loads
  nft = config: builtins.head (builtins.match ".*-f ([^ ]*)" (machine { networking.firewall = config; }).systemd.services.firewall.serviceConfig.ExecStart);
  manifest = config: map (line: lib.concatStringsSep " " line) (machine config).system.activation.manifest;
in
{
  testSshdPort = is (has "Port 22\n" (sshd { })) true;
  testSshdSettings = is (map (line: has line (sshd { settings = { PermitRootLogin = "no"; MaxAuthTries = 3; Ciphers = [ "a" "b" ]; AllowUsers = [ "x" "y" ]; Banner = null; }; }))
    [ "PermitRootLogin no\n" "MaxAuthTries 3\n" "Ciphers a,b\n" "AllowUsers x y\n" "Banner" ]) [ true true true true false ];
  testSshdMatchLast = is (lib.hasSuffix "Match User x\n  X11Forwarding no\n" (sshd { extraConfig = "Match User x\n  X11Forwarding no"; })) true;
  testSshdOldName = is (has "PasswordAuthentication no\n" (sshd { passwordAuthentication = false; })) true;
  testSshdBadValue = fails (sshd { settings.PermitRootLogin = "perhaps"; });
  testSshdUser = is (machine { }).users.users.sshd.group "sshd";
  testSshdKeys = is (machine { services.openssh.enable = true; users.users.root.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA" ]; }).environment.etc."ssh/authorized_keys.d/root".text "ssh-ed25519 AAAA\n";
  testSshdOpens = is (map (l: [ l.service l.port l.open ]) (plan { services.openssh.enable = true; }).listeners) [ [ "sshd" 22 true ] ];
  testSshdClosed = is (map (l: l.open) (plan { services.openssh = { enable = true; openFirewall = false; }; }).listeners) [ false ];

  testHttpdClosed = is (map (l: [ l.port l.open l.openedBy ]) (plan { services.httpd.enable = true; }).listeners) [ [ 80 false "networking.firewall.allowedTCPPorts" ] ];
  testHttpdOpen = is (map (l: l.open) (plan { services.httpd.enable = true; networking.firewall.allowedTCPPorts = [ 80 ]; }).listeners) [ true ];
  testHttpdNoFirewall = is (map (l: l.open) (plan { services.httpd.enable = true; networking.firewall.enable = false; }).listeners) [ true ];
  testHttpdFewModules = is (map (name: has "LoadModule ${name}_module" (httpd { })) [ "mpm_event" "authz_core" "dir" "mime" "rewrite" "proxy" "ssl" ]) [ true true true true false false false ];
  testHttpdNeeded = is (map (name: has "LoadModule ${name}_module" (httpd { virtualHosts.a = { locations."/".proxyPass = "http://b/"; extraConfig = "RewriteEngine on"; }; })) [ "proxy" "proxy_http" "rewrite" "proxy_fcgi" ]) [ true true true false ];
  testHttpdIncludes = is (has "LoadModule rewrite_module" (httpd { extraConfig = "Include /etc/more.conf"; })) true;
  testHttpdTlsKey = fails (network { m.services.httpd = { enable = true; virtualHosts.a.onlySSL = true; }; }).toplevels.m.drvPath;
  testHttpdPage = is (has "DocumentRoot \"/var/www\"" (httpd { virtualHosts.a.documentRoot = "/var/www"; })) true;

  testFirewallDefault = is (machine { }).networking.firewall.enable true;
  testFirewallUnit = is ((machine { networking.firewall.enable = false; }).systemd.services ? firewall) false;
  testFirewallPorts = is (machine { networking.firewall.allowedTCPPorts = [ 80 22 80 ]; }).networking.firewall.allowedTCPPorts [ 22 80 ];
  testFirewallBadPort = fails (machine { networking.firewall.allowedTCPPorts = [ 70000 ]; }).networking.firewall.allowedTCPPorts;
  testFirewallLoads = is (nft { } != nft { allowPing = false; }) true;
  testFirewallMixed = fails (network { m.networking.firewall = { extraCommands = "true"; extraInputRules = "x"; }; }).toplevels.m.drvPath;
  testRange = is (map (l: l.open) (plan { services.openssh = { enable = true; openFirewall = false; ports = [ 8000 ]; }; networking.firewall.allowedTCPPortRanges = [ { from = 7990; to = 8000; } ]; }).listeners) [ true ];

  testOwnRules = is (map (port: map (l: l.open) (plan { services.httpd.enable = true; networking.firewall.extraCommands = "iptables -A nixos-fw -p tcp --dport ${port} -j nixos-fw-accept"; }).listeners) [ "80" "8080" ]) [ [ true ] [ false ] ];

  testMemory = fails (machine { virtualisation.memorySize = -5; }).virtualisation.memorySize;
  testMemoryDefault = is (plan { }).memoryMib 1024;
  testNoDisk = is (plan { virtualisation.diskImage = null; }).diskMib null;
  testDisks = is (plan { virtualisation.emptyDiskImages = [ 5 { size = 7; } ]; }).emptyDisksMib [ 5 7 ];
  testForward = is (plan { virtualisation.forwardPorts = [ { host.port = 8080; guest.port = 80; } ]; }).forwardPorts
    [ { from = "host"; proto = "tcp"; host = { address = ""; port = 8080; }; guest = { address = ""; port = 80; }; } ];
  testOptions = is (plan { virtualisation.qemu.options = [ "-device x" "-y" ]; }).qemuOptions [ "-device" "x" "-y" ];
  testVlan = fails (machine { virtualisation.vlans = [ 0 ]; }).virtualisation.vlans;
  testNamedInterface = is (map (i: [ i.name i.segment ]) (plan { virtualisation.interfaces.wan = { vlan = 3; assignIP = true; }; }).interfaces) [ [ "wan" 3 ] ];
  testPrimary = is (machine { }).networking.primaryIPAddress "192.168.1.1";
  testDeployment = is (machine { deployment = { targetHost = "a.b"; anything.goes = 1; }; }).deployment.anything.goes 1;

  testFqdn = is (machine { networking.domain = "x.org"; }).networking.fqdn "m.x.org";
  testFqdnMissing = fails (machine { }).networking.fqdn;
  testBadHostName = fails (machine { networking.hostName = "a b"; }).networking.hostName;
  testHosts = is (lib.any (lib.hasSuffix "-hosts -/run/nbv/hosts") (manifest { })) true;
  testQuietNetwork = is ((machine { }).systemd.services ? network-setup) false;
  testRoutes = is ((machine { networking.defaultGateway = "192.168.1.9"; }).systemd.services.network-setup.serviceConfig.ExecStart)
    [ "${(import ../pkgs { system = "x86_64-linux"; }).iproute2}/bin/ip -4 route replace default via 192.168.1.9" ];
  testNetworkManager = fails (network { m.networking.networkmanager.enable = true; }).toplevels.m.drvPath;

  testNginx = is (map (l: l.port) (plan { services.nginx.enable = true; }).listeners) [ 80 ];
  testRedis = is ((machine { services.redis.servers.x.enable = true; }).systemd.services ? redis-x) true;
  testDnsmasq = is (machine { services.dnsmasq.enable = true; }).networking.nameservers [ "127.0.0.1" ];
  testSudo = is (has "%wheel ALL=(ALL:ALL) NOPASSWD:SETENV: ALL" (machine { security.sudo.wheelNeedsPassword = false; }).environment.etc.sudoers.text) true;
  testEtcOfPackages = is (lib.any (lib.hasPrefix "tmpfile L? /etc/lynx ") (manifest ({ pkgs, ... }: { environment.systemPackages = [ pkgs.lynx ]; }))) true;
  testGetty = is (machine { services.getty.consoles = [ "hvc0" ]; }).systemd.units."getty@hvc0.service".wantedBy [ "multi-user.target" ];
  testScreenHasLogin = is ((machine { virtualisation.graphics = true; }).systemd.units ? "getty@tty1.service") true;
  testNoScreenNoLogin = is ((machine { }).systemd.services ? "getty@") false;
}
