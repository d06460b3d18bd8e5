#!/bin/sh
# Installs the system packages that Chainsteer's labs and tests need, and only those that are missing.
# Debian 12 and Ubuntu 24.04. Run by anyone: calls sudo, once, only when something has to be installed.
# Safe to interrupt and to run again.
set -eu

# openvswitch-switch  the switches, and the real ones the tests run without root
# mininet             the labs' networks (Debian packages it for /usr/bin/python3 only)
# nftables, ngrep     the labs' firewall and their intrusion detector
# tcpdump             the labs' witnesses
# haproxy             the labs' layer 7; a program of theirs, not a service of this machine
PACKAGES="ca-certificates ethtool haproxy iproute2 iputils-ping mininet net-tools nftables ngrep openvswitch-switch
procps python3 python3-venv tcpdump util-linux"

missing=
for package in $PACKAGES; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "These packages are missing, and this is not Debian or Ubuntu:$missing" >&2
    echo "Install them (or what your distribution calls them) and run make again." >&2
    exit 1
fi

if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "These packages are missing:$missing" >&2
        echo "Run this as root:  sh scripts/install-system.sh" >&2
        exit 1
    fi
    echo "Installing with sudo:$missing" >&2
    exec sudo sh "$0"
fi

echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_MODE=l  # Ubuntu: list services to restart, never ask, never restart them

# A fresh machine may be busy with its own first update: wait for the locks instead of failing.
patiently() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 5 ] || return 1
        echo "Trying again in 10 s ($tries of 4): $*" >&2
        sleep 10
    done
}
apt="apt-get -y -q -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold"

# HAProxy comes as a service that would start at once, and again at every boot. Where it was not installed before,
# nobody here wants that: Debian asks policy-rc.d before it starts anything (invoke-rc.d(8)).
guard=/usr/sbin/policy-rc.d
ours='# Written by install-system.sh of Chainsteer while it runs.'
hold_haproxy() {
    if [ -e "$guard" ] && ! grep -qxF "$ours" "$guard"; then
        return 0  # somebody else decides here what starts
    fi
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\n%s\ncase "$*" in *haproxy*) exit 101 ;; esac\nexit 0\n' "$ours" > "$guard"
    chmod 755 "$guard"
}
rest_haproxy() {
    service haproxy stop >/dev/null 2>&1 || true
    update-rc.d haproxy disable >/dev/null 2>&1 || true
}

dpkg --configure -a  # finish what an interrupted run left half done
patiently $apt update >&2
case " $missing " in *" haproxy "*) hold_haproxy ;; esac
# shellcheck disable=SC2086  # both are lists of words
patiently $apt install --no-install-recommends $missing >&2
case " $missing " in *" haproxy "*) rest_haproxy ;; esac
