# What the Debian archive has for a system: { NAME = { version; }; _provides.VIRTUAL = [ NAME ]; }.
#
# C++ Nix has no such primop: there `<nbv-debian-index>` of the search path names a function of the same type.
builtins.nbvDebianIndex or (import <nbv-debian-index>)
