# A package: a store view of Debian packages.
#
# The result is a derivation of `builtin:debian-view` dressed as nixpkgs dresses its packages (meta, outputs,
# override, overrideAttrs, passthru). It has one output; every output name leads to it.
#
# Not here: which nixpkgs name is which Debian package (names.nix).
{ lib, index, platform }:

let
  fail = import ./error.nix;

  outputNames = [
    "bin" "dev" "devdoc" "dnsutils" "doc" "getent" "host" "include" "info" "lib" "libgcc" "locale" "login" "man"
    "mount" "server" "static" "su" "swap" "terminfo" "zoneinfo"
  ];

  # Thousands of files that nothing reaches through a package's path; they are in the guest's /usr.
  documents = [ "share/doc" "share/man" "share/locale" "share/lintian" "share/bug" "share/apport" "share/info" ];

  # Debian's version without the epoch, in characters that a store path may have.
  storeVersion =
    version:
    let
      parts = builtins.match "([0-9]+:)?(.*)" version;
    in
    builtins.replaceStrings [ "~" ":" ] [ "." "." ] (builtins.elemAt parts 1);

  # What upstream calls it: without Debian's revision and repacking suffix ("1:9.2p1-2+deb12u3" is "9.2p1").
  upstreamVersion =
    version:
    let
      plain = storeVersion version;
      revision = builtins.match "(.*)-[^-]*" plain;
      stem = if revision == null then plain else builtins.head revision;
      suffix = builtins.match "([^+]*)\\+(dfsg|ds|really|git|repack).*" stem;
      dfsg = builtins.match "(.*)\\.(dfsg|ds)[0-9.]*" (if suffix == null then stem else builtins.head suffix);
    in
    if dfsg != null then builtins.head dfsg else if suffix != null then builtins.head suffix else stem;

  versionOf =
    attribute: package:
    (index.${package} or (fail {
      code = "package-missing";
      message = "pkgs.${attribute}: Debian ${platform.debian.suite} has no package '${package}' for ${platform.system}";
      hint =
        if index._provides ? ${package} then
          "it is a virtual package; provided by ${lib.concatStringsSep ", " (lib.take 5 index._provides.${package})}"
        else
          "another architecture's suite may have it (nixpkgs.hostPlatform), or use another package";
    })).version;

  # What `overrideAttrs` may change of a view; the rest says how a package is compiled.
  changeable = [ "pname" "version" "name" "meta" "passthru" "packages" "links" "only" "drop" ];

  make =
    {
      # nixpkgs' name
      pname,
      # Debian names; the first one gives the version
      packages,
      # { "bin/httpd" = "/usr/bin/apache2"; }
      links ? { },
      # prefixes of paths to keep, to leave out
      only ? null,
      drop ? [ ],
      mainProgram ? pname,
      description ? null,
      meta ? { },
      passthru ? { },
      version ? upstreamVersion (versionOf pname (builtins.head packages)),
      name ? null,
    }@args:
    let
      versions = map (versionOf pname) packages;
      first = builtins.head packages;
      summary = if description != null then description else index.${first}.description or "Debian's ${first}";

      drv = derivation (
        {
          name = if name != null then name else "${pname}-${storeVersion (builtins.head versions)}";
          builder = "builtin:debian-view";
          inherit (platform) system;
          __structuredAttrs = true;
          # raised when the builder makes other views of the same packages
          layout = 2;
          outputs = [ "out" ];
          inherit packages versions;
          links = lib.mapAttrsToList (name: target: {
            inherit name;
            target = "${target}";
          }) links;
        }
        // (if only != null then { inherit only; } else { drop = drop ++ documents; })
      );

      self =
        drv
        // lib.genAttrs outputNames (_: self)
        // passthru
        // {
          inherit pname version passthru;
          out = self;
          all = [ self ];
          outputName = "out";
          outputs = [ "out" ];
          debianPackages = packages;
          meta = {
            inherit mainProgram;
            inherit (drv) name;
            description = summary;
            longDescription = "Packages of Debian ${platform.debian.suite}: ${lib.concatStringsSep " " packages}";
            available = true;
            broken = false;
            insecure = false;
            unsupported = false;
            outputsToInstall = [ "out" ];
            platforms = [ platform.system ];
          }
          // meta;
          override =
            given:
            lib.warn "pkgs.${pname}.override: Debian's packages are built already, its arguments have no effect" self;
          overrideDerivation = change: self.overrideAttrs change;
          overrideAttrs =
            change:
            let
              old = {
                inherit pname version passthru packages links drop;
                inherit (drv) name;
                inherit (self) meta;
                src = null;
                patches = [ ];
                buildInputs = [ ];
                nativeBuildInputs = [ ];
              };
              once = if builtins.isFunction change then change old else change;
              new = if builtins.isFunction once then once old else once;
              kept = lib.filterAttrs (name: _: lib.elem name changeable) new;
              ignored = lib.attrNames (removeAttrs new changeable);
              result = make (args // kept);
            in
            if ignored == [ ] then
              result
            else
              lib.warn "pkgs.${pname}.overrideAttrs: Debian's packages are built already, no effect: ${lib.concatStringsSep ", " ignored}" result;
        };
    in
    self;
in
{
  inherit make upstreamVersion;
  has = package: index ? ${package};
}
