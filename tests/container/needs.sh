#!/usr/bin/env bash
# Sourced by ./try and ./test: what a machine must have, and how it gets what a distribution can give.
# Each says in one line what is missing and ends with 69. The first argument is who asks.

RUST_TARGET=$(uname -m)-unknown-linux-musl

needs_fail() { printf '%s: %s\n' "$1" "$2" >&2; exit 69; }

# What nobody can install for us.
needs_machine() { # needs_machine WHO
  local who=$1 group='' dir minor
  [ "$(id -u)" = 0 ] || needs_fail "$who" 'not root: containers, accounts and mounts need it'
  if ! grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release 2>/dev/null || ! command -v apt-get >/dev/null; then
    needs_fail "$who" 'not Debian or Ubuntu: the packages that are needed come from there'
  fi
  [ "$(uname -m)" = x86_64 ] || needs_fail "$who" "this machine is $(uname -m): the demo system is built for x86_64 only"
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null || needs_fail "$who" "no Rust that root can find: install it with rustup (https://rustup.rs)"
  minor=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
  [ "${minor:-0}" -ge 88 ] || needs_fail "$who" "$(cargo --version 2>&1 | head -n 1) is too old or does not work: Rust 1.88 or later is needed (rustup update)"
  has_target || command -v rustup >/dev/null ||
    needs_fail "$who" "this Rust has no target $RUST_TARGET and there is no rustup to add it: install Rust with rustup (https://rustup.rs)"
  for dir in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [ "$(stat -fc %T "$dir" 2>/dev/null)" != cgroup2fs ] || group=$dir
  done
  [ -w "$group/cgroup.procs" ] || needs_fail "$who" 'no cgroup v2 that we may write to below /sys/fs/cgroup (inside a container? give it --privileged --cgroupns=host)'
  unshare --mount --pid --net --uts --ipc --cgroup --fork true 2>/dev/null ||
    needs_fail "$who" 'this machine does not let us make namespaces (inside an unprivileged container?)'
}

# The cache's file system must be able to carry the hosts' roots; mount itself may have been missing.
needs_overlay() { # needs_overlay WHO CACHE_DIR
  local who=$1 cache=$2 dir
  mkdir -p "$cache" || needs_fail "$who" "cannot make $cache"
  dir=$cache/overlay.tmp.$$
  mkdir -p "$dir/lower" "$dir/upper" "$dir/work" "$dir/root"
  # shellcheck disable=SC2016
  unshare --mount sh -c 'mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/root"' - "$dir" 2>/dev/null ||
    { rm -rf "$dir"; needs_fail "$who" "no overlay mounts on the file system of $cache: set NIXGATE_CACHE to a directory on ext4, xfs or btrfs"; }
  rm -rf "$dir"
}

# The names that are not installed, one per line.
needs_packages() { # needs_packages PACKAGE…
  local package
  for package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

needs_install() { # needs_install WHO PACKAGE…
  local who=$1
  shift
  [ $# != 0 ] || return 0
  # What is halfway unpacked is worse than what we wait for, so only the download can be interrupted.
  apt-get update -qq </dev/null || needs_fail "$who" 'apt-get update failed'
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --download-only "$@" </dev/null >/dev/null ||
    needs_fail "$who" "apt-get could not get $*"
  trap '' HUP INT TERM
  (
    exec {lock}>/run/lock/nixgate-needs
    flock "$lock"
    # Nothing that is installed here may start a service of this machine's.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ] || grep -q '^# by nixgate$' $policy; then
      trap 'rm -f $policy' EXIT
      printf '#!/bin/sh\n# by nixgate\nexit 101\n' >$policy && chmod 755 $policy
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null {lock}>&-
  ) || needs_fail "$who" "apt-get could not install $*"
  trap - HUP INT TERM
}

has_target() { [ -d "$(rustc --print target-libdir --target "$RUST_TARGET" 2>/dev/null)" ]; }

needs_target() { # needs_target WHO
  has_target || rustup --quiet target add "$RUST_TARGET" </dev/null ||
    needs_fail "$1" "rustup could not add the target $RUST_TARGET"
}
