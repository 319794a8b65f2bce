#!/bin/sh
# phase WORDS: say how far this deployment is, where `corral status` and the cloud's console output look. Run as root.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck disable=SC1091 # written beside us
. "$root/setup.env"
# Once EC2 takes the box back nothing else is worth saying.
words=$(cat "$root/interrupted" 2>/dev/null) || words=$*
printf '%s\n' "$words" >"$root/phase"
echo "corral: $NAME: $words"
[ "$RENTED" != yes ] || echo "corral: $NAME: $words" >/dev/console || true
