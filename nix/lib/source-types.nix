# Where a package's content comes from.
{ lib }:
let
  type = shortName: isSource: { inherit shortName isSource; };
in
{
  fromSource = type "fromSource" true;
  binaryNativeCode = type "binaryNativeCode" false;
  binaryBytecode = type "binaryBytecode" false;
  binaryFirmware = type "binaryFirmware" false;
}
