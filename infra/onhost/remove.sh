#!/bin/sh
# remove NAME: take away what corral put on this host under that name, and only that; then say what is left,
# one "left TYPE ITEM" a line. Fed to the shell by SSH, so that it can remove its own folder. Run as root.
set -u
name=${1:?remove NAME}
LC_ALL=C
export LC_ALL
root=/opt/corral/$name
units="corral-$name.watch.timer corral-$name.watch.service corral-$name.service"
units="$units corral-$name.lock.timer corral-$name.lock.service corral-$name.judge.service"
node=/etc/systemd/system/corral-$name.service.d # what bin/join adds to the server's unit, and to the watch's
watch=/etc/systemd/system/corral-$name.watch.service.d

releases=/opt/corral/.releases/$name # those that were upgraded to

shared="$(readlink "$root/model") $(readlink "$root/draft")" # weights that other deployments may share

for unit in $units; do
    [ -e "/etc/systemd/system/$unit" ] || continue
    systemctl disable --now "$unit" >/dev/null 2>&1
    systemctl clean --what=all "$unit" >/dev/null 2>&1
    systemctl reset-failed "$unit" >/dev/null 2>&1
    rm -f "/etc/systemd/system/$unit"
done
PATH=$PATH:/usr/sbin:/sbin
nft delete table inet "corral-$name" 2>/dev/null
rm -rf "/run/corral-$name.nft" "/run/corral-$name" "/run/corral-$name.watch"
rm -rf "/var/lib/private/corral-$name" "/var/lib/corral-$name"
[ ! -L "$root/model" ] || rm -rf --one-file-system "/opt/dlami/nvme/corral-$name"
rm -rf --one-file-system "$root" "$node" "$watch" "$releases"
rm -f "/run/systemd/system.control/corral-$name."*
rmdir /opt/corral/.releases 2>/dev/null
rmdir /opt/corral 2>/dev/null
systemctl daemon-reload

for each in $shared; do
    case $each in
    /opt/corral/weights/*) [ ! -d "$each" ] || printf 'kept %s %s\n' "$(du -sk "$each" | cut -f 1)" "$each" ;;
    esac
done
left() { printf 'left %s %s\n' "$1" "$2"; }
for path in "$root" "$releases" "$node" "$watch" "/var/lib/private/corral-$name" "/var/lib/corral-$name"; do
    [ ! -e "$path" ] || left path "$path"
done
for unit in $units; do
    [ ! -e "/etc/systemd/system/$unit" ] || left unit "$unit"
done
if nft list table inet "corral-$name" >/dev/null 2>&1; then left table "inet corral-$name"; fi
for process in /proc/[0-9]*; do
    if grep -qs "/corral-$name\.service" "$process/cgroup"; then left process "${process#/proc/}"; fi
done
exit 0
