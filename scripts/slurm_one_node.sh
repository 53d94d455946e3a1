#!/usr/bin/env bash
# Start a Slurm cluster on this machine, as its only node, to try sweeps and their preemption.
#
#   scripts/slurm_one_node.sh start [--cpus N] [--gpus "FILE FILE ..."]
#   scripts/slurm_one_node.sh status
#   scripts/slurm_one_node.sh stop
#
# The script needs root and the Debian or Ubuntu packages slurm-wlm and munge (apt-get install slurm-wlm munge). It does
# not need systemd, so it also works in a container. The cluster has two partitions: "main" is the default, and a job of
# "urgent" preempts a job of "main", which goes back into the queue. It is safe to repeat start and stop.
#
# The cluster has no accounting database, so `sacct` shows nothing. `squeue` works.
set -euo pipefail

readonly CONF_DIR=/etc/slurm
readonly STATE_DIR=/var/lib/slurm-one-node
readonly LOG_DIR=/var/log/slurm-one-node
readonly RUN_DIR=/run/slurm-one-node
readonly MARK="# Written by slurm_one_node.sh"
readonly GRACE_SECONDS=60
readonly WAIT_SECONDS=60

fail() {
    echo "slurm_one_node.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '4,6s/^# *//p' "$0"
}

need() {
    local missing=() name
    for name in slurmctld slurmd sinfo munged munge unmunge; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$name" > /dev/null || missing+=("$name")
    done
    ((${#missing[@]} == 0)) || fail "not installed: ${missing[*]}; apt-get install slurm-wlm munge"
    ((EUID == 0)) || fail "needs root: slurmd starts jobs for other users, and munged runs as the user munge"
}

is_ours() {
    [[ ! -e $CONF_DIR/slurm.conf ]] || [[ $(head -n 1 "$CONF_DIR/slurm.conf") == "$MARK" ]]
}

# is_running NAME: succeed if the daemon that this script started is running. Check its name too, because the kernel
# reuses process ids.
is_running() {
    local pid
    pid=$(cat "$RUN_DIR/$1.pid" 2> /dev/null) && [[ $(cat "/proc/$pid/comm" 2> /dev/null) == "$1" ]]
}

munge_works() {
    munge -n 2> /dev/null | unmunge > /dev/null 2>&1
}

# until_true COMMAND ...: wait until the command succeeds; fail after WAIT_SECONDS.
until_true() {
    local i
    for ((i = 0; i < WAIT_SECONDS * 5; i++)); do
        "$@" && return 0
        sleep 0.2
    done
    return 1
}

node_is_up() {
    local state
    state=$(sinfo --noheader --format=%t --partition=main 2> /dev/null) && [[ $state =~ ^(idle|mix|alloc)$ ]]
}

ctld_answers() {
    scontrol ping 2> /dev/null | grep -q "is UP"
}

gpu_files() {
    local file
    for file in /dev/nvidia[0-9]*; do
        if [[ -c $file ]]; then echo "$file"; fi
    done
}

# write_conf CPUS GPU_FILE ...
write_conf() {
    local cpus=$1 host memory gres="" file
    shift
    host=$(hostname -s)
    # In megabytes, and 5% less than the machine has: slurmd refuses a node with less memory than configured.
    memory=$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.95)}' /proc/meminfo)
    {
        echo "$MARK"
        for file in "$@"; do echo "NodeName=$host Name=gpu File=$file"; done
    } > "$CONF_DIR/gres.conf"
    if (($# > 0)); then gres="Gres=gpu:$#"; fi
    cat > "$CONF_DIR/slurm.conf" << CONF
$MARK
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# A preempted job also waits this long before it may start again. The default is two minutes.
AuthInfo=cred_expire=15
# Use neither control groups nor a database, which a container may not have.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=5,bf_interval=5
# A job of "urgent" preempts a job of "main". The preempted job gets the signal of its sbatch --signal, has GraceTime to
# end, and goes back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
StateSaveLocation=$STATE_DIR/ctld
SlurmdSpoolDir=$STATE_DIR/d
SlurmctldPidFile=$RUN_DIR/slurmctld.pid
SlurmdPidFile=$RUN_DIR/slurmd.pid
SlurmctldLogFile=$LOG_DIR/slurmctld.log
SlurmdLogFile=$LOG_DIR/slurmd.log
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory $gres State=UNKNOWN
PartitionName=main Nodes=$host Default=YES PriorityTier=1 GraceTime=$GRACE_SECONDS MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=$host PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF
}

start_munge() {
    if munge_works; then return; fi # munged already runs, and this script must not stop it
    if [[ ! -e /etc/munge/munge.key ]]; then
        install -d -o munge -g munge -m 700 /etc/munge
        runuser -u munge -- mungekey --create
    fi
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 700 /var/lib/munge /var/log/munge
    runuser -u munge -- munged
    until_true munge_works || fail "munged does not answer; see /var/log/munge/munged.log"
    cp /run/munge/munged.pid "$RUN_DIR/munged.pid"
}

start() {
    local cpus gpus
    cpus=$(nproc)
    gpus=$(gpu_files)
    while (($# > 0)); do
        case $1 in
            --cpus) cpus=${2:?"--cpus needs a number"} ;;
            --gpus) gpus=${2?"--gpus needs device files"} ;;
            *) fail "$1: unknown option; use --cpus or --gpus" ;;
        esac
        shift 2
    done
    [[ $cpus =~ ^[1-9][0-9]*$ ]] || fail "--cpus $cpus: must be a whole number above 0"
    need
    is_ours || fail "$CONF_DIR/slurm.conf: must not exist (this machine is part of a different cluster)"
    if is_running slurmctld && is_running slurmd && node_is_up; then
        echo "slurm_one_node.sh: already running"
        return
    fi
    mkdir -p "$CONF_DIR" "$STATE_DIR/ctld" "$STATE_DIR/d" "$LOG_DIR" "$RUN_DIR"
    # shellcheck disable=SC2086  # one word for each device file
    write_conf "$cpus" $gpus
    start_munge
    if ! is_running slurmctld; then slurmctld; fi
    until_true ctld_answers || fail "slurmctld does not answer; see $LOG_DIR/slurmctld.log"
    if ! is_running slurmd; then slurmd; fi
    # If the node was down when the machine stopped, Slurm reports it as down for some seconds.
    until_true node_is_up || fail "the node does not come up ($(sinfo --noheader --format='%T: %E')); see $LOG_DIR"
    status
}

stop() {
    local name pid
    need
    if is_ours && is_running slurmctld && ctld_answers; then
        scancel --quiet --partition=main,urgent 2> /dev/null || true
    fi
    for name in slurmd slurmctld munged; do
        if ! is_running "$name"; then continue; fi
        pid=$(cat "$RUN_DIR/$name.pid")
        kill "$pid"
        until_true gone "$pid" || fail "$name ($pid) does not end"
        rm -f "$RUN_DIR/$name.pid"
    done
    if is_ours; then rm -f "$CONF_DIR/slurm.conf" "$CONF_DIR/gres.conf"; fi
    rm -rf "$STATE_DIR" "$RUN_DIR"
    echo "slurm_one_node.sh: stopped"
}

gone() {
    [[ ! -e /proc/$1 ]]
}

status() {
    if is_running slurmctld && is_running slurmd && node_is_up; then
        echo "slurm_one_node.sh: running"
        sinfo --format="%12P %8t %6c %10m %G"
        return
    fi
    echo "slurm_one_node.sh: not running"
    return 3
}

case ${1:-} in
    start) start "${@:2}" ;;
    stop) stop ;;
    status) status ;;
    -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
