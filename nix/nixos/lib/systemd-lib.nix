# Unit files as texts, and the folder of all units.
{ lib, config, pkgs }:
let
  inherit (builtins) attrNames concatLists concatMap concatStringsSep filter isList length map mapAttrs toString;
  inherit (lib) mapAttrsToList optional optionalString optionalAttrs hasSuffix removeSuffix;
  line = key: value:
    if value == null then ""
    else if isList value then concatStringsSep "" (map (v: "${key}=${text v}\n") value)
    else "${key}=${text value}\n";
  text = v: if v == true then "true" else if v == false then "false" else toString v;
  # lists that share one line
  words = key: list: optionalAttrs (list != [ ]) { ${key} = concatStringsSep " " list; };
in
rec {
  attrsToSection = attrs: concatStringsSep "" (mapAttrsToList line attrs);
  shellEscape = s: lib.replaceStrings [ "\\" ] [ "\\\\" ] s;
  mkPathSafeName = lib.replaceStrings [ "@" ":" "\\" "[" "]" ] [ "-" "-" "-" "" "" ];

  # Definitions that the options of a unit make in its [Unit] section.
  unitSection = c:
    words "Requires" c.requires
    // words "Wants" c.wants
    // words "Upholds" c.upholds
    // words "After" c.after
    // words "Before" c.before
    // words "BindsTo" c.bindsTo
    // words "PartOf" c.partOf
    // words "Conflicts" c.conflicts
    // words "Requisite" c.requisite
    // words "OnFailure" c.onFailure
    // words "OnSuccess" c.onSuccess
    // words "Documentation" c.documentation
    // optionalAttrs (c.description != "") { Description = c.description; }
    // optionalAttrs (c.startLimitBurst != null) { StartLimitBurst = c.startLimitBurst; }
    // optionalAttrs (c.startLimitIntervalSec != null) { StartLimitIntervalSec = c.startLimitIntervalSec; }
    // optionalAttrs (c.restartTriggers or [ ] != [ ]) { X-Restart-Triggers = "${triggers "restart" c.restartTriggers}"; }
    // optionalAttrs (c.reloadTriggers or [ ] != [ ]) { X-Reload-Triggers = "${triggers "reload" c.reloadTriggers}"; };
  # The lists could be long and refer to much: a hash tells whether they changed, the context is not needed at run time.
  triggers = _: list:
    builtins.hashString "sha256" (builtins.unsafeDiscardStringContext (concatStringsSep " " (map
      (t: if builtins.isPath t then "${t}" else toString t)
      list)));

  shellScript = name: body: pkgs.writeTextFile {
    name = "unit-script-${mkPathSafeName name}";
    executable = true;
    destination = "/bin/${mkPathSafeName name}";
    text = "#!${pkgs.runtimeShell}\nset -e\n${body}\n";
  };
  makeJobScript = { name, text, ... }: "${shellScript name text}/bin/${mkPathSafeName name}";

  # Fields that are the same for all kinds of units.
  unitHead = c: "[Unit]\n${attrsToSection c.unitConfig}";
  concrete = c: {
    inherit (c) aliases wantedBy requiredBy upheldBy enable overrideStrategy;
  };
  targetToUnit = c: concrete c // { text = unitHead c; };
  serviceToUnit = c: concrete c // {
    text = unitHead c + "\n[Service]\n"
      + concatStringsSep "" (mapAttrsToList
        (n: v: if v == null then "" else "Environment=${builtins.toJSON "${n}=${lib.replaceStrings [ "%" ] [ "%%" ] (toString v)}"}\n")
        c.environment)
      + (if c.reloadIfChanged then "X-ReloadIfChanged=true\n"
      else if !c.restartIfChanged then "X-RestartIfChanged=false\n"
      else "")
      + optionalString (!c.stopIfChanged) "X-StopIfChanged=false\n"
      + optionalString c.notSocketActivated "X-NotSocketActivated=true\n"
      + attrsToSection c.serviceConfig;
  };
  socketToUnit = c: concrete c // {
    text = unitHead c + "\n[Socket]\n" + attrsToSection c.socketConfig
      + concatStringsSep "" (map (s: "ListenStream=${s}\n") c.listenStreams)
      + concatStringsSep "" (map (s: "ListenDatagram=${s}\n") c.listenDatagrams);
  };
  timerToUnit = c: concrete c // { text = unitHead c + "\n[Timer]\n" + attrsToSection c.timerConfig; };
  pathToUnit = c: concrete c // { text = unitHead c + "\n[Path]\n" + attrsToSection c.pathConfig; };
  mountToUnit = c: concrete c // { text = unitHead c + "\n[Mount]\n" + attrsToSection c.mountConfig; };
  automountToUnit = c: concrete c // { text = unitHead c + "\n[Automount]\n" + attrsToSection c.automountConfig; };
  sliceToUnit = c: concrete c // { text = unitHead c + "\n[Slice]\n" + attrsToSection c.sliceConfig; };

  makeUnit = name: unit: pkgs.writeTextDir name (if unit.text == null then "" else unit.text);

  # Entries of the folder of units. `upstream`: names of units of systemd's own that are in effect; `from`: their folder.
  unitEntries = { units, upstream, upstreamWants ? [ ], from, packages ? [ ], packageFolders ? [ "etc/systemd/system" "lib/systemd/system" ] }:
    let
      isUpstream = lib.genAttrs upstream (_: true);
      install = name: unit:
        let
          template = builtins.match "([^@]+@)[^.]+(\\..+)" name;
          # the file behind an instance of a template
          dropin = unit.overrideStrategy == "asDropin"
            || (unit.overrideStrategy == "asDropinIfExists" && isUpstream ? ${name});
        in
        (if !unit.enable then [ { inherit name; path = "/dev/null"; } ]
        else if unit.text == null then [ ]
        else if dropin then [ { name = "${name}.d/overrides.conf"; inherit (unit) text; } ]
        else if packages == [ ] then [ { inherit name; inherit (unit) text; } ]
        # a unit of one of the packages is not known before the build
        else [ { inherit name; inherit (unit) text; dropin = "${name}.d/overrides.conf"; } ])
        ++ (if unit.enable then
          map (alias: { name = alias; path = name; }) unit.aliases
          ++ concatMap
            (kind: map
              (by: {
                name = "${by}.${kind.folder}/${name}";
                # an instance whose template is the file
                path = "../${if template != null && (dropin || unit.text == null) then lib.concatStrings template else name}";
              })
              kind.list)
            [
              { folder = "wants"; list = unit.wantedBy; }
              { folder = "requires"; list = unit.requiredBy; }
              { folder = "upholds"; list = unit.upheldBy; }
            ]
        else [ ]);
      # An upstream unit that is masked is replaced by the mask.
      masked = lib.filterAttrs (_: u: !u.enable) units;
      own = concatLists (mapAttrsToList install units);
      taken = lib.listToAttrs (map (e: { inherit (e) name; value = true; }) own);
      base = filter (e: !(taken ? ${e.name})) (
        map (name: { inherit name; path = "${from}/${name}"; }) upstream
        ++ upstreamWants);
      # two units may be asked for by one name; the first stands
      unique = entries: lib.attrValues (lib.listToAttrs (map (e: { inherit (e) name; value = e; }) entries));
    in
    unique (base ++ own)
    ++ concatMap
      (p: map (sub: { name = ""; tree = "${p}/${sub}"; }) packageFolders)
      packages;
}
