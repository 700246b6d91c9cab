# Entry of a mkDerivation build: `bash builder.sh`. With structured attributes the set-up script is named there.
if [ -n "${NIX_ATTRS_SH_FILE:-}" ]; then . "$NIX_ATTRS_SH_FILE"; fi
. "$setup"
genericBuild
