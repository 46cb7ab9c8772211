#!/bin/sh
# Run a command inside a host; hosts.py calls it.
# usage: enter.sh PID GROUPS USER DIRECTORY COMMAND...    (GROUPS: control groups, one a line; they contain no spaces)
set -eu
pid=$1 groups=$2 user=$3 directory=$4
shift 4
for group in $groups; do
    echo $$ >"$group/cgroup.procs"
done
# The command ends with this process, so that a test that kills what it started has ended it.
exec nsenter --target "$pid" --mount --uts --ipc --net --pid \
    setpriv --reuid "$user" --regid "$user" --init-groups --pdeathsig KILL \
    sh -c 'cd -- "$1" && shift && exec "$@"' sh "$directory" "$@"
