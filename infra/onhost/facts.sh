#!/bin/sh
# Say what this host is, one "key value" a line; reads only. The same script runs here and over SSH.
# LC_ALL=C: df, nvidia-smi and friends must not answer in the host's own language.
LC_ALL=C
export LC_ALL
# Where ip and nft are; Debian leaves it out for a user who is not root.
PATH=$PATH:/usr/sbin:/sbin
say() { printf '%s %s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }

say hostname "$(uname -n)"
say architecture "$(uname -m)"
say kernel "$(uname -r)"
# shellcheck disable=SC1091 # the host's own file
say os "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
say boot_id "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
say clock_s "$(date +%s)"
say cpu_count "$(getconf _NPROCESSORS_ONLN)"
awk -F': ' '/^flags/ { print "cpu_flags", $2; exit }' /proc/cpuinfo
say numa_nodes "$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' 2>/dev/null | wc -l)"
say memory_total_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
say memory_available_kib "$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)"
say shm_kib "$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $2 }')"
df -Pk 2>/dev/null | awk 'NR > 1 && $2 ~ /^[0-9]+$/ { print "disk_free_kib", $4, $6 }'
have ip && ip -o address show scope global | awk '{ split($4, address, "/"); print "address", $2, address[1] }'
awk 'FNR > 1 && $4 == "0A" { print "listening", $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null

if [ "$(id -u)" = 0 ]; then say privilege root
elif have sudo && sudo -n true 2>/dev/null; then say privilege sudo
else say privilege none; fi
[ -d /run/systemd/system ] && say systemd "$(systemctl --version | awk 'NR == 1 { print $2 }')"
# Asked once: each start of Python takes a while. landlock_create_ruleset is the system call 444 everywhere.
python='import sys
def can(what):
    try:
        return what()
    except Exception:
        return None
def landlock():
    import ctypes
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1)
def headers():
    import os, sysconfig
    return os.path.exists(sysconfig.get_path("include") + "/Python.h")
def environments():
    import ensurepip, venv
    return True
print("python %d.%d" % sys.version_info[:2])
if can(environments): print("tool python3-venv")
if can(headers): print("tool python3-dev")
print("landlock %d" % max(0, can(landlock) or 0))'
have python3 && python3 -IS -c "$python" 2>/dev/null
# vLLM's CPU build does not load without it.
for folder in /lib /lib64 /usr/lib /usr/lib64 /lib/*-linux-gnu /usr/lib/*-linux-gnu; do
    if [ -e "$folder/libnuma.so.1" ]; then say tool libnuma && break; fi
done
for tool in tar curl gcc g++ docker podman nvidia-ctk nft haproxy; do have "$tool" && say tool "$tool"; done

[ -e /dev/nvidiactl ] && say nvidia_device yes
[ -e /dev/nvidia-nvswitchctl ] && say nvswitch yes
sed -n 's/^NVRM version:.*Kernel Module[^0-9]*\([0-9][0-9.]*\).*/driver_version \1/p' \
    /proc/driver/nvidia/version 2>/dev/null
[ -d /run/systemd/system ] && say fabric_manager "$(systemctl is-active nvidia-fabricmanager 2>/dev/null)"
if have nvidia-smi; then
    say tool nvidia-smi
    fields=index,name,uuid,memory.total,memory.used,driver_version,compute_cap,mig.mode.current,ecc.mode.current,pci.bus_id
    gpus=$(nvidia-smi --query-gpu="$fields" --format=csv,noheader,nounits 2>&1) || say nvidia_smi_failed "$?"
    printf '%s\n' "$gpus" | sed 's/^/gpu /'
    nvidia-smi topo -m 2>/dev/null | sed 's/^/topology /'
fi
exit 0
