# Which modules of Apache a configuration's text needs.
#
# To load a module takes time at each start, so the embedded library loads what the text uses. A text that reads other
# files (`Include`, `.htaccess`) gets all of the common ones.
{ lib }:

let
  # module -> words of its directives, in lower case
  directives = {
    access_compat = [ "allow from" "deny from" "order allow" "order deny" "satisfy " ];
    actions = [ "\naction " " action " ];
    alias = [ "alias" "redirect " "redirectmatch" "redirectpermanent" "redirecttemp" ];
    allowmethods = [ "allowmethods" ];
    auth_basic = [ "authtype basic" "authbasic" ];
    auth_digest = [ "authtype digest" "authdigest" ];
    authn_core = [ "authtype" "authname" "authnprovideralias" ];
    authn_file = [ "authuserfile" ];
    authz_groupfile = [ "authgroupfile" "require group" ];
    authz_host = [ "require ip" "require host" "require local" "require not ip" "require not host" "require forward-dns" ];
    authz_user = [ "require valid-user" "require user" ];
    autoindex = [ "options indexes" "+indexes" " indexes" "indexoptions" "addicon" "indexignore" "fancyindexing" ];
    brotli = [ "brotli" ];
    cache = [ "cacheenable" "cachedisable" ];
    cache_disk = [ "cacheroot" ];
    cgid = [ "cgi-script" "scriptalias" "execcgi" ];
    dav = [ "dav " "davmintimeout" ];
    dav_fs = [ "davlockdb" ];
    deflate = [ "deflate" ];
    env = [ "setenv " "unsetenv" "passenv" ];
    expires = [ "expires" ];
    ext_filter = [ "extfilter" ];
    filter = [ "addoutputfilterbytype" "filterprovider" "filterdeclare" "filterchain" ];
    headers = [ "header " "requestheader" ];
    http2 = [ "protocols h2" "http2" "h2push" ];
    include = [ "ssi" "includes" "xbithack" ];
    info = [ "server-info" ];
    lbmethod_byrequests = [ "balancer" "byrequests" ];
    lbmethod_bybusyness = [ "bybusyness" ];
    lbmethod_bytraffic = [ "bytraffic" ];
    macro = [ "<macro" ];
    mime_magic = [ "mimemagicfile" ];
    negotiation = [ "multiviews" "type-map" "languagepriority" "forcelanguagepriority" ];
    proxy = [ "proxy" ];
    proxy_balancer = [ "balancer" ];
    proxy_connect = [ "allowconnect" ];
    proxy_fcgi = [ "fcgi" ];
    proxy_ftp = [ "ftp://" ];
    proxy_http = [ "http://" "https://" ];
    proxy_uwsgi = [ "uwsgi" ];
    proxy_wstunnel = [ "ws://" "wss://" ];
    ratelimit = [ "rate_limit" ];
    remoteip = [ "remoteip" ];
    reqtimeout = [ "requestreadtimeout" ];
    rewrite = [ "rewrite" ];
    setenvif = [ "setenvif" "browsermatch" ];
    slotmem_shm = [ "balancer" ];
    socache_shmcb = [ "shmcb" "sslengine" ];
    speling = [ "checkspelling" ];
    ssl = [ "sslengine" "sslproxy" "sslcertificate" ];
    status = [ "server-status" "extendedstatus" ];
    substitute = [ "substitute" ];
    userdir = [ "userdir" ];
    vhost_alias = [ "virtualdocumentroot" "virtualscriptalias" ];
  };

  always = [ "authz_core" "dir" "mime" ];
  # what texts outside may use
  common = [
    "access_compat" "alias" "auth_basic" "authn_core" "authn_file" "authz_groupfile" "authz_host" "authz_user" "autoindex" "deflate" "env" "expires"
    "filter" "headers" "negotiation" "rewrite" "setenvif" "status"
  ];
  # modules of `proxy_*` are used by name of a scheme, which also occurs in texts without proxies
  usable = text: module: !lib.hasPrefix "proxy_" module || lib.hasInfix "proxy" text;
in
given:
let
  text = lib.toLower given;
  used = lib.filter (module: usable text module && lib.any (word: lib.hasInfix word text) directives.${module}) (lib.attrNames directives);
  outside =
    lib.hasInfix "\ninclude" text
    || lib.hasInfix " include " text
    || lib.hasInfix "includeoptional" text
    || lib.hasInfix "allowoverride " (lib.replaceStrings [ "allowoverride none" ] [ "" ] text);
in
lib.unique (always ++ lib.optionals outside common ++ used)
