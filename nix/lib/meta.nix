# What packages say about themselves.
{ lib }:
let
  inherit (builtins) all any attrValues elem filter isAttrs isString map removeAttrs;
in
rec {
  addMetaAttrs = new: drv: if drv ? overrideAttrs then drv.overrideAttrs (old: { meta = old.meta or { } // new; }) else drv // { meta = drv.meta or { } // new; };
  dontDistribute = addMetaAttrs { hydraPlatforms = [ ]; };
  setName = name: drv: drv // { inherit name; };
  updateName = updater: drv: drv // { name = updater drv.name; };
  appendToName = suffix: updateName (name:
    let x = builtins.parseDrvName name; in
    "${x.name}-${suffix}${lib.optionalString (x.version != "") "-${x.version}"}");
  mapDerivationAttrset = f: set: lib.mapAttrs (_: pkg: if lib.isDerivation pkg then f pkg else pkg) set;
  defaultPriority = 5;
  setPrio = priority: addMetaAttrs { inherit priority; };
  lowPrio = setPrio 10;
  lowPrioSet = set: mapDerivationAttrset lowPrio set;
  hiPrio = setPrio (-10);
  hiPrioSet = set: mapDerivationAttrset hiPrio set;
  # Whether a platform has the name, or matches the pattern, `elem`.
  platformMatch = platform: elem:
    let
      pattern = if isString elem then { system = elem; } else if elem ? parsed then elem else { parsed = elem; };
    in
    lib.matchAttrs pattern platform;
  availableOn = platform: pkg:
    (!(pkg ? meta.platforms) || any (platformMatch platform) pkg.meta.platforms)
    && all (e: !platformMatch platform e) (pkg.meta.badPlatforms or [ ]);
  licensesSpdx = lib.listToAttrs (map (l: { name = lib.toLower l.spdxId; value = l; }) (filter (l: l ? spdxId) (attrValues lib.licenses)));
  getLicenseFromSpdxId = id: getLicenseFromSpdxIdOr id (lib.warn "no license has the SPDX identifier ${id}" { shortName = id; });
  getLicenseFromSpdxIdOr = id: default: licensesSpdx.${lib.toLower id} or default;
  # The path of a package's main program.
  getExe = x:
    let
      name = x.meta.mainProgram or (
        if x ? name || x ? pname then lib.getName x
        else throw "lib.getExe: the value has no meta.mainProgram and no name");
    in
    getExe' x name;
  getExe' = x: y:
    if !(lib.isDerivation x) then throw "lib.meta.getExe': the first argument is ${lib.diagnostics.describe x}; a package is needed"
    else if builtins.match ".*/.*" y != null then throw "lib.meta.getExe': the second argument \"${y}\" is a path; a name is needed"
    else "${lib.getBin x}/bin/${y}";
  cpeFullVersionWithVendor = vendor: version: { inherit vendor version; };
}
