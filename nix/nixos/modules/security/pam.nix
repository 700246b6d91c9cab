# security.pam: rules of authentication, one file of /etc/pam.d per service.
{ config, lib, ... }:
let
  inherit (lib) mkOption types optionalString;
  cfg = config.security.pam;
  bool = default: description: mkOption { type = types.bool; inherit default description; };
  limitLines = limits: lib.concatMapStrings (l: "${l.domain} ${l.type} ${l.item} ${toString l.value}\n") limits;
  service = types.submodule ({ name, config, ... }: {
    options = {
      enable = bool true "Whether the file is made.";
      name = mkOption { type = types.str; default = name; description = "The service's name."; };
      unixAuth = bool true "Whether passwords of /etc/shadow are accepted.";
      rootOK = bool false "Whether root need not give a password.";
      allowNullPassword = bool false "Whether an empty password is accepted.";
      requireWheel = bool false "Whether only members of wheel are let in.";
      startSession = bool false "Whether a session is registered with systemd-logind.";
      setEnvironment = bool true "Whether environment.sessionVariables are set.";
      setLoginUid = bool false "Whether the login's user is recorded for the audit.";
      makeHomeDir = bool false "Whether a missing home is made.";
      updateWtmp = bool false "Whether logins are recorded.";
      showMotd = bool false "Whether the text of users.motd is shown.";
      limits = mkOption { type = types.listOf types.attrs; default = cfg.loginLimits; description = "Limits { domain; type; item; value; }."; };
      sshAgentAuth = bool false "Accepted for compatibility.";
      u2fAuth = bool false "Accepted for compatibility.";
      fprintAuth = bool false "Accepted for compatibility.";
      googleAuthenticator.enable = bool false "Accepted for compatibility.";
      enableGnomeKeyring = bool false "Accepted for compatibility.";
      enableKwallet = bool false "Accepted for compatibility.";
      gnupg.enable = bool false "Accepted for compatibility.";
      logFailures = bool false "Whether failures are logged.";
      forwardXAuth = bool false "Accepted for compatibility.";
      nodelay = bool false "Whether a wrong password is answered at once.";
      rules = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
      text = mkOption { type = types.nullOr types.lines; description = "The file's text."; };
    };
    config.text = lib.mkDefault ''
      # Account management.
      account required pam_unix.so
      # Authentication.
      ${optionalString config.rootOK "auth sufficient pam_rootok.so\n"}${optionalString config.requireWheel "auth required pam_wheel.so use_uid\n"}${optionalString config.unixAuth "auth sufficient pam_unix.so likeauth try_first_pass${optionalString config.allowNullPassword " nullok"}${optionalString config.nodelay " nodelay"}\n"}auth required pam_deny.so
      # Passwords.
      password sufficient pam_unix.so nullok yescrypt
      # Sessions.
      ${optionalString config.setEnvironment "session required pam_env.so conffile=/etc/pam/environment readenv=0\n"}session required pam_unix.so
      ${optionalString config.setLoginUid "session optional pam_loginuid.so\n"}${optionalString config.makeHomeDir "session required pam_mkhomedir.so silent skel=/var/empty umask=${cfg.makeHomeDir.umask}\n"}${optionalString config.startSession "-session optional pam_systemd.so\n"}${optionalString (config.limits != [ ]) "session required pam_limits.so conf=/etc/security/limits-${name}.conf\n"}${optionalString (config.showMotd && loginMotd) "session optional pam_motd.so motd=/etc/motd\n"}
    '';
  });
  loginMotd = config.users.motd != null || config.users.motdFile != null;
in
{
  options.security.pam = {
    services = mkOption { type = types.attrsOf service; default = { }; description = "Services."; };
    loginLimits = mkOption { type = types.listOf types.attrs; default = [ ]; example = [ { domain = "ftp"; type = "hard"; item = "nproc"; value = "0"; } ]; description = "Limits of logins, as limits.conf(5) has them."; };
    makeHomeDir = {
      skelDirectory = mkOption { type = types.str; default = "/var/empty"; description = "The folder that new homes are copied from."; };
      umask = mkOption { type = types.str; default = "0077"; description = "The mask of new homes."; };
    };
    sshAgentAuth.enable = bool false "Accepted for compatibility.";
    enableSSHAgentAuth = bool false "Accepted for compatibility.";
    u2f.enable = bool false "Accepted for compatibility.";
    mount.enable = bool false "Accepted for compatibility.";
  };
  config = {
    security.pam.services = {
      other.text = ''
        auth     required pam_warn.so
        auth     required pam_deny.so
        account  required pam_warn.so
        account  required pam_deny.so
        password required pam_warn.so
        password required pam_deny.so
        session  required pam_warn.so
        session  required pam_deny.so
      '';
      login = { startSession = true; showMotd = true; setLoginUid = true; allowNullPassword = true; };
      passwd = { };
      chpasswd = { rootOK = true; };
      chsh = { rootOK = true; };
      su = { rootOK = true; setEnvironment = false; };
      # `su -` of util-linux asks for a service of its own
      su-l = { rootOK = true; };
      runuser = { rootOK = true; unixAuth = false; setEnvironment = false; };
      runuser-l = { rootOK = true; unixAuth = false; };
      useradd = { rootOK = true; };
      groupadd = { rootOK = true; };
      systemd-user = { setEnvironment = true; };
    };
    environment.etc = lib.mapAttrs' (_: s: { name = "pam.d/${s.name}"; value.text = s.text; }) (lib.filterAttrs (_: s: s.enable) cfg.services)
      // lib.mapAttrs' (_: s: { name = "security/limits-${s.name}.conf"; value.text = limitLines s.limits; })
        (lib.filterAttrs (_: s: s.enable && s.limits != [ ]) cfg.services)
      // {
        "login.defs".text = ''
          DEFAULT_HOME yes
          SYS_UID_MIN 400
          SYS_UID_MAX 999
          UID_MIN 1000
          UID_MAX 29999
          SYS_GID_MIN 400
          SYS_GID_MAX 999
          GID_MIN 1000
          GID_MAX 29999
          TTYGROUP tty
          TTYPERM 0620
          UMASK 077
          ENCRYPT_METHOD YESCRYPT
        '';
      };
  };
}
