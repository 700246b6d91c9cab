# Lists.
{ lib }:
let
  inherit (builtins)
    head tail length elemAt genList filter foldl' concatLists concatMap elem isList sort all any map groupBy lessThan partition;
in
rec {
  inherit (builtins) head tail length isList elemAt concatLists filter elem genList map all any sort concatMap partition;

  singleton = x: [ x ];
  forEach = xs: f: map f xs;
  foldr = op: nul: list:
    let
      n = length list;
      go = i: if i == n then nul else op (elemAt list i) (go (i + 1));
    in
    go 0;
  fold = foldr;
  foldl = op: nul: list:
    let
      go = i: if i == -1 then nul else op (go (i - 1)) (elemAt list i);
    in
    go (length list - 1);
  foldl' = op: acc: builtins.seq acc (builtins.foldl' op acc);
  imap0 = f: list: genList (i: f i (elemAt list i)) (length list);
  imap1 = f: list: genList (i: f (i + 1) (elemAt list i)) (length list);
  ifilter0 = pred: list:
    map (i: elemAt list i) (filter (i: pred i (elemAt list i)) (genList (i: i) (length list)));
  flatten = x: if isList x then concatMap flatten x else [ x ];
  remove = e: filter (x: x != e);
  # The only element for which `pred` holds, `default` for none, `multiple` for several.
  findSingle = pred: default: multiple: list:
    let found = filter pred list; in
    if found == [ ] then default else if length found == 1 then head found else multiple;
  findFirstIndex = pred: default: list:
    let
      n = length list;
      # The fold keeps the first index; it does not recur, so long lists are no matter.
      found = foldl' (acc: x: if acc >= 0 then acc else if pred x then -acc - 1 else acc - 1) (-1) list;
    in
    if found < 0 then default else found;
  findFirst = pred: default: list:
    let i = findFirstIndex pred null list; in if i == null then default else elemAt list i;
  count = pred: foldl' (n: x: if pred x then n + 1 else n) 0;
  optional = cond: elem: if cond then [ elem ] else [ ];
  optionals = cond: elems: if cond then elems else [ ];
  toList = x: if isList x then x else [ x ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  replicate = n: elem: genList (_: elem) n;
  groupBy' = op: nul: pred: list: builtins.mapAttrs (_: foldl op nul) (groupBy pred list);
  groupBy = builtins.groupBy;
  zipListsWith = f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (lib.min (length a) (length b));
  zipLists = zipListsWith (fst: snd: { inherit fst snd; });
  reverseList = xs: let l = length xs; in genList (n: elemAt xs (l - n - 1)) l;

  listDfs = stopOnCycles: before: list:
    let
      go = us: visited: rest:
        let
          c = filter (x: before x us) visited;
          b = partition (x: before x us) rest;
        in
        if stopOnCycles && c != [ ] then { cycle = us; loops = c; inherit visited rest; }
        else if b.right == [ ] then { minimal = us; inherit visited rest; }
        else go (head b.right) ([ us ] ++ visited) (tail b.right ++ b.wrong);
    in
    go (head list) [ ] (tail list);
  toposort = before: list:
    let
      this = listDfs true before list;
      rest = toposort before (this.visited ++ this.rest);
    in
    if length list < 2 then { result = list; }
    else if this ? cycle then { cycle = reverseList ([ this.cycle ] ++ this.visited); inherit (this) loops; }
    else if rest ? cycle then rest
    else { result = [ this.minimal ] ++ rest.result; };
  sortOn = f: list:
    map (x: elemAt x 1) (sort (a: b: head a < head b) (map (x: [ (f x) x ]) list));
  compareLists = cmp: a: b:
    if a == [ ] then (if b == [ ] then 0 else -1)
    else if b == [ ] then 1
    else let rel = cmp (head a) (head b); in if rel == 0 then compareLists cmp (tail a) (tail b) else rel;
  # Sorts texts as people do: "10" after "9".
  naturalSort = list:
    let
      vectorise = s: map (x: if isList x then lib.toIntBase10 (head x) else x) (builtins.split "(0|[1-9][0-9]*)" s);
      less = a: b: compareLists lib.compare (head a) (head b) < 0;
    in
    map (x: elemAt x 1) (sort less (map (x: [ (vectorise x) x ]) list));

  take = count: sublist 0 count;
  takeEnd = n: xs: drop (lib.max 0 (length xs - n)) xs;
  drop = count: list: sublist count (length list) list;
  dropEnd = n: xs: take (lib.max 0 (length xs - n)) xs;
  sublist = start: count: list:
    let len = length list; in
    genList (n: elemAt list (n + start))
      (if start >= len then 0 else if start + count > len then len - start else count);
  hasPrefix = a: b: take (length a) b == a;
  removePrefix = a: b:
    if hasPrefix a b then drop (length a) b
    else throw "lists.removePrefix: the first list is not a prefix of the second";
  commonPrefix = a: b:
    let
      n = lib.min (length a) (length b);
      go = i: if i < n && elemAt a i == elemAt b i then go (i + 1) else i;
    in
    take (go 0) a;
  last = list: if list == [ ] then throw "lists.last: list must not be empty!" else elemAt list (length list - 1);
  init = list: if list == [ ] then throw "lists.init: list must not be empty!" else take (length list - 1) list;
  crossLists = f: foldl (fs: args: concatMap (f: map f args) fs) [ f ];
  unique = foldl' (acc: e: if elem e acc then acc else acc ++ [ e ]) [ ];
  uniqueStrings = list: builtins.attrNames (builtins.listToAttrs (map (name: { inherit name; value = null; }) list));
  allUnique = list: length (unique list) == length list;
  intersectLists = e: filter (x: elem x e);
  subtractLists = e: filter (x: !(elem x e));
  mutuallyExclusive = a: b: length a == 0 || !(any (x: elem x a) b);
  concatAttrValues = set: concatLists (builtins.attrValues set);
}
