# environment.etc: files of /etc.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types mkIf;
  inherit (builtins) attrValues filter map toString;
  entry = types.submodule ({ name, config, options, ... }: {
    options = {
      enable = mkOption { type = types.bool; default = true; description = "Whether the file is made."; };
      target = mkOption { type = types.str; description = "The name below /etc; the attribute's name unless said otherwise."; };
      text = mkOption { type = types.nullOr types.lines; default = null; description = "The file's text."; };
      source = mkOption { type = types.path; description = "The file that is linked or copied."; };
      mode = mkOption { type = types.str; default = "symlink"; example = "0600"; description = "`symlink`, `direct-symlink`, or the mode of a copy."; };
      uid = mkOption { type = types.int; default = 0; description = "The owner of a copy, as a number."; };
      gid = mkOption { type = types.int; default = 0; description = "The group of a copy, as a number."; };
      user = mkOption { type = types.str; default = "+${toString config.uid}"; description = "The owner of a copy: a name, or + and a number."; };
      group = mkOption { type = types.str; default = "+${toString config.gid}"; description = "The group of a copy: a name, or + and a number."; };
    };
    config = {
      target = lib.mkDefault name;
      source = mkIf (config.text != null) (
        let name' = "etc-" + lib.replaceStrings [ "/" "@" " " ] [ "-" "-" "-" ] name; in
        lib.mkDerivedConfig options.text (text: pkgs.writeText (lib.strings.sanitizeDerivationName name') text));
    };
  });
  enabled = filter (e: e.enable) (attrValues config.environment.etc);
  links = filter (e: e.mode == "symlink") enabled;
  direct = filter (e: e.mode == "direct-symlink") enabled;
  copies = filter (e: e.mode != "symlink" && e.mode != "direct-symlink") enabled;
  owner = lib.removePrefix "+";
in
{
  options.environment.etc = mkOption {
    type = types.attrsOf entry;
    default = { };
    example = lib.literalExpression ''{ "example-configuration-file" = { source = "/nix/store/.../etc/dir/file.conf.example"; mode = "0440"; }; }'';
    description = "Files that are linked, or copied, into /etc.";
  };
  config = {
    system.build.etc = pkgs.nbvFarm "etc" (map (e: { name = "etc/${e.target}"; path = "${e.source}"; }) links);
    system.activation.manifest = lib.mkMerge [
      (lib.mkOrder 400 ([ [ "etc" "${config.system.build.etc}/etc" ] ]
        ++ map (e: [ "file" "/etc/${e.target}" e.mode (owner e.user) (owner e.group) "${e.source}" ]) copies
        ++ map (e: [ "link" "/etc/${e.target}" "${e.source}" ]) direct))
    ];
  };
}
