# switch-to-configuration switch|boot|test|dry-activate
# The toplevel is the folder above the one that this script was called in.
set -u
action=${1:-}
top=$(cd "$(dirname "$0")/.." && pwd -P)
case "$action" in
  switch | boot | test | dry-activate | check) ;;
  *)
    echo "usage: $0 switch|boot|test|dry-activate" >&2
    exit 1
    ;;
esac
[ "$action" = check ] && exit 0
if [ "$action" = switch ] || [ "$action" = boot ]; then
  mkdir -p /nix/var/nix/profiles 2>/dev/null && ln -sfn "$top" /nix/var/nix/profiles/system 2>/dev/null
  [ "$action" = boot ] && exit 0
fi

old=/etc/systemd/system
new=$top/etc/systemd/system
say() { echo "$@" >&2; }
# The text of a unit, whole: the file and its drop-ins.
content() {
  [ -e "$1/$2" ] && cat "$1/$2"
  for f in "$1/$2.d"/*.conf; do [ -e "$f" ] && cat "$f"; done
}
flag() { content "$1" "$2" | grep -qix "$3=\(true\|yes\|1\|on\)"; }

stop=() start=() restart=() reload=()
while read -r unit; do
  [ -n "$unit" ] || continue
  base=$unit
  if [ ! -e "$new/$base" ] && [[ $unit == *@*.* ]]; then base=${unit%%@*}@.${unit##*.}; fi
  oldbase=$base
  [ -e "$old/$oldbase" ] || continue
  case "$unit" in *.target | *.slice) [ -e "$new/$base" ] && continue ;; esac
  if [ ! -e "$new/$base" ] || [ "$(readlink -f "$new/$base")" = /dev/null ]; then
    flag "$old" "$oldbase" X-StopOnRemoval=false || stop+=("$unit")
  elif [ "$(content "$old" "$oldbase")" != "$(content "$new" "$base")" ]; then
    if flag "$new" "$base" X-ReloadIfChanged; then reload+=("$unit")
    elif content "$new" "$base" | grep -qx 'X-RestartIfChanged=false' || content "$new" "$base" | grep -qx 'RefuseManualStop=\(true\|yes\)'; then :
    elif [ "$(content "$old" "$oldbase" | grep -v '^X-Reload-Triggers=')" = "$(content "$new" "$base" | grep -v '^X-Reload-Triggers=')" ]; then reload+=("$unit")
    elif content "$new" "$base" | grep -qx 'X-StopIfChanged=false'; then restart+=("$unit")
    else stop+=("$unit"); start+=("$unit")
    fi
  fi
done < <(systemctl list-units --plain --no-legend --full --state=active,activating,failed,reloading | sed 's/^[^[:alnum:]-]*//; s/ .*//')
# New units that the targets in use want, and targets in use: what they want and does not run is started with them.
targets=()
for target in "$new"/*.target.wants; do
  [ -d "$target" ] || continue
  name=$(basename "$target" .wants)
  systemctl --quiet is-active "$name" || continue
  content "$new" "$name" | grep -qx 'RefuseManualStart=\(true\|yes\)' || targets+=("$name")
  for unit in "$target"/*; do
    unit=$(basename "$unit")
    [ -e "$old/$name.wants/$unit" ] && ! [[ " ${stop[*]-} " == *" $unit "* ]] && continue
    [[ " ${start[*]-} " == *" $unit "* ]] || start+=("$unit")
  done
done
failed() { systemctl list-units --plain --no-legend --full --state=failed | sed 's/^[^[:alnum:]-]*//; s/ .*//'; }
before=" $(failed | tr '\n' ' ')"

would=
[ "$action" = dry-activate ] && would='would '
report() { local word=$1; shift; [ $# -gt 0 ] && say "${would}$word the following units: $(printf '%s, ' "$@" | sed 's/, $//')"; return 0; }
status=0
report stop ${stop[@]+"${stop[@]}"}
[ "$action" = dry-activate ] || [ ${#stop[@]} = 0 ] || systemctl stop -- "${stop[@]}" || status=4
say "${would}activate the configuration..."
if [ "$action" != dry-activate ]; then
  NIXOS_ACTION=$action "$top/activate" "$top" || status=2
  systemctl daemon-reload || status=3
fi
report reload ${reload[@]+"${reload[@]}"}
[ "$action" = dry-activate ] || [ ${#reload[@]} = 0 ] || systemctl reload -- "${reload[@]}" || status=4
report restart ${restart[@]+"${restart[@]}"}
[ "$action" = dry-activate ] || [ ${#restart[@]} = 0 ] || systemctl restart -- "${restart[@]}" || status=4
report start ${start[@]+"${start[@]}"}
[ "$action" = dry-activate ] || [ ${#start[@]} = 0 ] || systemctl start -- "${start[@]}" || status=4
[ "$action" = dry-activate ] || [ ${#targets[@]} = 0 ] || systemctl start -- "${targets[@]}" || status=4
now=()
[ "$action" = dry-activate ] || for unit in $(failed); do [[ $before == *" $unit "* ]] || now+=("$unit"); done
[ ${#now[@]} = 0 ] || { say "warning: the following units failed: $(printf '%s, ' "${now[@]}" | sed 's/, $//')"; status=4; }
exit $status
