#!/bin/sh
# lock on|off NAME: load or remove the table that lets the server's own user send to loopback and its peers alone.
# systemd runs it as root before the server starts and after it ended.
set -eu
root=/opt/corral/$2
table=corral-$2
loaded=/run/$table.nft
if ! command -v nft >/dev/null; then
    echo "corral: nft is missing, so no egress lock is loaded: install nftables" >&2
    exit 0
fi
# The unit's own user wrote its number a moment ago.
uid=$(cat "/var/lib/private/corral-$2/uid" 2>/dev/null) || uid=
case $uid in '' | *[!0-9]* | 0) uid=none ;; esac

rules() { # the peers are known after a join
    echo "define server = $uid"
    cat "$root/egress.nft" || return
    [ ! -e "$root/peers" ] || while read -r address; do
        case $address in *:*) kind=ipv6_addr ;; *) kind=ipv4_addr ;; esac
        echo "add element inet $table $kind { $address }"
    done <"$root/peers"
}

if [ "$1" = on ]; then
    nft delete table inet "$table" 2>/dev/null || true # an earlier start's is none of this one
    # Not piped into nft, which would load what there is of a file that cannot be read.
    rules=$(rules) && printf '%s\n' "$rules" | nft -f - && nft --stateless list table inet "$table" >"$loaded" && exit
    echo "corral: the egress lock cannot be loaded, so the server is not started" >&2
    exit 1
fi
# What the server left running would be unlocked: it goes first. Not this script, which is root's.
for process in /proc/[0-9]*; do
    grep -qs "/corral-$2\.service" "$process/cgroup" || continue
    if [ "$(stat -c %u "$process" 2>/dev/null)" = "$uid" ]; then kill -KILL "${process#/proc/}" || true; fi
done
nft delete table inet "$table" 2>/dev/null || true
rm -f "$loaded"
