# security.sudo: commands as another user.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption mkIf types concatStringsSep;
  cfg = config.security.sudo;

  command = types.either types.str (
    types.submodule {
      options = {
        command = mkOption {
          type = types.str;
          description = "The command.";
        };
        options = mkOption {
          type = types.listOf (
            types.enum [
              "NOPASSWD" "PASSWD" "NOEXEC" "EXEC" "SETENV" "NOSETENV" "LOG_INPUT" "NOLOG_INPUT" "LOG_OUTPUT" "NOLOG_OUTPUT" "MAIL" "NOMAIL"
              "FOLLOW" "NOFOLLOW" "INTERCEPT" "NOINTERCEPT"
            ]
          );
          default = [ ];
          description = "Tags of the command.";
        };
      };
    }
  );

  rule = types.submodule {
    options = {
      users = mkOption {
        type = types.listOf (types.either types.str types.int);
        default = [ ];
        description = "Users, by name or number.";
      };
      groups = mkOption {
        type = types.listOf (types.either types.str types.int);
        default = [ ];
        description = "Groups, by name or number.";
      };
      host = mkOption {
        type = types.str;
        default = "ALL";
        description = "Host on which the rule holds.";
      };
      runAs = mkOption {
        type = types.str;
        default = "ALL:ALL";
        description = "As whom.";
      };
      commands = mkOption {
        type = types.listOf command;
        description = "What they may run.";
      };
    };
  };

  who = prefix: given: "${prefix}${if builtins.isInt given then "#${toString given}" else given}";
  what = given: if builtins.isString given then given else "${lib.concatMapStrings (tag: "${tag}:") given.options}${lib.optionalString (given.options != [ ]) " "}${given.command}";
  line =
    given:
    lib.optionalString (given.commands != [ ] && given.users ++ given.groups != [ ])
      "${concatStringsSep ", " (map (who "") given.users ++ map (who "%") given.groups)} ${given.host}=(${given.runAs}) ${lib.concatMapStringsSep ", " what given.commands}\n";

  tags = lib.optional (!cfg.wheelNeedsPassword) "NOPASSWD" ++ [ "SETENV" ];
in
{
  options.security.sudo = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "The command `sudo`.";
    };
    package = mkOption {
      type = types.package;
      default = pkgs.sudo;
      defaultText = lib.literalExpression "pkgs.sudo";
      description = "The package with `sudo`.";
    };
    wheelNeedsPassword = mkOption {
      type = types.bool;
      default = true;
      description = "Whether members of `wheel` are asked for their password.";
    };
    execWheelOnly = mkOption {
      type = types.bool;
      default = false;
      description = "Let only members of `wheel` run the program at all.";
    };
    keepTerminfo = mkOption {
      type = types.bool;
      default = true;
      description = "Keep the terminal's variables.";
    };
    extraRules = mkOption {
      type = types.listOf rule;
      default = [ ];
      description = "Rules, the last that matches wins.";
    };
    defaultOptions = mkOption {
      type = types.listOf types.str;
      default = [ "SETENV" ];
      description = "Tags of the rules for root and wheel.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text at the end of /etc/sudoers.";
    };
    configFile = mkOption {
      type = types.lines;
      description = "The text of /etc/sudoers.";
      defaultText = "made from the options";
      default = ''
        Defaults env_keep+="SSH_AUTH_SOCK"
        ${lib.optionalString cfg.keepTerminfo "Defaults:root,%wheel env_keep+=TERMINFO_DIRS\nDefaults:root,%wheel env_keep+=TERMINFO\n"}
        ${lib.concatMapStrings line cfg.extraRules}
        ${cfg.extraConfig}
      '';
    };
  };

  config = mkIf cfg.enable {
    security.sudo.extraRules = lib.mkBefore [
      {
        users = [ "root" ];
        commands = [ { command = "ALL"; options = [ "SETENV" ]; } ];
      }
      {
        groups = [ "wheel" ];
        commands = [ { command = "ALL"; options = tags; } ];
      }
    ];

    environment.systemPackages = [ cfg.package ];
    security.wrappers.sudo = {
      source = "${cfg.package}/bin/sudo";
      owner = "root";
      group = if cfg.execWheelOnly then "wheel" else "root";
      setuid = true;
      permissions = if cfg.execWheelOnly then "u+rx,g+x" else "u+rx,g+x,o+x";
    };
    security.pam.services.sudo = { };
    environment.etc.sudoers = {
      text = cfg.configFile;
      mode = "0440";
    };
  };
}
