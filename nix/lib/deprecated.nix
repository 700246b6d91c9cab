# Older names and rarely used functions that configurations still call.
{ lib }:
let
  inherit (builtins) attrNames filter foldl' hasAttr isAttrs listToAttrs map tryEval;
in
rec {
  mapAttrsFlatten = lib.mapAttrsToList;
  nvs = lib.nameValuePair;
  setAttr = set: name: v: set // { ${name} = v; };
  maybeEnv = name: default: let v = builtins.getEnv name; in if v == "" then default else v;
  maybeAttr = name: default: attrs: attrs.${name} or default;
  maybeAttrNullable = name: default: attrs: if attrs == null then default else attrs.${name} or default;
  ifEnable = cond: val: if cond then val else if builtins.isList val then [ ] else if isAttrs val then { } else if val == true || val == false then false else null;
  lazyGenericClosure = { startSet, operator }:
    let
      go = list: done: result:
        if list == [ ] then result
        else
          let x = lib.head list; in
          if lib.elem x.key done then go (lib.tail list) done result
          else go (lib.tail list ++ operator x) ([ x.key ] ++ done) ([ x ] ++ result);
    in
    go startSet [ ] [ ];
  uniqList = { inputList, acc ? [ ] }: foldl' (l: x: if lib.elem x l then l else l ++ [ x ]) acc inputList;
  zip = lib.zipAttrsWith;
  zipWithNames = lib.zipAttrsWithNames;
  imap = lib.imap1;
  splitVersion = builtins.splitVersion;
  trace = builtins.trace;
  unsafeGetAttrPos = builtins.unsafeGetAttrPos;
  split = builtins.split;
  inherit (builtins) storeDir;
  replaceChars = builtins.replaceStrings;
  lowerChars = lib.stringToCharacters "abcdefghijklmnopqrstuvwxyz";
  upperChars = lib.stringToCharacters "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  nixpkgsVersion = lib.version;
  nixType = x: if isAttrs x then (if x ? outPath then "derivation" else "attrs") else builtins.typeOf x;
  fakeHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
  fakeSha256 = "0000000000000000000000000000000000000000000000000000000000000000";
  fakeSha512 = lib.strings.replicate 128 "0";
  closePropagation = list: lib.unique (filter (x: x != null) (lib.concatMap
    (x: if isAttrs x then [ x ] ++ closePropagation (x.propagatedBuildInputs or [ ]) else [ x ])
    list));
  # Reads variables of proxies; fetchers are allowed to see them.
  fetchers = {
    proxyImpureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" "HTTP_PROXY" "HTTPS_PROXY" "FTP_PROXY" "ALL_PROXY" "NO_PROXY" ];
    normalizeHash = { hashTypes ? [ "sha256" ], required ? true }: args: args;
    withNormalizedHash = { hashTypes ? [ "sha256" ] }: f: f;
  };
}
