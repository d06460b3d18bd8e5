#!/bin/sh
# Installs what only `make bench` needs: OVN, whose load balancer is measured beside ours. Nothing else needs it.
# Debian 12 and Ubuntu 24.04. Run by anyone: calls sudo, once, only when something has to be installed. Where it cannot
# be installed this says so and ends well: the bench then tells those numbers as not measured.
# Safe to interrupt and to run again.
set -eu

# ovn-central  the databases and ovn-northd
# ovn-host     ovn-controller
PACKAGES="ovn-central ovn-host"

missing=
for package in $PACKAGES; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

without() {
    echo "$1: the numbers beside OVN are not measured." >&2
    exit 0
}

command -v apt-get >/dev/null 2>&1 || without "This is not Debian or Ubuntu, and OVN is missing"
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || without "Without root these cannot be installed:$missing"
    echo "Installing with sudo:$missing" >&2
    sudo sh "$0" || without "These could not be installed:$missing"
    exit 0
fi

echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_MODE=l  # Ubuntu: list services to restart, never ask, never restart them
apt="apt-get -y -q -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold"

# OVN comes as services that would start at once, and again at every boot; the bench runs daemons of its own, in its own
# directory. Debian asks policy-rc.d before it starts anything (invoke-rc.d(8)).
guard=/usr/sbin/policy-rc.d
ours='# Written by install-bench.sh of Chainsteer while it runs.'
if [ ! -e "$guard" ] || grep -qxF "$ours" "$guard"; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\n%s\ncase "$*" in *ovn*) exit 101 ;; esac\nexit 0\n' "$ours" > "$guard"
    chmod 755 "$guard"
fi

# shellcheck disable=SC2086  # both are lists of words
if ! { $apt update && $apt install --no-install-recommends $missing; } >&2; then
    without "OVN could not be installed"
fi
for unit in ovn-central ovn-host ovn-controller ovn-northd ovn-ovsdb-server-nb ovn-ovsdb-server-sb; do
    case " $missing " in *" ovn-central "*) ;; *) [ "$unit" = ovn-host ] || [ "$unit" = ovn-controller ] || continue ;; esac
    systemctl disable --now "$unit" >/dev/null 2>&1 || service "$unit" stop >/dev/null 2>&1 || true
done
