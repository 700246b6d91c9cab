# A service that the library does not have.
{ config, lib, pkgs, ... }:
let cfg = config.services.echo; in
{
  options.services.echo = {
    enable = lib.mkEnableOption "the echo service";
    text = lib.mkOption { type = lib.types.str; default = "hello"; description = "What it says."; };
  };
  config = lib.mkIf cfg.enable {
    systemd.services.echo = { wantedBy = [ "multi-user.target" ]; script = "echo ${cfg.text} ${toString config.services.echo-log.size}"; };
    # an option that nobody has, not in effect
    services.nobody = lib.mkIf (cfg.text == "nobody") { enable = true; };
  };
}
