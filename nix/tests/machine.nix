# Machines and networks.
{ lib }:
let
  inherit (import ./helpers.nix) is fails;
  network = value: import ../nixos/lib/network.nix { network = value; hostSystem = "x86_64-linux"; };
  machine = config: (network { m = config; }).nodes.m;
  plan = value: (network value).network.machines;
  lines = m: lib.splitString "\n" m.system.build.activationManifest;
  unit = name: m: m.systemd.units.${name}.text;
  entry = name: m: lib.findFirst (e: e.name == name) null m.system.build.units.drvAttrs.entries;
in
{
  testNumbers = is (map (m: [ m.name m.number ]) (plan { b = { }; a = { }; })) [ [ "a" 1 ] [ "b" 2 ] ];
  testSystem = is (map (m: m.system) (plan { a.nixpkgs.localSystem.system = "i686-linux"; b.nixpkgs.hostPlatform = "i686-linux"; c = { }; })) [ "i686-linux" "i686-linux" "x86_64-linux" ];
  testSystemUnsupported = fails (plan { a.nixpkgs.localSystem.system = "z80-cpm"; });
  testAddresses = is (map (i: [ i.name i.mac i.addresses ]) (builtins.head (plan { a.virtualisation.vlans = [ 2 5 ]; })).interfaces) [
    [ "eth1" "52:54:00:12:02:01" [ "192.168.2.1/24" "2001:db8:2::1/64" ] ]
    [ "eth2" "52:54:00:12:05:01" [ "192.168.5.1/24" "2001:db8:5::1/64" ] ]
  ];
  testLinks =
    let
      of = name: links: (builtins.head (plan { a = { virtualisation = { inherit links; }; }; })).interfaces;
      first = links: (builtins.head (of "a" links)).faults or null;
    in
    is (map first [
      { }
      { eth1 = { delay = "1.5s"; loss = "0.25%"; rate = "10mbit"; mtu = 1400; incoming.delay = "200us"; outgoing.cut = true; seed = 4; }; }
      { vlan1 = { delay = "5ms"; loss = 0.5; seed = 1; }; eth1.delay = "7 ms"; }
      { vlan1.rate = 5000; }
    ]) [
      null
      { outgoing = { delayUs = 1500000; loss = 0.0025; rate = 10000000; mtu = 1400; cut = true; }; incoming = { delayUs = 200; loss = 0.0025; rate = 10000000; mtu = 1400; }; seed = 4; }
      { outgoing = { delayUs = 7000; loss = 0.5; }; incoming = { delayUs = 7000; loss = 0.5; }; seed = 1; }
      { outgoing.rate = 5000; incoming.rate = 5000; }
    ];
  testLinkUnknown = fails (plan { a.virtualisation.links.eth7.delay = "1ms"; });
  testLinkBadTime = fails (plan { a.virtualisation.links.eth1.delay = "50"; });
  testLinkBadShare = fails (plan { a.virtualisation.links.eth1.loss = "150%"; });
  testLinkBadRate = fails (plan { a.virtualisation.links.eth1.rate = "fast"; });
  testTargetAddress = is (lib.last (builtins.head (builtins.head (plan { a.deployment.targetHost = "192.168.1.77"; })).interfaces).addresses) "192.168.1.77/24";
  testTargetElsewhere = fails (plan { a.deployment.targetHost = "192.168.9.77"; });
  testTargetTaken = fails (plan { a.deployment.targetHost = "192.168.1.2"; b = { }; });
  testSameNumber = fails (plan { a = { }; b.virtualisation.test.nodeNumber = 1; });
  testEmpty = fails (plan { });
  testBadName = fails (plan { "bad name!" = { }; });
  testNotAMachine = fails (plan { a = 42; });
  testDefaults = is (map (m: m.domain) (plan { defaults.networking.domain = "example.net"; a = { }; })) [ "example.net" ];
  testFunctionNetwork = is (map (m: m.name) (plan ({ lib, ... }: { ${lib.toLower "A"} = { }; }))) [ "a" ];
  testNodes = is (machine ({ nodes, name, ... }: { networking.domain = "${name}.${nodes.m.config.networking.hostName}"; })).networking.domain "m.m";
  testHostName = is (map (m: m.hostName) (plan { a.networking.hostName = "other"; b = { }; })) [ "other" "b" ];
  testAssertion = fails (plan { a.assertions = [ { assertion = false; message = "no"; } ]; });
  testWarnings = is (network { a.warnings = [ "careful" ]; }).warnings [ "a: careful" ];

  testUnit =
    let u = unit "x.service" (machine { systemd.services.x = { description = "An x"; after = [ "network.target" ]; environment.A = "b c"; path = [ ]; enableDefaultPath = false; serviceConfig = { ExecStart = "/bin/x"; Restart = "on-failure"; LimitNOFILE = 3; ReadWritePaths = [ "/a" "/b" ]; PrivateTmp = true; Group = null; }; }; }); in
    is u "[Unit]\nAfter=network.target\nDescription=An x\n\n[Service]\nEnvironment=\"A=b c\"\nExecStart=/bin/x\nLimitNOFILE=3\nPrivateTmp=true\nReadWritePaths=/a\nReadWritePaths=/b\nRestart=on-failure\n";
  testUnitWanted = is (entry "multi-user.target.wants/x.service" (machine { systemd.services.x = { wantedBy = [ "multi-user.target" ]; serviceConfig.ExecStart = "/bin/x"; }; })).path "../x.service";
  testUnitMasked = is (entry "x.service" (machine { systemd.services.x.enable = false; })).path "/dev/null";
  testUpstreamMasked = is (entry "systemd-journald.service" (machine { systemd.services.systemd-journald.enable = false; })).path "/dev/null";
  testUpstreamDropin = is (lib.hasInfix "LimitNOFILE=9" (entry "systemd-journald.service.d/overrides.conf" (machine { systemd.services.systemd-journald.serviceConfig.LimitNOFILE = 9; })).text) true;
  testTemplateInstance = is (entry "multi-user.target.wants/x@1.service" (machine { systemd.services."x@1" = { overrideStrategy = "asDropin"; wantedBy = [ "multi-user.target" ]; }; })).path "../x@.service";
  testTimer = is (lib.hasInfix "OnCalendar=daily" (unit "x.timer" (machine { systemd.services.x = { startAt = "daily"; script = "true"; }; }))) true;
  testScript = is (lib.hasInfix "bin/x-start" (unit "x.service" (machine { systemd.services.x.script = "true"; }))) true;
  testMount = is (lib.hasInfix "Where=/a/b-c" (unit "a-b\\x2dc.mount" (machine { systemd.mounts = [ { what = "tmpfs"; where = "/a/b-c"; type = "tmpfs"; } ]; }))) true;
  testRestartTrigger = is (unit "x.service" (machine { systemd.services.x.restartTriggers = [ "1" ]; }) != unit "x.service" (machine { systemd.services.x.restartTriggers = [ "2" ]; })) true;

  testUserLine = is (lib.elem "user\talice\t-\tusers\t/home/alice\t/run/current-system/sw/bin/bash\tAlice\tplain:p\tnormal,home=700" (lines (machine { users.users.alice = { isNormalUser = true; description = "Alice"; password = "p"; extraGroups = [ "wheel" ]; }; }))) true;
  testGroupLine = is (lib.elem "group\twheel\t1\talice" (lines (machine { users.users.alice = { isNormalUser = true; extraGroups = [ "wheel" ]; }; }))) true;
  testExpires = is (lib.any (lib.hasInfix "expires=20000") (lines (machine { users.users.a = { isNormalUser = true; expires = "2024-10-04"; }; }))) true;
  testUserNoGroup = fails (machine { users.users.x.isSystemUser = true; }).system.build.checkedToplevel;
  testUserNoKind = fails (machine { users.users.x.group = "users"; }).system.build.checkedToplevel;
  testUidTwice = fails (machine { users.users.x = { isNormalUser = true; uid = 1005; }; users.users.y = { isNormalUser = true; uid = 1005; }; }).system.build.checkedToplevel;
  testEtcText = is (machine { environment.etc."a/b".text = "hello"; }).environment.etc."a/b".source.drvAttrs.text "hello";
  testEtcMode = is (lib.any (l: lib.hasPrefix "file\t/etc/secret\t0400\t0\t0\t" l) (lines (machine { environment.etc.secret = { text = "x"; mode = "0400"; }; }))) true;
  testSysctl = is (lib.elem "sysctl\t-net.ipv4.ip_forward\t1" (lines (machine { boot.kernel.sysctl."net.ipv4.ip_forward" = lib.mkForce 1; }))) true;
  testModules = is (lib.elem "module\tdummy" (lines (machine { boot.kernelModules = [ "dummy" ]; }))) true;
  testTmpfiles = is (lib.elem "tmpfile\td\t/srv/x\t0750\troot\tusers\t" (lines (machine { systemd.tmpfiles.rules = [ "d /srv/x 0750 root users - -" ]; }))) true;
  testTmpfilesSettings = is (lib.elem "tmpfile\tf\t/srv/y\t-\t-\t-\thello world" (lines (machine { systemd.tmpfiles.settings.a."/srv/y".f.argument = "hello world"; }))) true;
  testTmpfilesGlob = is [ (entry "systemd-tmpfiles-setup.service" (machine { systemd.tmpfiles.rules = [ "r /tmp/*.x" ]; }) != null) (entry "systemd-tmpfiles-setup.service" (machine { })) ] [ true null ];
  testActivationScripts = is [ (lib.any (lib.hasPrefix "script\tactivationScripts") (lines (machine { system.activationScripts.hello = "echo hi"; }))) (lib.any (lib.hasPrefix "script\t") (lines (machine { }))) ] [ true false ];
  testLastLine = is (lib.last (lib.init (lines (machine { })))) "exec\t/usr/lib/systemd/systemd";
  testFileSystem = is (lib.elem "mount\t/dev/vdb\t/data\text4\tdefaults" (lines (machine { fileSystems."/data" = { device = "/dev/vdb"; fsType = "ext4"; }; }))) true;
  testVariables = is (lib.hasInfix "export FOO=\"a:b\"" (machine { environment.variables.FOO = [ "a" "b" ]; }).system.build.setEnvironment.drvAttrs.text) true;
  testSpecialisation = is ((machine { specialisation.x.configuration.networking.domain = "special"; }).specialisation.x.configuration.networking.domain) "special";
  # whole toplevels of the examples, with every package that they name
  testExamples = is
    (map (file: map (m: [ m.name (lib.hasPrefix "${builtins.storeDir}/" m.toplevel) ]) (plan (import file))) [ ../../examples/man-page.nix ])
    [ [ [ "test1" true ] [ "test2" true ] ] ];
  testTesting =
    let
      t = import ../nixos/lib/testing.nix {
        system = "x86_64-linux";
        test = { lib, ... }: {
          name = "t";
          defaults.networking.domain = "d";
          nodes.a = { };
          nodes.b = { nodes, ... }: { networking.extraHosts = nodes.a.networking.domain; };
          testScript = { nodes, ... }: "print('${nodes.b.networking.extraHosts}')";
        };
      };
    in
    is [ t.name t.testScript (lib.attrNames t.toplevels) ] [ "t" "print('d')" [ "a" "b" ] ];
  testTestingOld =
    let
      t = import ../nixos/lib/testing.nix {
        system = "x86_64-linux";
        test = import ../nixos/tests/make-test-python.nix ({ pkgs, lib, ... }: { name = lib.toLower "OLD"; machine = { }; testScript = "start_all()"; });
      };
    in
    is [ t.name t.testScript (lib.attrNames t.toplevels) ] [ "old" "start_all()" [ "machine" ] ];
  testOptionsDescribed =
    let options = import ../nixos/lib/options-doc.nix { hostSystem = "x86_64-linux"; }; in
    is [ (map (o: o.name) (lib.filter (o: o.description == "") options)) (lib.length options > 1000) ] [ [ ] true ];
  testUnitPackages =
    let
      m = machine ({ pkgs, ... }: { systemd.packages = [ pkgs.hello ]; systemd.services.x.serviceConfig.Nice = 1; });
    in
    is [ (entry "x.service" m).dropin (lib.any (e: lib.hasSuffix "/lib/systemd/system" (e.tree or "")) m.system.build.units.drvAttrs.entries) ] [ "x.service.d/overrides.conf" true ];
  testResolution = is (lib.hasInfix "hosts:     files myhostname dns" (machine { }).environment.etc."nsswitch.conf".text) true;
  testToplevel = is (lib.all (n: lib.any (e: e.name == n) (machine { }).system.build.toplevel.drvAttrs.entries) [ "init" "activate" "activate.manifest" "etc" "sw" "systemd" "kernel-params" "nixos-version" "system" "bin/switch-to-configuration" ]) true;
}
