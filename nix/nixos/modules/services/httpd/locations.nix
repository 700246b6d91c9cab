# services.httpd.virtualHosts.<name>.locations.<path>
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    proxyPass = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "http://192.168.1.2:8080/";
      description = "Where requests are passed on to.";
    };
    index = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "index.php index.html";
      description = "Files shown for a folder.";
    };
    alias = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "Folder that is served here.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text for the end of the `Location` block.";
    };
    priority = mkOption {
      type = types.int;
      default = 1000;
      description = "Order among the locations; smaller ones come first.";
    };
  };
}
