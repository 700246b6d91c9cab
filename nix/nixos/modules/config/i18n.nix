# Time zone and language.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types mkIf;
  tz = config.time.timeZone;
  zoneinfo = "/usr/share/zoneinfo";
in
{
  options = {
    time.timeZone = mkOption {
      type = types.nullOr (types.addCheck types.str (s: builtins.match ".* .*" s == null) // { description = "null or string without spaces"; });
      default = null;
      example = "Europe/Amsterdam";
      description = "The time zone; null is UTC, which can be changed at run time.";
    };
    time.hardwareClockInLocalTime = mkOption { type = types.bool; default = false; description = "Whether the hardware's clock is in local time."; };
    location.latitude = mkOption { type = types.float; default = 0.0; description = "Latitude."; };
    location.longitude = mkOption { type = types.float; default = 0.0; description = "Longitude."; };
    i18n = {
      defaultLocale = mkOption { type = types.str; default = "C.UTF-8"; example = "nl_NL.UTF-8"; description = "The language of messages, and the form of dates and numbers. (NixOS' default is en_US.UTF-8; any but C.UTF-8 adds a large package of locales.)"; };
      extraLocaleSettings = mkOption { type = types.attrsOf types.str; default = { }; example = { LC_TIME = "de_DE.UTF-8"; }; description = "Further LC_* variables."; };
      extraLocales = mkOption { type = types.either (types.listOf types.str) (types.enum [ "all" ]); default = [ ]; description = "Accepted for compatibility: the locales are the layer's."; };
      supportedLocales = mkOption { type = types.listOf types.str; default = [ "all" ]; description = "Accepted for compatibility: the locales are the layer's."; };
      glibcLocales = mkOption { type = types.raw; default = null; description = "Accepted for compatibility."; };
      inputMethod = mkOption { type = types.attrsOf types.anything; default = { }; description = "Accepted for compatibility."; };
    };
  };
  config = {
    environment.systemPackages = lib.optional (!lib.elem config.i18n.defaultLocale [ "C.UTF-8" "C.utf8" "C" "POSIX" ]) pkgs.locales-all;
    environment.sessionVariables = {
      LANG = config.i18n.defaultLocale;
    } // config.i18n.extraLocaleSettings;
    environment.etc = {
      "locale.conf".text = ''
        LANG=${config.i18n.defaultLocale}
        ${lib.concatStringsSep "\n" (lib.mapAttrsToList (n: v: "${n}=${v}") config.i18n.extraLocaleSettings)}
      '';
      zoneinfo.source = zoneinfo;
    } // lib.optionalAttrs (tz != null) {
      localtime = { source = "${zoneinfo}/${tz}"; mode = "direct-symlink"; };
    };
    systemd.globalEnvironment = lib.mkIf (tz != null) { TZDIR = zoneinfo; };
  };
}
