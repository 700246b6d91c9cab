# programs.ssh: the client's configuration and the keys of hosts that are known.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption types;
  cfg = config.programs.ssh;
  known = lib.attrValues cfg.knownHosts;
  keyOf = given: if given.publicKey != null then given.publicKey else lib.removeSuffix "\n" (builtins.readFile given.publicKeyFile);
  file = pkgs.writeText "ssh_known_hosts" (
    lib.concatMapStrings (
      given:
      lib.optionalString (given.hostNames != [ ]) "${lib.optionalString given.certAuthority "@cert-authority "}${lib.concatStringsSep "," given.hostNames} ${keyOf given}\n"
    ) known
  );
in
{
  options.programs.ssh = {
    package = mkOption {
      type = types.package;
      default = pkgs.openssh-client;
      defaultText = lib.literalExpression "pkgs.openssh-client";
      description = "The package with `ssh`.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text of /etc/ssh/ssh_config, before the general part.";
    };
    forwardX11 = mkOption {
      type = types.nullOr types.bool;
      default = false;
      description = "Forward X11 connections; null: OpenSSH's default.";
    };
    setXAuthLocation = mkOption {
      type = types.bool;
      default = false;
      description = "Accepted for NixOS' sake.";
    };
    startAgent = mkOption {
      type = types.bool;
      default = false;
      description = "Start ssh-agent with sessions.";
    };
    knownHosts = mkOption {
      default = { };
      example = { server = { hostNames = [ "server.example.net" ]; publicKey = "ssh-ed25519 AAAA..."; }; };
      description = "Hosts and their keys.";
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = {
              certAuthority = mkOption {
                type = types.bool;
                default = false;
                description = "Whether the key signs the keys of the hosts.";
              };
              hostNames = mkOption {
                type = types.listOf types.str;
                default = [ name ] ++ config.extraHostNames;
                defaultText = "the attribute's name";
                description = "The host's names and addresses.";
              };
              extraHostNames = mkOption {
                type = types.listOf types.str;
                default = [ ];
                description = "Names beside the attribute's.";
              };
              publicKey = mkOption {
                type = types.nullOr types.str;
                default = null;
                description = "The key.";
              };
              publicKeyFile = mkOption {
                type = types.nullOr types.path;
                default = null;
                description = "A file with the key; it is read during evaluation.";
              };
            };
          }
        )
      );
    };
    knownHostsFiles = mkOption {
      type = types.listOf types.path;
      default = [ ];
      description = "Further files of known hosts.";
    };
    hostKeyAlgorithms = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Algorithms of host keys that are accepted.";
    };
    pubkeyAcceptedKeyTypes = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Types of keys that the client offers.";
    };
    ciphers = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = null;
      description = "Ciphers; null: OpenSSH's choice.";
    };
    macs = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = null;
      description = "Message authentication codes; null: OpenSSH's choice.";
    };
    kexAlgorithms = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = null;
      description = "Key exchange algorithms; null: OpenSSH's choice.";
    };
  };

  config = {
    assertions = map (given: {
      assertion = (given.publicKey == null) != (given.publicKeyFile == null);
      message = "programs.ssh.knownHosts.${lib.concatStringsSep "," given.hostNames}: set one of publicKey and publicKeyFile";
    }) known;

    environment.systemPackages = [ cfg.package ];
    environment.etc."ssh/ssh_known_hosts".source = file;
    environment.etc."ssh/ssh_config".text =
      lib.optionalString (cfg.extraConfig != "") "${cfg.extraConfig}\n"
      + "Host *\n"
      + "GlobalKnownHostsFile ${lib.concatStringsSep " " ([ "/etc/ssh/ssh_known_hosts" ] ++ map toString cfg.knownHostsFiles)}\n"
      + lib.optionalString (cfg.forwardX11 != null) "ForwardX11 ${lib.boolToYesNo or (b: if b then "yes" else "no") cfg.forwardX11}\n"
      + lib.concatStrings (
        lib.mapAttrsToList (key: given: lib.optionalString (given != null && given != [ ]) "${key} ${lib.concatStringsSep "," given}\n") {
          Ciphers = cfg.ciphers;
          MACs = cfg.macs;
          KexAlgorithms = cfg.kexAlgorithms;
          HostKeyAlgorithms = cfg.hostKeyAlgorithms;
          PubkeyAcceptedAlgorithms = cfg.pubkeyAcceptedKeyTypes;
        }
      );

    systemd.user.services.ssh-agent = lib.mkIf cfg.startAgent {
      description = "SSH agent";
      wantedBy = [ "default.target" ];
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/ssh-agent -D -a %t/ssh-agent";
        SuccessExitStatus = "0 2";
      };
    };
  };
}
