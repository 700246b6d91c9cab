# The entry of the embedded library: `import <nixpkgs> { }`.
import ./pkgs
