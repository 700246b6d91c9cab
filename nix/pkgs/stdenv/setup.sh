# The builder of mkDerivation: runs the phases of a derivation's build. Sourced by bash, arguments are variables.
#
# Phases can be replaced by variables (`buildPhase = "..."`), surrounded by hooks (preBuild, postBuild), left out (dontBuild).
set -euo pipefail
shopt -s nullglob inherit_errexit

if [ -n "${NIX_ATTRS_SH_FILE:-}" ]; then
  # shellcheck disable=SC1090
  . "$NIX_ATTRS_SH_FILE"
  out="${outputs[out]}"
  for name in "${!outputs[@]}"; do
    declare -gx "$name=${outputs[$name]}"
  done
fi

# The elements of a list argument: an array with structured attributes, else words.
list() {
  local name
  for name in "$@"; do
    if [[ "$(declare -p "$name" 2> /dev/null)" =~ ^declare\ -[A-Za-z]*a ]]; then
      local -n array=$name
      printf '%s\n' "${array[@]}"
    elif [ -n "${!name:-}" ]; then
      # shellcheck disable=SC2086
      printf '%s\n' ${!name}
    fi
  done
}

export HOME=/homeless-shelter SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-315532800}" LC_ALL=C.UTF-8
: "${NIX_BUILD_TOP:=$PWD}" "${NIX_BUILD_CORES:=1}"

PATH=/usr/bin:/bin
for package in $(list nativeBuildInputs buildInputs propagatedBuildInputs); do
  [ -d "$package/bin" ] && PATH="$package/bin:$PATH"
  [ -d "$package/lib/pkgconfig" ] && PKG_CONFIG_PATH="$package/lib/pkgconfig:${PKG_CONFIG_PATH:-}"
done
export PATH PKG_CONFIG_PATH="${PKG_CONFIG_PATH:-}"

runHook() {
  local hook=$1
  if declare -F "$hook" > /dev/null; then "$hook"; fi
  if [ -n "${!hook:-}" ]; then eval "${!hook}"; fi
}

substitute() {
  local input=$1 output=$2 content
  shift 2
  content=$(cat "$input"; printf x)
  content=${content%x}
  while [ $# -gt 0 ]; do
    case $1 in
      --replace | --replace-fail | --replace-warn | --replace-quiet)
        if [[ $content != *"$2"* ]]; then
          case $1 in
            --replace-fail) echo "substitute: '$2' is not in $input" >&2; return 1 ;;
            --replace-quiet) ;;
            *) echo "substitute: '$2' is not in $input" >&2 ;;
          esac
        fi
        content=${content//"$2"/"$3"}
        shift 3 ;;
      --subst-var) content=${content//"@$2@"/"${!2}"}; shift 2 ;;
      --subst-var-by) content=${content//"@$2@"/"$3"}; shift 3 ;;
      *) echo "substitute: unknown argument $1" >&2; return 1 ;;
    esac
  done
  # a copy of a file of the store is read-only
  [ ! -e "$output" ] || chmod u+w "$output"
  printf '%s' "$content" > "$output"
}

substituteInPlace() {
  local files=()
  while [ $# -gt 0 ] && [[ $1 != --* ]]; do files+=("$1"); shift; done
  local file
  for file in "${files[@]}"; do substitute "$file" "$file" "$@"; done
}

installBin() { install -Dm755 -t "$out/bin" "$@"; }

unpackPhase() {
  local source before=(*) after
  for source in $(if [ -n "${srcs:-}" ]; then list srcs; else list src; fi); do
    case $source in
      *.tar | *.tar.* | *.tgz | *.txz | *.tbz2) tar xf "$source" ;;
      *.zip) unzip -qq "$source" ;;
      *)
        if [ -d "$source" ]; then
          local name
          name=$(basename "$source")
          cp -r --no-preserve=mode,ownership,timestamps "$source" "${name#*-}"
        else
          local name
          name=$(basename "$source")
          cp "$source" "${name#*-}"
        fi ;;
    esac
  done
  if [ -z "${sourceRoot:-}" ]; then
    after=(*/)
    for name in "${after[@]}"; do
      [[ " ${before[*]:-} " == *" ${name%/} "* ]] || sourceRoot=${name%/}
    done
  fi
  chmod -R u+w .
  if [ -n "${sourceRoot:-}" ]; then cd "$sourceRoot"; fi
}

patchPhase() {
  local patch
  for patch in $(list patches); do
    case $patch in
      *.gz) gzip -dc "$patch" | patch -p1 ;;
      *.xz) xz -dc "$patch" | patch -p1 ;;
      *) patch -p1 < "$patch" ;;
    esac
  done
}

configurePhase() {
  if [ -x ./configure ]; then
    # shellcheck disable=SC2086
    ./configure --prefix="$out" $(list configureFlags)
  elif [ -f CMakeLists.txt ] && command -v cmake > /dev/null; then
    # shellcheck disable=SC2086
    cmake -B build -DCMAKE_INSTALL_PREFIX="$out" -DCMAKE_BUILD_TYPE=Release $(list cmakeFlags)
    cd build
  fi
}

buildPhase() {
  if [ -f Makefile ] || [ -f makefile ] || [ -f GNUmakefile ]; then
    # shellcheck disable=SC2086
    make -j"$NIX_BUILD_CORES" $(list makeFlags) $(list buildFlags)
  fi
}

checkPhase() {
  # shellcheck disable=SC2086
  make $(list makeFlags) ${checkTarget:-check}
}

installPhase() {
  if [ -f Makefile ] || [ -f makefile ] || [ -f GNUmakefile ]; then
    # shellcheck disable=SC2086
    make $(list makeFlags) PREFIX="$out" prefix="$out" $(list installFlags) ${installTargets:-install}
  fi
}

# Scripts keep working in a guest without /usr/bin/env's search: interpreters become paths of the build's packages.
patchShebangs() {
  local file line name path
  while IFS= read -r -d '' file; do
    IFS= read -r line < "$file" || continue
    [[ $line == "#!"* ]] || continue
    name=${line#\#!}
    name=${name# }
    case $name in
      "/usr/bin/env "*) name=${name#/usr/bin/env }; path=$(command -v "${name%% *}" || true) ;;
      /bin/* | /usr/bin/*) continue ;;
      *) continue ;;
    esac
    [ -n "$path" ] && sed -i "1s|.*|#!$path${name#"${name%% *}"}|" "$file"
  done < <(find "$@" -type f -perm -0100 -print0)
}

fixupPhase() {
  if [ -z "${dontPatchShebangs:-}" ] && [ -d "$out/bin" ]; then patchShebangs "$out/bin"; fi
  if [ -n "${setupHook:-}" ]; then
    mkdir -p "$out/nix-support"
    cp "$setupHook" "$out/nix-support/setup-hook"
  fi
}

buildCommandPhase() {
  if [ -n "${buildCommandPath:-}" ]; then . "$buildCommandPath"; else eval "${buildCommand:-}"; fi
}

runPhase() {
  local phase=$1 base=${1%Phase} skip
  skip="dont${base^}"
  case $phase in
    checkPhase) [ -n "${doCheck:-}" ] || return 0 ;;
    installCheckPhase) [ -n "${doInstallCheck:-}" ] || return 0 ;;
  esac
  [ -z "${!skip:-}" ] || return 0
  if [ "$phase" != buildCommandPhase ]; then runHook "pre${base^}"; fi
  if [ -n "${!phase:-}" ]; then eval "${!phase}"; elif declare -F "$phase" > /dev/null; then "$phase"; fi
  if [ "$phase" != buildCommandPhase ]; then runHook "post${base^}"; fi
}

genericBuild() {
  local phase
  if [ -n "${passAsFile:-}" ]; then
    for phase in $passAsFile; do
      local variable="${phase}Path"
      [ "$phase" = buildCommand ] || declare -g "$phase=$(cat "${!variable}")"
    done
  fi
  if [ -n "${buildCommand:-}${buildCommandPath:-}" ]; then
    phases=buildCommandPhase
  fi
  if [ -z "${phases:-}" ]; then
    phases="unpackPhase patchPhase configurePhase buildPhase checkPhase installPhase fixupPhase installCheckPhase"
  fi
  for phase in $(list phases); do
    # a hook such as preBuild may be a function or a variable
    runPhase "$phase"
  done
}

runHook preHook
for package in $(list nativeBuildInputs buildInputs); do
  if [ -f "$package/nix-support/setup-hook" ]; then . "$package/nix-support/setup-hook"; fi
done

# makeWrapper PROGRAM FILE [change ...]: a script FILE that runs PROGRAM with a changed environment or arguments.
makeWrapper() {
  local program=$1 file=$2 before= after= argv0=
  shift 2
  mkdir -p "$(dirname "$file")"
  {
    echo "#!$BASH -e"
    while [ $# -gt 0 ]; do
      case $1 in
        --set) printf 'export %s=%q\n' "$2" "$3"; shift 3 ;;
        --set-default) printf 'export %s=${%s-%q}\n' "$2" "$2" "$3"; shift 3 ;;
        --unset) printf 'unset %s\n' "$2"; shift 2 ;;
        --prefix) printf 'export %s=%q${%s:+%q$%s}\n' "$2" "$4" "$2" "$3" "$2"; shift 4 ;;
        --suffix) printf 'export %s=${%s:+$%s%q}%q\n' "$2" "$2" "$2" "$3" "$4"; shift 4 ;;
        --run) printf '%s\n' "$2"; shift 2 ;;
        --chdir) printf 'cd %q\n' "$2"; shift 2 ;;
        --add-flags | --add-flag) before+=" $2"; shift 2 ;;
        --append-flags | --append-flag) after+=" $2"; shift 2 ;;
        --argv0) argv0=$2; shift 2 ;;
        --inherit-argv0) argv0='$0'; shift ;;
        --resolve-argv0) shift ;;
        *) echo "makeWrapper: unknown argument $1" >&2; return 1 ;;
      esac
    done
    printf 'exec%s %q%s "$@"%s\n' "${argv0:+ -a \"$argv0\"}" "$program" "$before" "$after"
  } > "$file.wrapper-$$" || return 1
  mv "$file.wrapper-$$" "$file"
  chmod 755 "$file"
}
makeBinaryWrapper() { makeWrapper "$@"; }
makeShellWrapper() { makeWrapper "$@"; }
# wrapProgram FILE [change ...]: the same in place; the program moves to .NAME-wrapped.
wrapProgram() {
  local hidden
  hidden=$(dirname "$1")/.$(basename "$1")-wrapped
  mv "$1" "$hidden"
  makeWrapper "$hidden" "$@"
}
