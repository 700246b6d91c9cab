# programs.<name>.enable of programs that only need to be there, with what little they configure.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkOption mkEnableOption mkIf types;
  cfg = config.programs;

  # programs whose `enable` is all there is
  plain = [ "bat" "htop" "iotop" "iftop" "mtr" "tmux" "screen" "traceroute" "tcpdump" "wireshark" "less" "nano" "lynx" "mosh" "fzf" "neovim" "zmap" "sysdig" ];
  package = name: {
    iotop = pkgs.iotop;
    mtr = pkgs.mtr;
    wireshark = pkgs.wireshark-cli;
    mosh = pkgs.mosh;
  }.${name} or pkgs.${name};
in
{
  options.programs =
    lib.genAttrs plain (name: {
      enable = mkEnableOption name;
    })
    // {
      vim = {
        enable = mkEnableOption "the editor Vim";
        defaultEditor = mkOption {
          type = types.bool;
          default = false;
          description = "Set EDITOR to it.";
        };
        package = mkOption {
          type = types.package;
          default = pkgs.vim;
          defaultText = lib.literalExpression "pkgs.vim";
          description = "The package.";
        };
      };
      git = {
        enable = mkEnableOption "Git";
        package = mkOption {
          type = types.package;
          default = pkgs.git;
          defaultText = lib.literalExpression "pkgs.git";
          description = "The package.";
        };
        config = mkOption {
          type = types.attrsOf (types.attrsOf types.anything);
          default = { };
          example = { init.defaultBranch = "main"; };
          description = "Settings of /etc/gitconfig.";
        };
      };
      zsh = {
        enable = mkEnableOption "the shell zsh";
        interactiveShellInit = mkOption {
          type = types.lines;
          default = "";
          description = "Shell commands of interactive shells.";
        };
      };
      command-not-found.enable = mkOption {
        type = types.bool;
        default = false;
        description = "Accepted for NixOS' sake: there is no data base of commands.";
      };
      dconf.enable = mkOption {
        type = types.bool;
        default = false;
        description = "Accepted for NixOS' sake.";
      };
      nix-ld.enable = mkOption {
        type = types.bool;
        default = false;
        description = "Accepted: the loader of ordinary programs is there.";
      };
    };

  config = lib.mkMerge (
    map (name: mkIf cfg.${name}.enable { environment.systemPackages = [ (package name) ]; }) plain
    ++ [
      (mkIf cfg.vim.enable {
        environment.systemPackages = [ cfg.vim.package ];
        environment.variables = mkIf cfg.vim.defaultEditor { EDITOR = lib.mkOverride 900 "vim"; };
      })
      (mkIf cfg.zsh.enable {
        environment.systemPackages = [ pkgs.zsh ];
        environment.shells = [ "/run/current-system/sw/bin/zsh" ];
        # where Debian's zsh looks
        environment.etc."zsh/zshenv".text = "if [ -z \"$__NIXOS_SET_ENVIRONMENT_DONE\" ]; then . /etc/set-environment; fi\n";
        environment.etc."zsh/zshrc".text = "PROMPT='[%n@%m:%~]%# '\n${cfg.zsh.interactiveShellInit}";
      })
      (mkIf cfg.git.enable {
        environment.systemPackages = [ cfg.git.package ];
        environment.etc.gitconfig = mkIf (cfg.git.config != { }) { text = lib.generators.toGitINI cfg.git.config; };
      })
    ]
  );
}
