#!/bin/sh
# Run a command on this machine for which the hosts have names: files of the testbed lie over /etc/hosts and OpenSSH's
# in a mount namespace of its own, and nobody else sees them.
# usage: unshare --mount here.sh BED COMMAND...
set -eu
bed=$1
shift
mount --bind "$bed/machine/hosts" /etc/hosts
[ ! -e /etc/ssh/ssh_config ] || mount --bind "$bed/machine/ssh_config" /etc/ssh/ssh_config
exec "$@"
