# services.httpd.virtualHosts.<name>
{ config, lib, name, ... }:
let
  inherit (lib) mkOption types;

  served = what: types.listOf (
    types.submodule {
      options = {
        urlPath = mkOption {
          type = types.str;
          description = "Path in the URL.";
        };
        ${what} = mkOption {
          type = types.path;
          description = "What is served there.";
        };
      };
    }
  );
in
{
  options = {
    hostName = mkOption {
      type = types.str;
      default = name;
      defaultText = "the attribute's name";
      description = "The host's canonical name (`ServerName`).";
    };
    serverAliases = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Other names of the host.";
    };
    listenAddresses = mkOption {
      type = types.nonEmptyListOf types.str;
      default = [ "*" ];
      description = "Addresses of the host, where {option}`listen` is not set.";
    };
    listen = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            ip = mkOption {
              type = types.str;
              default = "*";
              description = "Address to listen on; `*` is all.";
            };
            port = mkOption {
              type = types.port;
              description = "Port to listen on.";
            };
            ssl = mkOption {
              type = types.bool;
              default = false;
              description = "Whether this port speaks TLS.";
            };
          };
        }
      );
      default =
        lib.optionals (!config.onlySSL) (map (ip: { inherit ip; port = 80; ssl = false; }) config.listenAddresses)
        ++ lib.optionals (config.onlySSL || config.addSSL || config.forceSSL) (
          map (ip: { inherit ip; port = 443; ssl = true; }) config.listenAddresses
        );
      defaultText = "port 80, and 443 with TLS";
      description = "Addresses and ports of this host.";
    };
    addSSL = mkOption {
      type = types.bool;
      default = false;
      description = "Serve by TLS too.";
    };
    onlySSL = mkOption {
      type = types.bool;
      default = false;
      description = "Serve by TLS only.";
    };
    forceSSL = mkOption {
      type = types.bool;
      default = false;
      description = "Serve by TLS and redirect plain requests to it.";
    };
    sslServerCert = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "The certificate's file.";
    };
    sslServerKey = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "The key's file.";
    };
    sslServerChain = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "The file with the certificates of the authorities between.";
    };
    http2 = mkOption {
      type = types.bool;
      default = true;
      description = "Offer HTTP/2 to TLS clients.";
    };
    adminAddr = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Mail address of the host's administrator.";
    };
    documentRoot = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/var/www";
      description = "Folder that is served; null: a page that says that the server works.";
    };
    servedDirs = mkOption {
      type = served "dir";
      default = [ ];
      description = "Folders served at further paths.";
    };
    servedFiles = mkOption {
      type = served "file";
      default = [ ];
      description = "Files served at further paths.";
    };
    extraConfig = mkOption {
      type = types.lines;
      default = "";
      description = "Text for the end of the `VirtualHost` block.";
    };
    enableUserDir = mkOption {
      type = types.bool;
      default = false;
      description = "Serve users' `public_html` at `/~NAME`.";
    };
    globalRedirect = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Redirect every request to this place.";
    };
    logFormat = mkOption {
      type = types.str;
      default = "common";
      description = "Format of the access log: `common`, `combined`, `referer`, `agent`, `none`.";
    };
    robotsEntries = mkOption {
      type = types.lines;
      default = "";
      description = "Text of `/robots.txt`.";
    };
    locations = mkOption {
      type = types.attrsOf (types.submodule ./locations.nix);
      default = { };
      description = "Settings by path.";
    };
  };
}
