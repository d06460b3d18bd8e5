#!/bin/sh
# A user's own Mininet script with our controller: an Open vSwitch, chain-manager, then mn. Run inside namespaces
# of its own (see test_own_mininet.py), so that nothing of the machine's can be met, whatever mn does.
# usage: own_mininet.sh PYTHON DIRECTORY MN-TEST [chain-manager options]
set -eu
python=$1 dir=$2 what=$3
shift 3
ip link set lo up
export OVS_RUNDIR="$dir" OVS_DBDIR="$dir" OVS_LOGDIR="$dir" OVS_SYSCONFDIR="$dir"
ovsdb-tool create "$dir/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$dir/conf.db" --remote="punix:$dir/db.sock" --pidfile --detach --log-file
ovs-vsctl --no-wait init
ovs-vswitchd "unix:$dir/db.sock" --pidfile --detach --log-file --disable-system 2>/dev/null
"$python" -m controller_app.cli.manager --state "$dir/state" "$@" 2>"$dir/manager.log" &
manager=$!
until grep -q '^listening on' "$dir/manager.log"; do
    kill -0 $manager || { cat "$dir/manager.log" >&2; exit 1; }
    sleep 0.05
done
mn --custom "$dir/lab.py" --topo mytopo --controller remote --switch ovs,datapath=user --test "$what" 2>&1
kill $manager
wait $manager
cat "$dir/manager.log"
