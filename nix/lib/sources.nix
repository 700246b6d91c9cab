# Filtered copies of source folders.
{ lib }:
let
  inherit (builtins) any baseNameOf filterSource hasContext isString match pathExists readFile storeDir substring toString;
in
rec {
  # Leaves out version control, editors' backups, object files and `result` links.
  cleanSourceFilter = name: type:
    let base = baseNameOf (toString name); in
    !(
      (type == "directory" && builtins.elem base [ ".git" ".svn" "CVS" ".hg" ".jj" ".pijul" "_darcs" ])
      || lib.hasSuffix "~" base
      || match "^\\.sw[a-z]$" base != null
      || match "^\\..*\\.sw[a-z]$" base != null
      || lib.hasSuffix ".o" base
      || lib.hasSuffix ".so" base
      || (type == "symlink" && lib.hasPrefix "result" base)
      || type == "unknown");
  cleanSource = src: cleanSourceWith { filter = cleanSourceFilter; inherit src; };
  cleanSourceWith = { filter ? (_: _: true), src, name ? null }:
    let
      isFiltered = src ? _isLibCleanSourceWith;
      origSrc = if isFiltered then src.origSrc else src;
      filter' = if isFiltered then name: type: filter name type && src.filter name type else filter;
      name' = if name != null then name else if isFiltered then src.name else "source";
    in
    {
      _isLibCleanSourceWith = true;
      inherit origSrc;
      filter = filter';
      name = name';
      outPath = builtins.path { filter = filter'; path = origSrc; name = name'; };
    };
  sourceByRegex = src: regexes:
    let
      isFiltered = src ? _isLibCleanSourceWith;
      origSrc = if isFiltered then src.origSrc else src;
    in
    cleanSourceWith {
      filter = path: type:
        let relative = lib.removePrefix (toString origSrc + "/") (toString path); in
        any (re: match re relative != null) regexes;
      inherit src;
    };
  sourceFilesBySuffices = src: suffixes: cleanSourceWith {
    filter = name: type: type == "directory" || any (s: lib.hasSuffix s (baseNameOf name)) suffixes;
    inherit src;
  };
  trace = src: src;
  pathIsGitRepo = path: pathExists (toString path + "/.git");
  commitIdFromGitRepo = path:
    let
      git = toString path + "/.git";
      headFile = lib.fileContents (git + "/HEAD");
      ref = match "^ref: (.*)$" headFile;
      refFile = git + "/" + builtins.head ref;
    in
    if ref == null then headFile
    else if pathExists refFile then lib.fileContents refFile
    else throw "commitIdFromGitRepo: ${refFile} does not exist";
  pathHasContext = hasContext;
  canCleanSource = src: src ? _isLibCleanSourceWith || !(hasContext (toString src));
  urlToName = url: baseNameOf (toString url);
}
