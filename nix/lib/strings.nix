# Strings.
{ lib }:
let
  inherit (builtins)
    stringLength substring replaceStrings concatStringsSep split match isString isList isAttrs isInt isFloat isPath
    elem elemAt genList head tail length filter map toJSON fromJSON compareVersions parseDrvName readFile
    concatMap foldl' typeOf isBool toString;
  toStr = toString;
  lowerChars = lib.strings.stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upperChars = lib.strings.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  ascii = import ./ascii.nix;
in
rec {
  inherit (builtins)
    compareVersions elem elemAt filter fromJSON genList head isInt isList isAttrs isPath isString match parseDrvName readFile
    replaceStrings stringLength substring tail toJSON typeOf unsafeDiscardStringContext toString concatStringsSep;

  join = concatStringsSep;
  concatStrings = concatStringsSep "";
  concatMapStrings = f: list: concatStrings (map f list);
  concatImapStrings = f: list: concatStrings (lib.imap1 f list);
  intersperse = sep: list:
    if length list < 2 then list
    else tail (concatMap (x: [ sep x ]) list);
  concatMapStringsSep = sep: f: list: concatStringsSep sep (map f list);
  concatImapStringsSep = sep: f: list: concatStringsSep sep (lib.imap1 f list);
  concatMapAttrsStringSep = sep: f: attrs: concatStringsSep sep (lib.mapAttrsToList f attrs);
  concatLines = concatMapStrings (s: s + "\n");
  replicate = n: s: concatStrings (lib.lists.replicate n s);

  trim = trimWith { start = true; end = true; };
  trimWith = { start ? false, end ? false }: s:
    let
      chars = " \t\r\n";
      regex =
        if start && end then "[${chars}]*(.*[^${chars}])[${chars}]*"
        else if start then "[${chars}]*(.*)"
        else if end then "(.*[^${chars}])[${chars}]*"
        else "(.*)";
      res = match regex s;
    in
    if res == null then "" else head res;

  makeSearchPath = sub: paths: concatStringsSep ":" (map (p: p + "/" + sub) (filter (x: x != null) paths));
  makeSearchPathOutput = output: sub: pkgs: makeSearchPath sub (map (lib.getOutput output) pkgs);
  makeLibraryPath = makeSearchPathOutput "lib" "lib";
  makeIncludePath = makeSearchPathOutput "dev" "include";
  makeBinPath = makeSearchPathOutput "bin" "bin";
  normalizePath = s:
    concatStrings (lib.imap0 (i: c: if c == "/" && i > 0 && substring (i - 1) 1 s == "/" then "" else c) (stringToCharacters s));

  optionalString = cond: s: if cond then s else "";
  hasPrefix = pref: str: substring 0 (stringLength pref) str == pref;
  hasSuffix = suffix: content:
    let
      l = stringLength content;
      s = stringLength suffix;
    in
    l >= s && substring (l - s) l content == suffix;
  hasInfix = infix: content: match ".*${escapeRegex infix}.*" "${content}" != null;

  stringToCharacters = s: genList (p: substring p 1 s) (stringLength s);
  stringAsChars = f: s: concatStrings (map f (stringToCharacters s));
  charToInt = c: ascii.${c} or (throw "charToInt: not one ASCII character: ${toJSON c}");
  escape = list: replaceStrings list (map (c: "\\" + c) list);
  escapeC = list: replaceStrings list (map (c: "\\x" + fixedWidthString 2 "0" (toLower (lib.toHexString (charToInt c)))) list);
  escapeURL =
    let
      free = stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
      others = removeAttrs ascii free;
      names = builtins.attrNames others;
    in
    replaceStrings names (map (c: "%" + fixedWidthString 2 "0" (lib.toHexString ascii.${c})) names);
  escapeShellArg = arg:
    let s = toStr arg; in
    if match "[[:alnum:],._+:@%/-]+" s == null then "'${replaceStrings [ "'" ] [ "'\\''" ] s}'" else s;
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
  isValidPosixName = name: match "[a-zA-Z_][a-zA-Z0-9_]*" name != null;
  toShellVar = name: value:
    lib.throwIfNot (isValidPosixName name) "toShellVar: ${name} is not a valid shell variable name" (
      if isAttrs value && !isStringLike value then
        "declare -A ${name}=(${concatStringsSep " " (lib.mapAttrsToList (n: v: "[${escapeShellArg n}]=${escapeShellArg v}") value)})"
      else if isList value then "declare -a ${name}=(${escapeShellArgs value})"
      else "${name}=${escapeShellArg value}");
  toShellVars = vars: concatStringsSep "\n" (lib.mapAttrsToList toShellVar vars);
  escapeNixString = s: escape [ "$" ] (toJSON s);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escapeNixIdentifier = s:
    if match "[a-zA-Z_][a-zA-Z0-9_'-]*" s != null
      && !(elem s [ "assert" "else" "if" "in" "inherit" "let" "or" "rec" "then" "with" ])
    then s else escapeNixString s;
  escapeXML = replaceStrings [ "\"" "'" "<" ">" "&" ] [ "&quot;" "&apos;" "&lt;" "&gt;" "&amp;" ];

  toLower = replaceStrings upperChars lowerChars;
  toUpper = replaceStrings lowerChars upperChars;
  toSentenceCase = str:
    lib.throwIfNot (isString str) "toSentenceCase: a ${typeOf str} was given, a string is needed"
      (toUpper (substring 0 1 str) + toLower (substring 1 (stringLength str) str));
  toCamelCase = str:
    let
      words = filter (w: isString w && w != "") (split "[ _-]+" str);
      first = head words;
    in
    if words == [ ] then ""
    else toLower (substring 0 1 first) + substring 1 (stringLength first) first
      + concatMapStrings (w: toUpper (substring 0 1 w) + substring 1 (stringLength w) w) (tail words);

  addContextFrom = src: target: substring 0 0 src + target;
  splitString = sep: s:
    let
      parts = filter isString (split (escapeRegex (toStr sep)) (toStr s));
    in
    map (addContextFrom s) parts;
  splitStringBy = pred: keep: s:
    let
      chars = stringToCharacters s;
      step = acc: c:
        let isSplit = acc.prev != null && pred acc.prev c; in
        if isSplit then { parts = acc.parts ++ [ acc.cur ]; cur = if keep then c else ""; prev = c; }
        else acc // { cur = acc.cur + c; prev = c; };
      end = foldl' step { parts = [ ]; cur = ""; prev = null; } chars;
    in
    end.parts ++ [ end.cur ];
  removePrefix = prefix: str: if hasPrefix prefix str then substring (stringLength prefix) (-1) str else str;
  removeSuffix = suffix: str:
    if hasSuffix suffix str then substring 0 (stringLength str - stringLength suffix) str else str;

  versionOlder = v1: v2: compareVersions v2 v1 == 1;
  versionAtLeast = v1: v2: !(versionOlder v1 v2);
  getName = x: if isString x then (parseDrvName x).name else x.pname or (parseDrvName x.name).name;
  getVersion = x: if isString x then (parseDrvName x).version else x.version or (parseDrvName x.name).version;
  nameFromURL = url: sep:
    let
      file = lib.last (splitString "/" url);
      name = head (splitString sep file);
    in
    assert name != file;
    name;

  mesonOption = feature: value: "-D${feature}=${value}";
  mesonBool = feature: flag: mesonOption feature (lib.boolToString flag);
  mesonEnable = feature: flag: mesonOption feature (if flag then "enabled" else "disabled");
  cmakeOptionType = type: feature: value: "-D${feature}:${toUpper type}=${value}";
  cmakeBool = feature: flag: cmakeOptionType "bool" feature (if flag then "TRUE" else "FALSE");
  cmakeFeature = cmakeOptionType "string";
  enableFeature = flag: feature: "--${if flag then "enable" else "disable"}-${feature}";
  enableFeatureAs = flag: feature: value: enableFeature flag feature + optionalString flag "=${value}";
  withFeature = flag: feature: "--${if flag then "with" else "without"}-${feature}";
  withFeatureAs = flag: feature: value: withFeature flag feature + optionalString flag "=${value}";

  fixedWidthString = width: filler: str:
    let
      missing = width - stringLength str;
    in
    assert lib.assertMsg (missing >= 0) "fixedWidthString: \"${str}\" is longer than ${toStr width}";
    if missing == 0 then str
    else substring 0 missing (concatStrings (genList (_: filler) missing)) + str;
  fixedWidthNumber = width: n: fixedWidthString width "0" (toStr n);
  floatToString = f:
    let
      s = toJSON f;
      precise = fromJSON s == f;
    in
    if precise then s else lib.warn "floatToString: ${toStr f} loses precision" s;

  isCoercibleToString = isConvertibleWithToString;
  isConvertibleWithToString = x:
    isStringLike x || elem (typeOf x) [ "null" "int" "float" "bool" ] || (isList x && builtins.all isConvertibleWithToString x);
  isStringLike = x: isString x || isPath x || x ? outPath || x ? __toString;
  isStorePath = x:
    isStringLike x && (
      let s = toStr x; in
      substring 0 1 s == "/" && dirOf s == builtins.storeDir);

  toInt = str:
    let
      m = match "[[:space:]]*(-?[[:digit:]]+)[[:space:]]*" str;
      zero = match "[[:space:]]*-?0[[:digit:]]+[[:space:]]*" str == [ ];
    in
    if m == null then throw "toInt: cannot convert \"${str}\" to an integer"
    else if zero then throw "toInt: \"${str}\" is ambiguous between octal and decimal (leading zero); use toIntBase10"
    else fromJSON (head m);
  toIntBase10 = str:
    let
      m = match "[[:space:]]*0*(-?[[:digit:]]+)[[:space:]]*" str;
      m' = match "[[:space:]]*(-?)0*([[:digit:]]+)[[:space:]]*" str;
    in
    if m == null && m' == null then throw "toIntBase10: cannot convert \"${str}\" to an integer"
    else if m' != null then fromJSON (head m' + (elemAt m' 1))
    else fromJSON (head m);

  readPathsFromFile = root: file:
    let
      lines = splitString "\n" (readFile file);
      clean = filter (l: l != "" && !(hasPrefix "#" l)) (map (removeSuffix "\n") lines);
    in
    lib.warn "readPathsFromFile is deprecated" (map (p: root + "/${p}") clean);
  fileContents = file: removeSuffix "\n" (readFile file);
  sanitizeDerivationName = string:
    let
      plain = builtins.unsafeDiscardStringContext (toStr string);
      noDots = head (match "\\.*(.*)" plain);
      parts = split "[^[:alnum:]+._?=-]+" noDots;
      clean = concatMapStrings (s: if isList s then "-" else s) parts;
      len = stringLength clean;
      short = substring (lib.max (len - 207) 0) (-1) clean;
    in
    if stringLength plain <= 207 && match "[[:alnum:]+_?=-][[:alnum:]+._?=-]*" plain != null then plain
    else if stringLength short == 0 then "unknown" else short;

  # Smallest number of insertions, deletions and changes of one character that makes `a` into `b`.
  levenshtein = a: b:
    let
      lb = stringLength b;
      bs = stringToCharacters b;
      # One row of the table from the row before, left to right.
      row = prev: c:
        (foldl'
          (acc: j:
            let
              cost = if elemAt bs j == c then 0 else 1;
              v = lib.min (lib.min (acc.left + 1) (elemAt prev (j + 1) + 1)) (elemAt prev j + cost);
            in
            builtins.seq v { left = v; cells = acc.cells ++ [ v ]; })
          { left = head prev + 1; cells = [ (head prev + 1) ]; }
          (genList (j: j) lb)).cells;
    in
    lib.last (foldl' row (genList (j: j) (lb + 1)) (stringToCharacters a));
  commonPrefixLength = a: b:
    let
      m = lib.min (stringLength a) (stringLength b);
      go = i: if i >= m then m else if substring i 1 a == substring i 1 b then go (i + 1) else i;
    in
    go 0;
  commonSuffixLength = a: b:
    let
      m = lib.min (stringLength a) (stringLength b);
      go = i:
        if i >= m then m
        else if substring (stringLength a - i - 1) 1 a == substring (stringLength b - i - 1) 1 b then go (i + 1)
        else i;
    in
    go 0;
  levenshteinAtMost = k: a: b:
    let d = stringLength a - stringLength b; in
    d <= k && d >= -k && levenshtein a b <= k;
}
