#!/bin/sh
# phase WORDS: say how far this deployment is, where `corral status` and the cloud's console output look. Run as root.
# What the disk does not take is said all the same; it fails then.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC1091 # written beside us
. "$root/setup.env"
# Once EC2 takes the box back nothing else is worth saying.
words=$(cat "$root/interrupted" 2>/dev/null) || words=
[ -n "$words" ] || words=$* # a full disk keeps an empty file
code=0
printf '%s\n' "$words" >"$root/phase" || code=1
echo "corral: $NAME: $words"
[ "$RENTED" != yes ] || echo "corral: $NAME: $words" >/dev/console || true
exit "$code"
