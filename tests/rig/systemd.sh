#!/bin/bash
# Starts systemd as the first process of a namespace of its own. Arguments: a folder with units, the checkout, Deno's
# program, and Deno's cache, which are found at /mnt/units, /mnt/product, /mnt/deno and /mnt/cache there. To be run by
#     unshare --pid --fork --mount --cgroup --ipc --uts --net --kill-child bash systemd.sh …
#
# Nothing outside may be changed by what systemd does when it starts, such as emptying /tmp: all disks are read-only
# here but for the cache, and what has to be written to lies in memory.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/units /mnt/product /mnt/cache
touch /mnt/deno
cp "$1"/* /mnt/units
mount --bind "$2" /mnt/product
mount --bind "$3" /mnt/deno
mount --bind "$4" /mnt/cache
while read -r _ target type _; do
  case $type:$target in
  proc:* | sysfs:* | cgroup*:* | dev*:* | mqueue:* | *:/dev/* | *:/mnt*) ;;
  *) mount -o remount,bind,ro "$target" ;;
  esac
done </proc/self/mounts
for folder in /tmp /var /run /etc/systemd/system; do mount -t tmpfs tmpfs "$folder"; done
if { true >/read-only; } 2>/dev/null || [ -n "$(ls -A /tmp)" ]; then
  echo "This would change files outside" >&2
  exit 1
fi
cp /mnt/units/* /etc/systemd/system
ln -s /dev/null /etc/systemd/system/systemd-tmpfiles-setup.service
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
export container=test
exec /usr/lib/systemd/systemd --system --unit=test.target --log-target=null
