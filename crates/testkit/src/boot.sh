# First process of a world, in fresh mount, pid, uts, ipc (and mostly network) namespaces of the host.
# $1 kind of init  $2 network  $3 mount point  $4 overlay options  $5 host name  $6 boot id file  $7 control group or ''
# then triples: ro|rw SOURCE TARGET
set -eu
kind=$1 network=$2 merged=$3 options=$4 hostname=$5 boot_id=$6 group=$7
shift 7

mount -t overlay overlay -o "$options" "$merged"
cd "$merged"
hostname "$hostname"
mount -t proc -o nosuid,nodev,noexec proc proc
# What is not namespaced belongs to the host and may only be read.
for file in sys sysrq-trigger irq bus fs; do
    [ -e "proc/$file" ] || continue
    mount --bind "proc/$file" "proc/$file"
    mount -o remount,bind,ro "proc/$file"
done
if [ "$network" = own ]; then
    ip link set lo up
    mount --bind proc/sys/net proc/sys/net
    mount -o remount,bind,rw proc/sys/net
fi
mount --bind "$boot_id" proc/sys/kernel/random/boot_id
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,nosuid,noexec,mode=620,gid=5,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mkdir -m 1777 run/lock

while [ $# -ge 3 ]; do
    target=$merged/${3#/}
    if [ -d "$2" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}"; [ -e "$target" ] || : > "$target"; fi
    mount --bind "$2" "$target"
    [ "$1" = rw ] || mount -o remount,bind,ro "$target"
    shift 3
done

# No way to the host's clock, kernel modules or raw devices.
caps=-sys_module,-sys_time,-sys_rawio,-wake_alarm,-mac_admin
case $kind in
reaper)
    pivot_root . mnt
    # Ignoring SIGCHLD across exec makes the kernel reap orphans; reading to the end of the input makes the world die
    # with the test that holds the other end.
    exec chroot . /usr/bin/setpriv --bounding-set=$caps /bin/sh -c \
        'umount -l /mnt; echo ready; exec env --ignore-signal=CHLD cat >/dev/null 2>&1'
    ;;
systemd)
    mkdir "$group"
    echo 0 > "$group/cgroup.procs"
    # Only a control group namespace made now has that group as its root.
    exec unshare --cgroup sh -euc '
        mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
        pivot_root . mnt
        exec env -i container=stanch PATH=/usr/sbin:/usr/bin chroot . /usr/bin/setpriv --bounding-set=$0 /bin/sh -c \
            "umount -l /mnt; echo ready; exec /lib/systemd/systemd </dev/null >/dev/null 2>&1"' "$caps"
    ;;
esac
