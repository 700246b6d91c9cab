# networking.nftables: rules of one's own.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption mkEnableOption types;
  cfg = config.networking.nftables;

  tables = lib.filter (table: table.enable) (lib.attrValues cfg.tables);
  text =
    lib.optionalString cfg.flushRuleset "flush ruleset\n"
    + lib.concatMapStrings (table: ''
      table ${table.family} ${table.name}
      delete table ${table.family} ${table.name}
      table ${table.family} ${table.name} {
      ${table.content}
      }
    '') tables
    + (if cfg.rulesetFile != null then "include \"${cfg.rulesetFile}\"\n" else cfg.ruleset);
  file = pkgs.writeText "nftables.nft" text;
in
{
  options.networking.nftables = {
    enable = mkEnableOption "rules of nftables beside those of the firewall";
    ruleset = mkOption {
      type = types.lines;
      default = "";
      description = "Text for `nft`.";
    };
    rulesetFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "A file for `nft`, in place of {option}`networking.nftables.ruleset`.";
    };
    flushRuleset = mkOption {
      type = types.bool;
      default = false;
      description = "Remove all rules first, also those of the firewall and of other programs.";
    };
    checkRuleset = mkOption {
      type = types.bool;
      default = true;
      description = "Accepted for NixOS' sake; the rules are checked when they are loaded.";
    };
    tables = mkOption {
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              enable = mkOption {
                type = types.bool;
                default = true;
                description = "Whether the table is made.";
              };
              name = mkOption {
                type = types.str;
                default = name;
                defaultText = "the attribute's name";
                description = "The table's name.";
              };
              family = mkOption {
                type = types.enum [ "ip" "ip6" "inet" "arp" "bridge" "netdev" ];
                description = "The table's family.";
              };
              content = mkOption {
                type = types.lines;
                description = "The table's chains and sets.";
              };
            };
          }
        )
      );
      default = { };
      description = "Tables.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.nftables ];
    systemd.services.nftables = {
      description = "nftables rules";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-pre.target" ];
      before = [ "network-pre.target" "network.target" "shutdown.target" ] ++ lib.optional cfg.flushRuleset "firewall.service";
      conflicts = [ "shutdown.target" ];
      reloadIfChanged = true;
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.nftables}/bin/nft -f ${file}";
        ExecReload = "${pkgs.nftables}/bin/nft -f ${file}";
        ExecStop = map (table: "-${pkgs.nftables}/bin/nft delete table ${table.family} ${table.name}") tables;
      };
    };
  };
}
