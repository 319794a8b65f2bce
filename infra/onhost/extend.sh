#!/bin/sh
# extend MINUTES: let this deployment live that long from now. Run as root.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC1091 # written beside us
. "$root/setup.env"
minutes=${1:?extend MINUTES}
# In one step: on a full disk what it was told before goes on to hold.
echo "$(($(date +%s) + minutes * 60))" >"$root/expires-at.new"
mv "$root/expires-at.new" "$root/expires-at"
# A rented box ends itself with the plainest means there is; the watch timer is the second layer.
[ "$RENTED" != yes ] || shutdown -P "+$minutes" "corral: the time limit of $NAME"
