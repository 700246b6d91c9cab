{
  name = "links";
  defaults.virtualisation.memorySize = 256;
  nodes.a = { virtualisation.links.eth1 = { outgoing.delay = "1s"; seed = 7; }; };
  nodes.b = { };
  testScript = ''
    import re

    # The least of some: a busy host makes pings slower, and none faster.
    def rtt(count=5):
        out = a.succeed(f"ping -4 -q -c {count} -i 0.2 -W 20 192.168.1.2")
        return float(re.search(r"= ([0-9.]+)/", out).group(1))

    def reaches(patience=20):
        return a.execute(f"ping -4 -c 1 -w {patience} 192.168.1.2")[0] == 0

    start_all()
    a.wait_for_unit("multi-user.target")
    b.wait_for_unit("multi-user.target")
    with subtest("from the start"):
        assert rtt() >= 1000
    with subtest("changed"):
        a.link("eth1", outgoing=dict(delay=0.4), incoming=dict(delay="400ms"))
        assert 800 <= rtt()
        a.link(reset=True)
        assert rtt(20) < 400
        vlan1.link(delay=0.2)
        assert 800 <= rtt()
        vlan1.link(reset=True)
    with subtest("bad values"):
        for change in [dict(delay="soon"), dict(loss=2), dict(interface="eth9", delay=1), dict(nonsense=1)]:
            try:
                a.link(**change)
            except Exception as error:
                log.log(f"refused: {error}")
            else:
                raise AssertionError(f"{change} was taken")
    with subtest("seeded"):
        def replies():
            vlan1.link(reset=True)
            a.link(outgoing=dict(loss=0.3), seed=11)
            out = a.execute("ping -4 -n -c 40 -i 0.05 -W 5 192.168.1.2")[1]
            return re.findall(r"icmp_seq=(\d+)", out)
        a.succeed("ip neigh replace 192.168.1.2 lladdr 52:54:00:12:01:02 dev eth1 nud permanent")
        first = replies()
        log.log(str(first))
        assert 15 <= len(first) <= 36, first
        assert first == replies()
        a.link(reset=True)
    with subtest("partition"):
        partition([a], [b])
        assert not reaches(3)
        heal()
        assert reaches()
    with subtest("blocked over a reboot"):
        b.block()
        b.reboot()
        b.wait_for_unit("multi-user.target")
        assert not reaches(3)
        b.unblock()
        assert reaches()
    with subtest("captured"):
        with a.capture() as mine, vlan1.capture("vlan.pcapng"):
            assert reaches()
        sent = a.links()[0]["fromMachine"]
        assert sent["frames"] > 20 and sent["dropped"]["lost"] > 3, sent
  '';
}
