# The environment of users: variables, aliases, bash's start-up files.
{ config, lib, pkgs, utils, ... }:
let
  inherit (lib) mkOption types concatStringsSep mapAttrs mapAttrsToList;
  inherit (builtins) isList map toString;
  cfg = config.environment;
  value = types.coercedTo (types.listOf (types.oneOf [ types.int types.str types.path ])) (l: concatStringsSep ":" (map toString l))
    (types.oneOf [ types.int types.str types.path ]);
  # Several definitions as lists are joined with colons.
  variable = types.nullOr (lib.mkOptionType {
    name = "environment variable";
    description = "text, number or path, or a list of them (joined with colons)";
    check = v: builtins.isString v || builtins.isInt v || builtins.isFloat v || builtins.isPath v || lib.isDerivation v || isList v;
    merge = loc: defs:
      let
        vs = map (d: d.value) defs;
      in
      if lib.any isList vs then concatStringsSep ":" (map toString (lib.concatMap lib.toList vs))
      else toString (lib.mergeEqualOption loc defs);
  });
  profiles = cfg.profiles;
  relative = vars: mapAttrs
    (_: suffixes: concatStringsSep ":" (lib.concatMap (p: map (s: "${p}${s}") suffixes) profiles))
    vars;
  suffixed = relative cfg.profileRelativeEnvVars // relative cfg.profileRelativeSessionVariables;
  exports = vars: concatStringsSep "\n" (mapAttrsToList (n: v: "export ${n}=\"${toString v}\"") (lib.filterAttrs (_: v: v != null) vars));
  setEnvironment = pkgs.writeText "set-environment" ''
    # Environment of login shells; read once.
    ${exports (cfg.sessionVariables // cfg.variables)}
    ${exports (lib.mapAttrs (n: v: if n == "PATH" then "/run/wrappers/bin:${v}" else v) suffixed)}
    ${cfg.extraInit}
    export __NIXOS_SET_ENVIRONMENT_DONE=1
  '';
  aliases = concatStringsSep "\n" (mapAttrsToList
    (n: v: "alias -- ${n}=${lib.escapeShellArg v}")
    (lib.filterAttrs (_: v: v != null) (cfg.shellAliases // config.programs.bash.shellAliases)));
  bash = config.programs.bash;
in
{
  options.environment = {
    variables = mkOption { type = types.attrsOf variable; default = { }; example = { EDITOR = "nvim"; }; description = "Environment variables of shells."; };
    sessionVariables = mkOption { type = types.attrsOf variable; default = { }; description = "Environment variables set at login, by PAM too."; };
    profiles = mkOption { type = types.listOf types.str; default = [ ]; description = "Folders that are searched for programs and more."; };
    profileRelativeEnvVars = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; description = "Variables made of folders below each profile."; };
    profileRelativeSessionVariables = mkOption { type = types.attrsOf (types.listOf types.str); default = { }; description = "The same, for sessionVariables."; };
    extraInit = mkOption { type = types.lines; default = ""; description = "Shell commands run at login."; };
    loginShellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in login shells."; };
    shellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in every shell."; };
    interactiveShellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in interactive shells."; };
    shellAliases = mkOption { type = types.attrsOf (types.nullOr (types.either types.str types.path)); default = { l = null; ll = "ls -l"; }; example = { ll = "ls -l"; }; description = "Aliases of interactive shells."; };
    shells = mkOption { type = types.listOf (types.either types.shellPackage types.path); default = [ ]; description = "Shells that users may have, for /etc/shells."; };
    homeBinInPath = mkOption { type = types.bool; default = false; description = "Whether ~/bin is on the path."; };
    localBinInPath = mkOption { type = types.bool; default = false; description = "Whether ~/.local/bin is on the path."; };
    binsh = mkOption { type = types.path; default = "/usr/bin/sh"; description = "Accepted for compatibility: /bin/sh is the layer's."; };
    usrbinenv = mkOption { type = types.nullOr types.path; default = "/usr/bin/env"; description = "Accepted for compatibility: /usr/bin/env is the layer's."; };
    stub-ld.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    enableAllTerminfo = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
    wordlist.enable = mkOption { type = types.bool; default = false; description = "Accepted for compatibility."; };
  };
  options.programs.bash = {
    enable = mkOption { type = types.bool; default = true; description = "Whether bash's start-up files are made."; };
    shellAliases = mkOption { type = types.attrsOf (types.nullOr (types.either types.str types.path)); default = { }; description = "Aliases of bash."; };
    shellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in every bash that reads /etc/profile or /etc/bashrc."; };
    loginShellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in login shells."; };
    interactiveShellInit = mkOption { type = types.lines; default = ""; description = "Shell commands run in interactive shells."; };
    logout = mkOption { type = types.lines; default = ""; description = "Shell commands run when a login shell ends."; };
    promptInit = mkOption {
      type = types.lines;
      default = ''
        if [ "$TERM" != dumb ] || [ -n "$INSIDE_EMACS" ]; then
          if (( UID )); then
            PS1='\n\[\033[1;32m\][\u@\h:\w]\$\[\033[0m\] '
          else
            PS1='\n\[\033[1;31m\][\u@\h:\w]\$\[\033[0m\] '
          fi
        fi
      '';
      description = "Shell commands that set the prompt.";
    };
    completion = {
      enable = mkOption { type = types.bool; default = false; description = "Whether completion of arguments is loaded."; };
      package = mkOption { type = types.raw; default = null; description = "The package of completions."; };
    };
    enableCompletion = mkOption { type = types.bool; default = false; description = "The older name of completion.enable."; };
    enableLsColors = mkOption { type = types.bool; default = true; description = "Whether ls shows colours."; };
  };

  config = {
    environment.profiles = lib.mkAfter [ "/nix/var/nix/profiles/default" "/run/current-system/sw" ];
    environment.profileRelativeSessionVariables = {
      PATH = [ "/bin" ];
      INFOPATH = [ "/info" "/share/info" ];
      XDG_CONFIG_DIRS = [ "/etc/xdg" ];
      XDG_DATA_DIRS = [ "/share" ];
    };
    environment.variables = {
      PAGER = lib.mkDefault "less";
      EDITOR = lib.mkDefault "nano";
      LESSOPEN = lib.mkDefault null;
    };
    environment.extraInit = ''
      ${lib.optionalString cfg.homeBinInPath ''export PATH="$HOME/bin:$PATH"''}
      ${lib.optionalString cfg.localBinInPath ''export PATH="$HOME/.local/bin:$PATH"''}
    '';
    environment.shells = [ "/run/current-system/sw/bin/bash" "/run/current-system/sw/bin/sh" "/bin/sh" ];
    environment.shellAliases = { ls = lib.mkIf bash.enableLsColors (lib.mkDefault "ls --color=tty"); ll = lib.mkDefault "ls -l"; l = lib.mkDefault "ls -alh"; };
    system.build.setEnvironment = setEnvironment;
    environment.etc = {
      shells.text = lib.concatMapStrings (s: "${utils.toShellPath s}\n") cfg.shells + "/bin/bash\n/usr/bin/bash\n/usr/bin/sh\n";
      set-environment.source = setEnvironment;
      # for the graphical and remote logins that read it through PAM
      "pam/environment".text = lib.concatStrings (mapAttrsToList
        (n: v: "${n} DEFAULT=\"${lib.replaceStrings [ "$HOME" "$USER" ] [ "@{HOME}" "@{PAM_USER}" ] (toString v)}\"\n")
        (lib.filterAttrs (_: v: v != null) cfg.sessionVariables
          // lib.mapAttrs (n: v: if n == "PATH" then "/run/wrappers/bin:${v}" else v) (relative cfg.profileRelativeSessionVariables)));
    } // lib.optionalAttrs bash.enable {
      profile.text = ''
        # Login shells.
        if [ -n "$__ETC_PROFILE_SOURCED" ]; then return; fi
        __ETC_PROFILE_SOURCED=1
        export __ETC_PROFILE_DONE=1
        if [ -z "$__NIXOS_SET_ENVIRONMENT_DONE" ]; then . ${setEnvironment}; fi
        ${cfg.shellInit}
        ${bash.shellInit}
        ${cfg.loginShellInit}
        ${bash.loginShellInit}
        if [ -f /etc/profile.local ]; then . /etc/profile.local; fi
        if [ -n "''${BASH_VERSION:-}" ]; then . /etc/bashrc; fi
      '';
      bashrc.text = ''
        # Interactive bash.
        if [ -n "$__ETC_BASHRC_SOURCED" ] || [ -n "$NOSYSBASHRC" ]; then return; fi
        __ETC_BASHRC_SOURCED=1
        if [ -z "$__ETC_PROFILE_DONE" ]; then . /etc/profile; fi
        if [ -n "$PS1" ]; then
          shopt -s checkwinsize
          ${aliases}
          ${bash.promptInit}
          ${cfg.interactiveShellInit}
          ${bash.interactiveShellInit}
        fi
        if [ -f /etc/bashrc.local ]; then . /etc/bashrc.local; fi
      '';
      # Debian's bash reads this name for interactive shells
      "bash.bashrc".text = ". /etc/bashrc\n";
      bash_logout.text = bash.logout;
      inputrc.text = ''
        set bell-style none
        set meta-flag on
        set input-meta on
        set convert-meta off
        set output-meta on
        "\e[1~": beginning-of-line
        "\e[4~": end-of-line
        "\e[3~": delete-char
        "\e[5C": forward-word
        "\e[5D": backward-word
        "\e[1;5C": forward-word
        "\e[1;5D": backward-word
      '';
    };
  };
}
