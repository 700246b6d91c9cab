# services.postgresql: the data base server, of the one version that the suite has.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption mkEnableOption types optionalString concatMapStrings;
  cfg = config.services.postgresql;

  value =
    given:
    if given == true then "yes"
    else if given == false then "no"
    else if builtins.isString given then "'${lib.replaceStrings [ "'" ] [ "''" ] given}'"
    else toString given;
  file = pkgs.writeText "postgresql.conf" (
    lib.concatStrings (lib.mapAttrsToList (key: given: "${key} = ${value given}\n") (lib.filterAttrs (_: given: given != null) cfg.settings))
  );
  access = pkgs.writeText "pg_hba.conf" cfg.authentication;
  identities = pkgs.writeText "pg_ident.conf" cfg.identMap;

  start = pkgs.writeShellScript "postgresql-pre-start" ''
    set -e
    if ! test -e ${cfg.dataDir}/PG_VERSION; then
      rm -f ${cfg.dataDir}/*.conf
      ${cfg.package}/bin/initdb -D ${cfg.dataDir} -U ${cfg.superUser} --no-sync ${lib.escapeShellArgs cfg.initdbArgs}
      touch ${cfg.dataDir}/.first_startup
    fi
    ln -sfn ${file} ${cfg.dataDir}/postgresql.conf
  '';

  users = concatMapStrings (
    given:
    let
      clauses = lib.concatStringsSep " " (
        lib.mapAttrsToList (clause: on: "${optionalString (!on) "NO"}${lib.toUpper clause}") (lib.filterAttrs (_: on: on != null) given.ensureClauses)
      );
    in
    ''
      psql -tAc "SELECT 1 FROM pg_roles WHERE rolname='${given.name}'" | grep -q 1 || psql -tAc 'CREATE USER "${given.name}"'
      ${optionalString (clauses != "") "psql -tAc 'ALTER ROLE \"${given.name}\" ${clauses}'\n"}${
        optionalString given.ensureDBOwnership "psql -tAc 'ALTER DATABASE \"${given.name}\" OWNER TO \"${given.name}\"'\n"
      }''
  ) cfg.ensureUsers;
  bases = concatMapStrings (base: ''
    psql -tAc "SELECT 1 FROM pg_database WHERE datname = '${base}'" | grep -q 1 || psql -tAc 'CREATE DATABASE "${base}"'
  '') cfg.ensureDatabases;
  setup = pkgs.writeShellScript "postgresql-post-start" ''
    set -e
    psql() { ${cfg.package}/bin/psql -U ${cfg.superUser} --port=${toString cfg.settings.port} "$@"; }
    if test -e ${cfg.dataDir}/.first_startup; then
      ${optionalString (cfg.initialScript != null) "psql -f ${cfg.initialScript} -d postgres"}
      rm -f ${cfg.dataDir}/.first_startup
    fi
    ${bases}${users}
  '';
  needsSetup = cfg.initialScript != null || cfg.ensureDatabases != [ ] || cfg.ensureUsers != [ ];
in
{
  imports = [
    (lib.mkRenamedOptionModule [ "services" "postgresql" "port" ] [ "services" "postgresql" "settings" "port" ])
  ];

  options.services.postgresql = {
    enable = mkEnableOption "the data base server PostgreSQL";
    package = mkOption {
      type = types.package;
      default = pkgs.postgresql;
      defaultText = lib.literalExpression "pkgs.postgresql";
      description = "The package.";
    };
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/postgresql/${cfg.package.psqlSchema}";
      defaultText = "/var/lib/postgresql/VERSION";
      description = "Folder of the data.";
    };
    enableTCPIP = mkOption {
      type = types.bool;
      default = false;
      description = "Listen on all addresses, not only on a socket and the loopback interface.";
    };
    settings = mkOption {
      default = { };
      description = "Settings of postgresql.conf.";
      type = types.submodule {
        freeformType = types.attrsOf (types.nullOr (types.oneOf [ types.bool types.int types.float types.str ]));
        options.port = mkOption {
          type = types.port;
          default = 5432;
          description = "The port.";
        };
      };
    };
    authentication = mkOption {
      type = types.lines;
      default = "";
      description = "Text of pg_hba.conf, before the lines that let local users in.";
    };
    identMap = mkOption {
      type = types.lines;
      default = "";
      description = "Text of pg_ident.conf.";
    };
    initdbArgs = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Arguments of initdb.";
    };
    initialScript = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "SQL that is run at the first start.";
    };
    ensureDatabases = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Data bases that are made.";
    };
    ensureUsers = mkOption {
      default = [ ];
      description = "Users that are made.";
      type = types.listOf (
        types.submodule {
          options = {
            name = mkOption {
              type = types.str;
              description = "The name.";
            };
            ensureDBOwnership = mkOption {
              type = types.bool;
              default = false;
              description = "Give the user the data base of its name.";
            };
            ensureClauses = mkOption {
              type = types.attrsOf (types.nullOr types.bool);
              default = { };
              example = { createdb = true; };
              description = "Attributes of the role.";
            };
          };
        }
      );
    };
    superUser = mkOption {
      type = types.str;
      default = "postgres";
      readOnly = true;
      internal = true;
      description = "The role that may do everything.";
    };
  };

  config = mkIf cfg.enable {
    services.postgresql = {
      settings = {
        hba_file = "${access}";
        ident_file = "${identities}";
        log_destination = "stderr";
        listen_addresses = if cfg.enableTCPIP then "*" else "localhost";
        unix_socket_directories = "/run/postgresql";
      };
      authentication = lib.mkAfter ''
        local all all peer
        host all all 127.0.0.1/32 md5
        host all all ::1/128 md5
      '';
    };
    users.users.postgres = {
      uid = 71;
      group = "postgres";
      description = "PostgreSQL server user";
      home = "/var/lib/postgresql";
      isSystemUser = true;
      useDefaultShell = true;
    };
    users.groups.postgres.gid = 71;
    environment.systemPackages = [ cfg.package ];
    systemd.services.postgresql = {
      description = "PostgreSQL server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      environment.PGDATA = cfg.dataDir;
      path = [ cfg.package pkgs.gnugrep ];
      serviceConfig = {
        Type = "notify";
        ExecStartPre = start;
        ExecStart = "${cfg.package}/bin/postgres";
        ExecReload = "${pkgs.bash}/bin/bash -c \"kill -HUP $MAINPID\"";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        StateDirectory = [ "postgresql" ] ++ lib.optional (lib.hasPrefix "/var/lib/postgresql/" cfg.dataDir) (lib.removePrefix "/var/lib/" cfg.dataDir);
        StateDirectoryMode = "0700";
        KillSignal = "SIGINT";
        KillMode = "mixed";
        TimeoutSec = 600;
      }
      // lib.optionalAttrs needsSetup { ExecStartPost = setup; };
    };
    networking.listeners = lib.optional cfg.enableTCPIP { service = "postgresql"; port = cfg.settings.port; };
  };
}
