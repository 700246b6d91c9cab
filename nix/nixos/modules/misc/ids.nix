# Fixed numbers of users and groups, those of NixOS.
{ lib, ... }:
{
  options.ids = {
    uids = lib.mkOption { internal = true; type = lib.types.attrsOf lib.types.int; description = "User numbers."; };
    gids = lib.mkOption { internal = true; type = lib.types.attrsOf lib.types.int; description = "Group numbers."; };
  };
  config.ids = {
    uids = {
      root = 0; messagebus = 4; haldaemon = 5; polkituser = 28; nscd = 7; ntp = 3; dovecot2 = 46; postfix = 13; tor = 35; avahi = 10;
      mysql = 84; wwwrun = 54; nginx = 60; postgres = 71; memcached = 177; redis = 178; rtkit = 133; dnsmasq = 141; dhcpd = 150;
      systemd-network = 152; systemd-resolve = 153; systemd-timesync = 154; systemd-coredump = 151; mosquitto = 246; git = 41;
      prometheus = 255; grafana = 196; influxdb = 125; elasticsearch = 92; rabbitmq = 80; ldap = 83; znc = 128; murmur = 64;
      uwsgi = 237; gitlab = 165; nixbld = 30000; unbound = 48; nsd = 126; bind = 53; named = 53; squid = 95; proxy = 96; nfs = 113; statd = 159;
      rpc = 160; mpd = 50; transmission = 70; syncthing = 237; nobody = 65534;
    };
    gids = {
      root = 0; wheel = 1; kmem = 2; tty = 3; messagebus = 4; haldaemon = 5; disk = 6; vsftpd = 7; ftp = 8; bitlbee = 9; avahi = 10;
      postfix = 13; postdrop = 14; audio = 17; floppy = 18; uucp = 19; lp = 20; proc = 21; cdrom = 24; tape = 25; video = 26;
      dialout = 27; utmp = 29; git = 41; mpd = 50; wwwrun = 54; adm = 55; nginx = 60; systemd-journal = 62; transmission = 70; postgres = 71; mysql = 84; ldap = 83;
      keys = 96; users = 100; rtkit = 133; dnsmasq = 141; dhcpd = 150; systemd-coredump = 151; systemd-network = 152; systemd-resolve = 153;
      systemd-timesync = 154; input = 174; memcached = 177; redis = 178; sgx = 304; render = 303; kvm = 302; shadow = 318; nixbld = 30000; nogroup = 65534;
    };
  };
}
