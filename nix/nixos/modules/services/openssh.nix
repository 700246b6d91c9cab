# services.openssh: the secure shell server.
#
# Written lean for emulated machines: one process, told ready by sd_notify; the host key is what the driver gives to the
# machine at its start, and ssh-keygen runs only where that is missing.
{ config, lib, pkgs, options, ... }:

let
  inherit (lib) mkIf mkOption mkEnableOption types literalExpression;
  cfg = config.services.openssh;

  # How sshd_config wants values.
  value =
    given:
    if builtins.isBool given then
      (if given then "yes" else "no")
    else
      toString given;

  commaKeys = [ "Ciphers" "KexAlgorithms" "Macs" "HostKeyAlgorithms" "PubkeyAcceptedAlgorithms" "AuthenticationMethods" "CASignatureAlgorithms" ];
  line =
    key: given:
    if builtins.isList given then
      lib.optionalString (given != [ ]) "${key} ${lib.concatMapStringsSep (if lib.elem key commaKeys then "," else " ") value given}\n"
    else
      "${key} ${value given}\n";

  # sshd takes the first value that it reads, so `Match` blocks of extraConfig come last
  settings = lib.filterAttrs (_: given: given != null) cfg.settings;

  address = entry: if lib.hasInfix ":" entry.addr && entry.port != null then "[${entry.addr}]" else entry.addr;

  configuration = pkgs.writeText "sshd_config" (
    lib.concatMapStrings (port: "Port ${toString port}\n") cfg.ports
    + lib.concatMapStrings (
      entry: "ListenAddress ${address entry}${lib.optionalString (entry.port != null) ":${toString entry.port}"}\n"
    ) cfg.listenAddresses
    + lib.concatMapStrings (key: "HostKey ${key.path}\n") cfg.hostKeys
    + lib.concatStrings (lib.mapAttrsToList line settings)
    + line "AuthorizedKeysFile" cfg.authorizedKeysFiles
    + lib.optionalString (cfg.authorizedKeysCommand != "none") "AuthorizedKeysCommand ${cfg.authorizedKeysCommand}\nAuthorizedKeysCommandUser ${cfg.authorizedKeysCommandUser}\n"
    + lib.optionalString cfg.allowSFTP "Subsystem sftp ${cfg.sftpServerExecutable}${lib.optionalString (cfg.sftpFlags != [ ]) " ${lib.concatStringsSep " " cfg.sftpFlags}"}\n"
    + lib.optionalString (cfg.banner != null) "Banner ${pkgs.writeText "sshd-banner" cfg.banner}\n"
    + lib.optionalString (cfg.moduliFile != null) "ModuliFile ${cfg.moduliFile}\n"
    + lib.optionalString (cfg.extraConfig != "") "\n${cfg.extraConfig}\n"
  );

  nullOrYes = description: default: mkOption {
    type = types.nullOr types.bool;
    inherit default description;
  };
  algorithms = what: mkOption {
    type = types.nullOr (types.listOf types.str);
    default = null;
    description = "${what}; null: OpenSSH's own choice.";
  };
  names = what: mkOption {
    type = types.nullOr (types.listOf types.str);
    default = null;
    description = what;
  };

  # Keys of the users' options, as files that AuthorizedKeysFile names.
  withKeys = lib.filter (user: user.openssh.authorizedKeys.keys != [ ] || user.openssh.authorizedKeys.keyFiles != [ ]) (
    lib.attrValues config.users.users
  );
  keysOf =
    user:
    lib.concatMapStrings (key: "${key}\n") (
      user.openssh.authorizedKeys.keys ++ map (file: lib.removeSuffix "\n" (builtins.readFile file)) user.openssh.authorizedKeys.keyFiles
    );

  keygen = key: lib.concatStringsSep " " (
    [ "${cfg.package}/bin/ssh-keygen" "-q" "-t" key.type ]
    ++ lib.optionals (key.bits or null != null) [ "-b" (toString key.bits) ]
    ++ lib.optionals (key.rounds or null != null) [ "-a" (toString key.rounds) ]
    ++ [ "-C" (lib.escapeShellArg (if key.comment or "" != "" then key.comment else "root@${config.networking.hostName}")) "-N" "''" "-f" key.path ]
  );
  unitName = path: "sshd-keygen-${lib.replaceStrings [ "_" "/" ] [ "-" "-" ] (baseNameOf path)}";

  renamed = from: to: lib.mkRenamedOptionModule [ "services" "openssh" from ] [ "services" "openssh" "settings" to ];
in
{
  imports = [
    (renamed "permitRootLogin" "PermitRootLogin")
    (renamed "passwordAuthentication" "PasswordAuthentication")
    (renamed "kbdInteractiveAuthentication" "KbdInteractiveAuthentication")
    (renamed "challengeResponseAuthentication" "KbdInteractiveAuthentication")
    (renamed "logLevel" "LogLevel")
    (renamed "ciphers" "Ciphers")
    (renamed "macs" "Macs")
    (renamed "kexAlgorithms" "KexAlgorithms")
    (renamed "gatewayPorts" "GatewayPorts")
    (renamed "useDns" "UseDns")
    (renamed "forwardX11" "X11Forwarding")
    (lib.mkAliasOptionModule [ "services" "sshd" "enable" ] [ "services" "openssh" "enable" ])
    (lib.mkAliasOptionModule [ "services" "openssh" "knownHosts" ] [ "programs" "ssh" "knownHosts" ])
  ];

  options.services.openssh = {
    enable = mkEnableOption "the OpenSSH server, for remote logins and commands";
    package = mkOption {
      type = types.package;
      default = pkgs.openssh;
      defaultText = literalExpression "pkgs.openssh";
      description = "The package with `sshd`.";
    };
    startWhenNeeded = mkOption {
      type = types.bool;
      default = false;
      description = "Listen by a systemd socket and start one `sshd` for each connection.";
    };
    allowSFTP = mkOption {
      type = types.bool;
      default = true;
      description = "Serve file transfers (the subsystem `sftp`).";
    };
    sftpServerExecutable = mkOption {
      type = types.str;
      default = "internal-sftp";
      description = "The program of the subsystem `sftp`; `internal-sftp` is the one inside `sshd`.";
    };
    sftpFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "-f AUTHPRIV" "-l INFO" ];
      description = "Arguments of the sftp program.";
    };
    ports = mkOption {
      type = types.listOf types.port;
      default = [ 22 ];
      description = "Ports on which the server listens.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Let connections to {option}`services.openssh.ports` through the firewall.";
    };
    listenAddresses = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            addr = mkOption {
              type = types.str;
              example = "192.168.1.1";
              description = "Host name or address to listen on.";
            };
            port = mkOption {
              type = types.nullOr types.port;
              default = null;
              description = "Port to listen on; null: those of {option}`services.openssh.ports`.";
            };
          };
        }
      );
      default = [ ];
      description = "Addresses to listen on; none: all.";
    };
    hostKeys = mkOption {
      type = types.listOf types.attrs;
      default = [
        {
          type = "ed25519";
          path = "/etc/ssh/ssh_host_ed25519_key";
        }
      ];
      description = ''
        The server's keys: attribute sets of `type`, `path` and optionally `bits`, `rounds`, `comment`. A key that is missing
        is made when the machine first starts. (Only an ed25519 key by default: to make an RSA key takes long under emulation.)
      '';
    };
    generateHostKeys = mkOption {
      type = types.bool;
      default = true;
      description = "Make host keys that are missing.";
    };
    banner = mkOption {
      type = types.nullOr types.lines;
      default = null;
      description = "Text that a client sees before authentication.";
    };
    authorizedKeysFiles = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Files with users' keys: absolute, or relative to the home; `%h` and `%u` are home and name.";
    };
    authorizedKeysInHomedir = mkOption {
      type = types.bool;
      default = true;
      description = "Accept the keys in a user's own `~/.ssh/authorized_keys`.";
    };
    authorizedKeysCommand = mkOption {
      type = types.str;
      default = "none";
      description = "Program that prints a user's keys; `none`: no program.";
    };
    authorizedKeysCommandUser = mkOption {
      type = types.str;
      default = "nobody";
      description = "User that runs {option}`services.openssh.authorizedKeysCommand`.";
    };
    moduliFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "File with groups for Diffie-Hellman group exchange; null: OpenSSH's fixed ones.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text at the end of `sshd_config`.";
    };
    settings = mkOption {
      description = "Settings of `sshd_config`, by their names there.";
      default = { };
      example = literalExpression ''{ PermitRootLogin = "no"; MaxAuthTries = 3; }'';
      type = types.submodule {
        freeformType =
          with types;
          attrsOf (nullOr (oneOf [ str bool int float (listOf (oneOf [ str int ])) ]));
        options = {
          AuthorizedPrincipalsFile = mkOption {
            type = types.nullOr types.str;
            default = null;
            description = "File with the principals that a user's certificate may name.";
          };
          LogLevel = mkOption {
            type = types.nullOr (types.enum [ "QUIET" "FATAL" "ERROR" "INFO" "VERBOSE" "DEBUG" "DEBUG1" "DEBUG2" "DEBUG3" ]);
            default = "INFO";
            description = "How much the server logs.";
          };
          UsePAM = nullOrYes "Authenticate and open sessions through PAM." true;
          UseDns = nullOrYes "Look up the names of clients' addresses." false;
          X11Forwarding = nullOrYes "Allow forwarding of X11 connections." false;
          PasswordAuthentication = nullOrYes "Accept passwords." true;
          KbdInteractiveAuthentication = nullOrYes "Accept keyboard-interactive authentication." true;
          PermitRootLogin = mkOption {
            type = types.nullOr (types.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ]);
            default = "prohibit-password";
            description = "Whether root may log in.";
          };
          GatewayPorts = mkOption {
            type = types.nullOr types.str;
            default = "no";
            description = "Whether others may connect to forwarded ports: `no`, `yes` or `clientspecified`.";
          };
          StrictModes = nullOrYes "Check modes and owners of users' files before a login." true;
          PrintMotd = nullOrYes "Print /etc/motd at a login (PAM prints it otherwise)." false;
          Ciphers = algorithms "Ciphers";
          KexAlgorithms = algorithms "Key exchange algorithms";
          Macs = algorithms "Message authentication codes";
          AllowUsers = names "Only these users may log in.";
          DenyUsers = names "These users may not log in.";
          AllowGroups = names "Only members of these groups may log in.";
          DenyGroups = names "Members of these groups may not log in.";
        };
      };
    };
  };

  options.users.users = mkOption {
    type = types.attrsOf (
      types.submodule {
        options.openssh.authorizedKeys = {
          keys = mkOption {
            type = types.listOf types.singleLineStr;
            default = [ ];
            description = "Public keys that may log in as this user.";
          };
          keyFiles = mkOption {
            type = types.listOf types.path;
            default = [ ];
            description = "Files with such keys; they are read during evaluation.";
          };
        };
        options.openssh.authorizedPrincipals = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          description = "Principals of certificates that may log in as this user.";
        };
      }
    );
  };

  config = lib.mkMerge [
    {
      # The private server of `nixos-build-vms ssh` separates its privileges by this user, whatever the configuration says.
      users.users.sshd = {
        isSystemUser = true;
        group = "sshd";
        description = "SSH privilege separation user";
        home = "/run/sshd";
      };
      users.groups.sshd = { };
    }
    (mkIf cfg.enable {
      assertions = [
        {
          assertion = cfg.ports != [ ] || cfg.listenAddresses != [ ];
          message = "services.openssh.ports is empty: the server would listen nowhere";
        }
      ];

      services.openssh.authorizedKeysFiles =
        lib.optional cfg.authorizedKeysInHomedir "%h/.ssh/authorized_keys" ++ [ "/etc/ssh/authorized_keys.d/%u" ];

      environment.etc = {
        "ssh/sshd_config".source = configuration;
      }
      // lib.listToAttrs (
        map (user: lib.nameValuePair "ssh/authorized_keys.d/${user.name}" {
          mode = "0444";
          text = keysOf user;
        }) withKeys
      )
      // lib.listToAttrs (
        map (user: lib.nameValuePair "ssh/authorized_principals.d/${user.name}" {
          mode = "0444";
          text = lib.concatMapStrings (principal: "${principal}\n") user.openssh.authorizedPrincipals;
        }) (lib.filter (user: user.openssh.authorizedPrincipals != [ ]) (lib.attrValues config.users.users))
      );

      # The driver gives the machine an ed25519 key at its start.
      system.activation.manifest = lib.optionals (lib.any (key: key.path == "/etc/ssh/ssh_host_ed25519_key") cfg.hostKeys && cfg.generateHostKeys) [
        [ "keep" "/etc/ssh/ssh_host_ed25519_key" "0600" "root" "root" "-/run/nbv/ssh/service_key" ]
        [ "keep" "/etc/ssh/ssh_host_ed25519_key.pub" "0644" "root" "root" "-/run/nbv/ssh/service_key.pub" ]
      ];

      systemd.services =
        # Units of which the condition fails cost nothing.
        lib.optionalAttrs cfg.generateHostKeys (
          lib.listToAttrs (
            map (
              key:
              lib.nameValuePair (unitName key.path) {
                description = "Host key ${key.path}";
                unitConfig.ConditionPathExists = "!${key.path}";
                serviceConfig = {
                  Type = "oneshot";
                  ExecStart = keygen key;
                };
              }
            ) cfg.hostKeys
          )
        )
        // (
          let
            keys = lib.optionals cfg.generateHostKeys (map (key: "${unitName key.path}.service") cfg.hostKeys);
            common = {
              wants = keys;
              after = [ "network.target" ] ++ keys;
              restartTriggers = [ configuration ];
            };
          in
          if cfg.startWhenNeeded then
            {
              "sshd@" = common // {
                description = "SSH per-connection daemon";
                stopIfChanged = false;
                serviceConfig = {
                  ExecStart = "-${cfg.package}/bin/sshd -i -D -f /etc/ssh/sshd_config";
                  KillMode = "process";
                  StandardInput = "socket";
                  StandardError = "journal";
                  RuntimeDirectory = "sshd";
                  RuntimeDirectoryPreserve = true;
                };
              };
            }
          else
            {
              sshd = common // {
                description = "SSH daemon";
                wantedBy = [ "multi-user.target" ];
                stopIfChanged = false;
                serviceConfig = {
                  Type = "notify";
                  ExecStart = "${cfg.package}/bin/sshd -D -e -f /etc/ssh/sshd_config";
                  ExecReload = "${pkgs.bash}/bin/bash -c \"kill -HUP $MAINPID\"";
                  KillMode = "process";
                  Restart = "on-failure";
                  RuntimeDirectory = "sshd";
                  RuntimeDirectoryPreserve = true;
                };
              };
            }
        );

      systemd.sockets = mkIf cfg.startWhenNeeded {
        sshd = {
          description = "SSH socket";
          wantedBy = [ "sockets.target" ];
          socketConfig = {
            Accept = true;
            ListenStream =
              if cfg.listenAddresses != [ ] then
                lib.concatMap (
                  entry:
                  map (port: "${if lib.hasInfix ":" entry.addr then "[${entry.addr}]" else entry.addr}:${toString port}") (
                    if entry.port != null then [ entry.port ] else cfg.ports
                  )
                ) cfg.listenAddresses
              else
                cfg.ports;
          };
        };
      };

      networking.firewall.allowedTCPPorts = lib.optionals cfg.openFirewall cfg.ports;
      networking.listeners = map (port: {
        service = "sshd";
        proto = "tcp";
        inherit port;
      }) cfg.ports;

      security.pam.services.sshd = mkIf (cfg.settings.UsePAM == true) { startSession = true; };
    })
  ];
}
