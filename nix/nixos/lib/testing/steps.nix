# The steps of a test without a script (`testSteps`): checked here, run by the driver. docs/test-steps.md describes them;
# crate `plan`, steps.rs, has their form.
{ lib
  # names of the machines
, machines
  # the list
, steps
}:
let
  inherit (builtins) all attrNames concatMap concatLists elem filter head isAttrs isBool isFloat isInt isList isPath isString length map readFile typeOf unsafeGetAttrPos;
  inherit (lib.diagnostics) fail describe nearest;

  isNumber = v: isInt v || isFloat v;
  quoted = names: lib.concatMapStringsSep ", " (n: "`${n}`") names;
  hintOf = name: names:
    let near = nearest name names; in
    if near != [ ] then "did you mean `${head near}`?" else "there are: ${quoted names}";

  wrong = pos: message: hint: fail { code = "test-step"; inherit message pos hint; };

  # Kinds of values: what is right, and what it becomes.
  kinds = {
    text = { what = "a text"; is = isString; };
    path = { what = "a path or a text"; is = v: isPath v || isString v; to = toString; };
    number = { what = "a number that is not negative"; is = v: isNumber v && v >= 0; };
    limit = { what = "a number of seconds above 0"; is = v: isNumber v && v > 0; };
    int = { what = "a whole number"; is = isInt; };
    port = { what = "a port: a whole number from 1 to 65535"; is = v: isInt v && v > 0 && v < 65536; };
    true = { what = "`true`"; is = v: v == true; };
    steps = { what = "a list of steps"; is = isList; };
    machines = {
      what = ''a machine's name, a list of names, or "*" for all'';
      is = v: isString v || (isList v && v != [ ] && all isString v);
      to = v: if v == "*" then machines else lib.toList v;
    };
    groups = {
      what = "a list of two groups or more; a group is a list of machines";
      is = v: isList v && length v >= 2 && all (g: isList g && g != [ ] && all isString g) v;
    };
    expect = { what = "a set"; is = isAttrs; };
  };
  oneOf = words: { what = "one of ${quoted words}"; is = v: elem v words; };

  command = { user = kinds.text; stdin = kinds.text; expect = kinds.expect; };
  outcome = [ "status" "equals" "stdout" "stderr" ];

  # Each verb: the kind of its value, its further attributes, whether it needs `on`, and what it becomes.
  verbs = {
    run = { value = kinds.text; more = command; on = true; to = ofCommand; };
    fails = { value = kinds.text; more = command; on = true; to = ofCommand; };
    until = { value = kinds.text; more = command; on = true; to = ofCommand; };
    unit = {
      value = kinds.text;
      more = { user = kinds.text; state = oneOf [ "active" "inactive" "failed" ]; };
      on = true;
      to = v: s: { unit = v; user = s.user or null; state = s.state or "active"; };
    };
    port = {
      value = kinds.port;
      more = { host = kinds.text; state = oneOf [ "open" "closed" ]; };
      on = true;
      to = v: s: { port = v; host = s.host or "localhost"; open = (s.state or "open") == "open"; };
    };
    file = {
      value = kinds.path;
      more = { content = kinds.text; state = oneOf [ "present" "absent" ]; };
      on = true;
      to = v: s: { path = v; present = (s.state or "present") == "present"; content = s.content or null; };
    };
    socket = { value = kinds.path; on = true; to = v: _: { path = v; }; };
    console = { value = kinds.text; on = true; to = v: _: { pattern = v; }; };
    get = { value = kinds.text; more = { expect = kinds.expect; }; on = true; outcome = [ "status" "equals" "body" ]; to = ofGet; };
    sleep = { value = kinds.number; mayOn = true; to = v: _: { seconds = v; }; };
    log = { value = kinds.text; to = v: _: { text = v; }; };
    start = { value = kinds.machines; isOn = true; };
    shutdown = { value = kinds.machines; isOn = true; };
    waitOff = { value = kinds.machines; isOn = true; };
    reboot = { value = kinds.machines; isOn = true; };
    crash = { value = kinds.machines; isOn = true; };
    block = { value = kinds.machines; isOn = true; };
    unblock = { value = kinds.machines; isOn = true; };
    partition = { value = kinds.groups; to = v: _: { groups = v; }; };
    heal = { value = kinds.true; to = _: _: { }; };
    copyTo = { value = kinds.path; more = { source = kinds.path; }; needs = [ "source" ]; on = true; to = v: s: { target = v; inherit (s) source; }; };
    copyFrom = { value = kinds.path; more = { target = kinds.text; }; on = true; to = v: s: { source = v; target = s.target or ""; }; };
    screenshot = { value = kinds.text; on = true; to = v: _: { file = v; }; };
    group = { value = kinds.text; more = { steps = kinds.steps; }; needs = [ "steps" ]; to = v: s: { title = v; steps = map step s.steps; }; };
    parallel = { value = kinds.steps; to = v: _: { steps = map step v; }; };
    retry = { value = kinds.steps; more = { interval = kinds.limit; }; to = v: s: { steps = map step v; interval = s.interval or 1; }; };
  };
  verbNames = attrNames verbs;
  ofCommand = v: s: { command = v; user = s.user or null; stdin = s.stdin or null; expect = s.expect or { }; };
  ofGet = v: s: {
    url =
      if lib.hasPrefix "http://" v then v
      else wrong (unsafeGetAttrPos "get" s) "the URL `${v}` does not begin with http://"
        "`get` speaks plain HTTP; for others use run = \"curl -fsS ${v}\" with curl in the machine";
    expect = let e = s.expect or { }; in removeAttrs e [ "body" ] // (if e ? body then { stdout = e.body; } else { });
  };

  step = s:
    if !isAttrs s then wrong null "a step of testSteps is ${describe s}, not a set" "a step is a set such as { on = \"web\"; run = \"true\"; }"
    else
      let
        names = attrNames s;
        own = filter (n: verbs ? ${n}) names;
        verb = head own;
        of = verbs.${verb};
        pos = unsafeGetAttrPos verb s;
        more = of.more or { };
        takesOn = of.on or false || of.mayOn or false;
        known = [ verb "name" "timeout" ] ++ attrNames more ++ lib.optional takesOn "on";
        unknown = filter (n: !(elem n known)) names;
        checked = name: kind:
          let v = s.${name}; in
          if kind.is v then (kind.to or (x: x)) v
          else wrong (unsafeGetAttrPos name s) "`${name}` of this step is ${describe v}; it must be ${kind.what}" null;
        values = lib.mapAttrs (name: kind: checked name kind) (builtins.intersectAttrs s more);
        missing = filter (n: !(s ? ${n})) (of.needs or [ ]);
        value = checked verb of.value;
        named = name: list: map (m: checkMachine (unsafeGetAttrPos name s) m) list;
        on =
          if of.isOn or false then named verb value
          else if takesOn && s ? on then named "on" (checked "on" kinds.machines)
          else if of.on or false then
            if length machines == 1 then machines
            else wrong pos "this step does not say on which machine" "add on = \"${head machines}\"; there are: ${quoted machines}"
          else [ ];
        expect = if s ? expect && isAttrs s.expect then checkExpect (of.outcome or outcome) s.expect else null;
        groups = if verb == "partition" then all (g: builtins.deepSeq (named verb g) true) value else true;
      in
      if own == [ ] then
        let
          odd = filter (n: !(elem n [ "name" "timeout" "on" ])) names;
          first = if odd == [ ] then null else head odd;
        in
        if first == null then wrong (if names == [ ] then null else unsafeGetAttrPos (head names) s) "this step does nothing" "a step has one of: ${quoted verbNames}"
        else wrong (unsafeGetAttrPos first s) "there is no step `${first}`" (hintOf first verbNames)
      else if length own > 1 then
        wrong (unsafeGetAttrPos (builtins.elemAt own 1) s) "this step does two things: ${quoted own}" "make a step of each; they are done one after the other"
      else if unknown != [ ] then
        wrong (unsafeGetAttrPos (head unknown) s) "a step `${verb}` has no `${head unknown}`" (hintOf (head unknown) (filter (n: n != verb) known))
      else if missing != [ ] then wrong pos "the step `${verb}` has no `${head missing}`" null
      else builtins.seq expect (builtins.seq groups {
        place = placeOf pos;
        name = if s ? name then checked "name" kinds.text else null;
        timeout = if s ? timeout then checked "timeout" kinds.limit else null;
        inherit on;
        does = { inherit verb; } // (of.to or (_: _: { })) value (s // values);
      });

  checkMachine = pos: name:
    if elem name machines then name
    else wrong pos "there is no machine `${name}`" (hintOf name machines);

  checkExpect = known: e:
    let
      unknown = filter (n: !(elem n known)) (attrNames e);
      kind = n: if n == "status" then kinds.int else kinds.text;
      bad = filter (n: !((kind n).is e.${n})) (attrNames e);
    in
    if unknown != [ ] then wrong (unsafeGetAttrPos (head unknown) e) "`expect` has no `${head unknown}`" (hintOf (head unknown) known)
    else if bad != [ ] then
      wrong (unsafeGetAttrPos (head bad) e) "`expect.${head bad}` is ${describe e.${head bad}}; it must be ${(kind (head bad)).what}" null
    else true;

  # Lines of the files in which steps stand, each file read once.
  filesOf = list: concatMap
    (s:
      if !isAttrs s then [ ]
      else
        let positions = filter (p: p != null) (map (n: unsafeGetAttrPos n s) (attrNames s)); in
        map (p: p.file) positions
        ++ concatLists (map (n: if isList (s.${n} or null) then filesOf s.${n} else [ ]) [ "steps" "parallel" "retry" ]))
    list;
  linesOf = lib.genAttrs (lib.unique (filesOf steps))
    (file: if builtins.pathExists file then lib.splitString "\n" (readFile file) else [ ]);
  placeOf = pos:
    if pos == null then null
    else
      let lines = linesOf.${pos.file} or [ ]; in
      {
        inherit (pos) file line column;
        text = if pos.line <= length lines then builtins.elemAt lines (pos.line - 1) else "";
      };
in
if !isList steps then wrong null "testSteps is ${describe steps}, not a list" "testSteps is a list of steps: [ { on = \"web\"; run = \"true\"; } ]"
else map step steps
