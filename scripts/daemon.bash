# What scripts/kafka, scripts/postgres and scripts/bottlecrm have in common. Sourced, never run.
# shellcheck shell=bash
#
# Everything that a service writes lies under $work: deleting that folder (with the services stopped) resets them.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034  # for the scripts that source this file
work=${BRIDGE_TEST_WORK:-$root/.work}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# as_root COMMAND…: run it with the rights to install packages, or say that a person has to.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    die "needs root for: $*"
  fi
}

# install_debian PACKAGE…: from the machine's own package source; the lists are fetched only if it fails without.
install_debian() {
  command -v apt-get >/dev/null || die "install by hand (this is no Debian): $*"
  say "installing $*"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -q -y -o DPkg::Lock::Timeout=300
    --no-install-recommends "$@")
  in_turn as_root "${install[@]}" && return
  in_turn as_root apt-get update -q
  in_turn as_root "${install[@]}"
}

# in_turn COMMAND…: one apt-get after the other, since two scripts may run side by side and fetching the lists waits for nobody.
in_turn() {
  mkdir -p "$work"
  (
    flock 9
    "$@" </dev/null >&2 9>&- # a service that it starts must not hold the lock
  ) 9>"$work/apt.lock"
}

# maven ARGUMENTS…: what is fetched from Maven's registry; a file that is not what its checksum says is refused.
maven() {
  command -v java >/dev/null || install_debian default-jre-headless
  command -v mvn >/dev/null || install_debian maven
  mvn -q -B -C -Dstyle.color=never "$@" </dev/null >&2
}

# runs PIDFILE WORD: is the process of the pid file there, and is it ours (WORD stands in its command line)?
# A pid alone may belong to a stranger after a reboot.
runs() {
  local pid
  [[ -r $1 ]] && read -r pid <"$1" && [[ $pid =~ ^[0-9]+$ ]] || return 1
  if [[ -d /proc/self ]]; then # a small image has no ps
    [[ -r /proc/$pid/cmdline && $(tr "\0" " " <"/proc/$pid/cmdline" 2>/dev/null) == *"$2"* ]]
  else
    [[ $(ps -o args= -p "$pid" 2>/dev/null) == *"$2"* ]]
  fi
}

# taken PORT: does anything listen there?
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_until SECONDS COMMAND…: poll until the command succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

gone() { ! runs "$@"; }

# dispatch VERB: start, stop and status are functions of the sourcing script.
dispatch() {
  case ${1-} in
    start | stop | status) "$1" ;;
    *)
      printf 'usage: %s {start|stop|status}\n' "$0" >&2
      exit 2
      ;;
  esac
}
