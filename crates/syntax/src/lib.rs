//! The Nix language: lexer, parser, tree, name resolution, printer.
