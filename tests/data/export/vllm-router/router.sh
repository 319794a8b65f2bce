#!/bin/sh
# One address for replicas of one model. Requests keep their Authorization header on the way to a server.
set -eu
exec vllm-router \
    --host 127.0.0.1 --port 8080 \
    --policy cache_aware \
    --health-check-interval-secs 2 \
    --worker-startup-timeout-secs 1086 \
    --worker-urls http://127.0.0.1:8000
