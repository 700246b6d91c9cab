# Small functions about functions, booleans, numbers, versions of the library, warnings.
{ lib }:
let
  inherit (builtins)
    isAttrs isFunction functionArgs foldl' elem bitAnd length genList elemAt pathExists readFile trace ceil;
  isCallable = f: isFunction f || (isAttrs f && f ? __functor && isCallable (f.__functor f));
  argsOf = f:
    if isAttrs f && f ? __functor
    then f.__functionArgs or (argsOf (f.__functor f))
    else functionArgs f;
  digits = [ "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "A" "B" "C" "D" "E" "F" ];
  hexValue = {
    "0" = 0; "1" = 1; "2" = 2; "3" = 3; "4" = 4; "5" = 5; "6" = 6; "7" = 7; "8" = 8; "9" = 9;
    a = 10; b = 11; c = 12; d = 13; e = 14; f = 15; A = 10; B = 11; C = 12; D = 13; E = 14; F = 15;
  };
  say = builtins.warn or (message: value: trace ("warning: " + message) value);
in
rec {
  inherit (builtins)
    pathExists readFile isBool isInt isFloat add sub lessThan seq deepSeq genericClosure bitAnd bitOr bitXor;

  # The identity.
  id = x: x;
  # A function that ignores its argument.
  const = x: _: x;
  # Sends a value through a list of functions, first to last.
  pipe = foldl' (x: f: f x);
  concat = x: y: x ++ y;
  or = x: y: x || y;
  and = x: y: x && y;
  xor = x: y: (!x) != (!y);
  bitNot = builtins.sub (-1);
  boolToString = b: if b then "true" else "false";
  boolToYesNo = b: if b then "yes" else "no";
  mergeAttrs = x: y: x // y;
  flip = f: a: b: f b a;
  # `f a` unless `a` is null.
  mapNullable = f: a: if a == null then a else f a;
  defaultTo = default: value: if value == null then default else value;

  # The NixOS release whose options and semantics this library follows.
  release = "25.05";
  codeName = "Debian";
  versionSuffix = "";
  version = release + versionSuffix;
  oldestSupportedRelease = 2411;
  oldestSupportedReleaseIsAtLeast = release': release' <= oldestSupportedRelease;
  isInOldestRelease = oldestSupportedReleaseIsAtLeast;
  revisionWithDefault = default: default;
  inNixShell = builtins.getEnv "IN_NIX_SHELL" != "";
  inPureEvalMode = !(builtins ? currentSystem);

  min = x: y: if x < y then x else y;
  max = x: y: if x > y then x else y;
  # Remainder with the sign of the dividend.
  mod = base: int: base - int * (base / int);
  # -1, 0 or 1.
  compare = a: b: if a < b then -1 else if a > b then 1 else 0;
  # Compares by `yes` where both satisfy `p`, those that satisfy it before the others, those by `no`.
  splitByAndCompare = p: yes: no: a: b:
    if p a then (if p b then yes a b else -1) else if p b then 1 else no a b;

  importJSON = path: builtins.fromJSON (readFile path);
  importTOML = path: builtins.fromTOML (readFile path);

  warn = say;
  warnIf = cond: message: if cond then warn message else x: x;
  warnIfNot = cond: message: if cond then x: x else warn message;
  throwIf = cond: message: if cond then throw message else x: x;
  throwIfNot = cond: message: if cond then x: x else throw message;
  info = message: trace ("INFO: " + message);
  showWarnings = warnings: result: foldl' (value: message: warn message value) result warnings;
  checkListOfEnum = message: valid: given:
    let bad = builtins.filter (x: !(elem x valid)) given;
    in throwIfNot (bad == [ ])
      "${message}: ${lib.concatStringsSep ", " (map builtins.toString bad)} unexpected; valid ones: ${lib.concatStringsSep ", " (map builtins.toString valid)}";

  setFunctionArgs = f: args: { __functor = _: f; __functionArgs = args; };
  functionArgs = argsOf;
  isFunction = isCallable;
  mirrorFunctionArgs = f:
    let args = argsOf f;
    in g: if args == { } then g else setFunctionArgs g args;
  toFunction = v: if isCallable v then v else _: v;

  fromHexString = s:
    let
      text = if lib.hasPrefix "0x" s || lib.hasPrefix "0X" s then builtins.substring 2 (-1) s else s;
      chars = lib.stringToCharacters text;
    in
    if text == "" then throw "fromHexString: no digits in \"${s}\""
    else foldl' (n: c: n * 16 + (hexValue.${c} or (throw "fromHexString: \"${s}\" is not hexadecimal"))) 0 chars;
  toHexString = i: lib.concatMapStrings (d: elemAt digits d) (toBaseDigits 16 i);
  # Digits of `i` in base `base`, most significant first.
  toBaseDigits = base: i:
    let
      go = n: if n < base then [ n ] else go (n / base) ++ [ (n - base * (n / base)) ];
    in
    assert base >= 2;
    assert i >= 0;
    go i;
}
