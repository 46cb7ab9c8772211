#!/bin/sh
# PID 1 of one test host; hosts.py starts it in new network, UTS, IPC, mount and PID namespaces.
# usage: host-init.sh BED OWN NAME ADDRESS FOLDER...
#   BED: what all hosts of the testbed share; OWN: this host's; FOLDER: seen at the same path as on the machine
# It says "pid N" on stdout (N as the machine counts), waits for a line on stdin (eth0 is there), says "ready".
set -eu
bed=$1 own=$2 name=$3 address=$4
shift 4
read -r pid _ </proc/self/stat # the machine's /proc is still mounted here
echo "pid $pid"
echo "$name" >/proc/sys/kernel/hostname
mount --make-rprivate /

# The root: the machine's own, copied on write to a disk that outlives the host's crash.
root=$own/root disk=$own/disk
mkdir -p "$root" "$disk/up" "$disk/work" "$disk/home" "$disk/superuser" "$disk/vartmp"
mount -t overlay -o "lowerdir=/,upperdir=$disk/up,workdir=$disk/work" "$name" "$root"
mount --rbind /dev "$root/dev"
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 "$name" "$root/dev/pts"
mkdir -p "$root/dev/shm"
mount -t tmpfs -o mode=1777 "$name" "$root/dev/shm"
mount -t proc "$name" "$root/proc"
mount -t sysfs "$name" "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
for folder in tmp usr/tmp; do
    mkdir -p "$root/$folder"
    mount -t tmpfs -o size=256m,mode=1777 "$name" "$root/$folder"
done
mount -t tmpfs -o size=64m,mode=755 "$name" "$root/run"
chmod 1777 "$disk/vartmp"
chmod 711 "$disk/superuser"
mkdir -p "$root/var/tmp" "$root/home" "$root/root"
mount --bind "$disk/vartmp" "$root/var/tmp"
mount --bind "$disk/home" "$root/home"
mount --bind "$disk/superuser" "$root/root"

if [ ! -e "$disk/made" ]; then # what an administrator installs once
    cp -a "$bed/homes/." "$root/home/"
    cp -a "$bed/superuser/." "$root/root/"
    rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/etc/shadow"
    cp -a "$bed/etc/." "$own/etc/." "$root/etc/"
    : >"$disk/made"
fi

for folder in "$@"; do
    mkdir -p "$root$folder"
    mount --rbind "$folder" "$root$folder"
done
mkdir -p "$root/run/sshd" "$root/run/testbed" "$root$bed/agent" "$root$bed/shared"
mount --bind "$own/run" "$root/run/testbed"
mount --bind "$bed/agent" "$root$bed/agent"
mount --bind "$bed/shared" "$root$bed/shared"
ln -s testbed/load "$root/run/coordinator-load"
mount --bind "$own/run/boot_id" "$root/proc/sys/kernel/random/boot_id" # each boot has its own, as on real machines

mkdir -p "$root/mnt/.machine"
cd "$root"
pivot_root . mnt/.machine
cd /
umount -l /mnt/.machine

read -r _ # eth0 has been moved in here
ip -batch - <<EOF
link set lo up
addr add $address/16 dev eth0
link set eth0 up
EOF
exec </dev/null
"$(command -v sshd || echo /usr/sbin/sshd)" -E /run/testbed/sshd.log
until [ -s /run/sshd.pid ]; do sleep 0.005; done # written when it listens
echo ready
exec >/dev/null
trap 'exit 0' TERM
# Sits and reaps. A wait that names no process would end when there is no child left.
while :; do
    sleep infinity &
    wait $! || true
done
