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
gateway=/opt/corral/$name.gateway
listener=/opt/corral/$name.listener # what ends TLS here for the gateway of another host
for each in listener gateway; do
    units="corral-$name.$each.service corral-$name.$each.lock.timer corral-$name.$each.lock.service $units"
done
node=/etc/systemd/system/corral-$name.service.d # what bin/join adds to the server's unit, and to the watch's
watch=/etc/systemd/system/corral-$name.watch.service.d

releases=/opt/corral/.releases/$name # those that were upgraded to

shared="$(readlink "$root/model") $(readlink "$root/draft")" # weights that other deployments may share

for each in gateway listener; do # whoever waits for its streams has done so before
    [ -e "/etc/systemd/system/corral-$name.$each.service" ] || continue
    systemctl --no-block stop "corral-$name.$each.service" >/dev/null 2>&1
    systemctl kill --signal=KILL --kill-who=main "corral-$name.$each.service" >/dev/null 2>&1
done
for unit in $units; do
    [ -e "/etc/systemd/system/$unit" ] || continue
    systemctl disable --now "$unit" >/dev/null 2>&1
    systemctl clean --what=all "$unit" >/dev/null 2>&1
    systemctl reset-failed "$unit" >/dev/null 2>&1
    rm -f "/etc/systemd/system/$unit"
done
PATH=$PATH:/usr/sbin:/sbin
nft delete table inet "corral-$name" 2>/dev/null
nft delete table inet "corral-$name.gateway" 2>/dev/null
nft delete table inet "corral-$name.listener" 2>/dev/null
rm -rf "/run/corral-$name.nft" "/run/corral-$name.at-work" "/run/corral-$name.gateway.at-work" "/run/corral-$name" "/run/corral-$name.watch"
rm -rf "/var/lib/private/corral-$name" "/var/lib/corral-$name"
rm -rf "/var/lib/private/corral-$name.gateway" "/var/lib/corral-$name.gateway"
rm -rf "/var/lib/private/corral-$name.listener" "/var/lib/corral-$name.listener"
[ ! -L "$root/model" ] || rm -rf --one-file-system "/opt/dlami/nvme/corral-$name"
rm -rf --one-file-system "$root" "$gateway" "$listener" "$node" "$watch" "$releases"
rm -f "/run/systemd/system.control/corral-$name."*
rmdir /opt/corral/.releases 2>/dev/null
rmdir /opt/corral 2>/dev/null
systemctl daemon-reload

for each in $shared; do
    case $each in
    /opt/corral/weights/*) [ ! -d "$each" ] || printf 'kept %s %s\n' "$(du -sk "$each" | cut -f 1)" "$each" ;;
    esac
done
audit=/var/log/corral/$name.gateway.jsonl
if [ -s "$audit" ]; then echo "audit $audit"; else rm -f "$audit"; fi
left() { printf 'left %s %s\n' "$1" "$2"; }
for path in "$root" "$gateway" "$listener" "$releases" "$node" "$watch" "/var/lib/private/corral-$name" "/var/lib/corral-$name" \
    "/var/lib/private/corral-$name.gateway" "/var/lib/corral-$name.gateway" \
    "/var/lib/private/corral-$name.listener" "/var/lib/corral-$name.listener"; do
    [ ! -e "$path" ] || left path "$path"
done
for unit in $units; do
    [ ! -e "/etc/systemd/system/$unit" ] || left unit "$unit"
done
for table in "corral-$name" "corral-$name.gateway" "corral-$name.listener"; do
    if nft list table inet "$table" >/dev/null 2>&1; then left table "inet $table"; fi
done
for process in /proc/[0-9]*; do
    if grep -qsE "/corral-$name(\.(gateway|listener))?\.service" "$process/cgroup"; then left process "${process#/proc/}"; fi
done
exit 0
