#!/usr/bin/env bash
# A throw-away real Slurm on this one machine, from Debian's packages, for tests and rehearsals.
#
#   eval "$(slurm/cluster.sh up)"    start it (or whatever of it does not run), then sbatch as usual
#   slurm/cluster.sh status          what runs; exit 0 if all of it does
#   slurm/cluster.sh down            end all of it, jobs included, and leave nothing behind
#
#   --folder DIR       everything of the cluster lives here (default: tuner-slurm in the temporary folder)
# Only for the first up of a folder:
#   --nodes N          nodes n1…nN, each of 4 CPUs and 2 fake GPUs (default: 4)
#   --no-accounting    no slurmdbd and no MariaDB, so sacct answers with an error
#   --user NAME        the ordinary user who submits jobs, made if there is none (default: tuner-user)
#   --port N           the first of the ports it listens on, N to N+2+nodes (default: 26810)
#
# Two partitions: main, and hi, whose jobs preempt (requeue) those of main. CPUs and memory are
# overcommitted: each node claims the whole machine's memory, so --mem works on small machines too.

# shellcheck disable=SC1090  # settings are our own
set -euo pipefail

mark='# A throw-away cluster, made by slurm/cluster.sh'

say() { echo "cluster.sh: $*" >&2; }
die() { say "$1; $2"; exit 1; }    # problem, remedy
usage() { sed -n '2,/^$/ s/^# \{0,1\}//p' "$0" >&2; exit 2; }

wait_for() {    # wait_for WHAT COMMAND…: until the command succeeds
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" &>/dev/null; do
        ((SECONDS < deadline)) || die "waited a minute in vain for $what" "read $folder/log, then take it down"
        sleep 0.1
    done
}

# Is this slurm.conf that of a throw-away cluster, and not a trap that another user left in our place?
ours() { [[ -O $(dirname "$1") && -O $1 && $(head -n 1 "$1") == "$mark" ]]; }

listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
conf_of() { tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^SLURM_CONF=//p'; } 2>/dev/null

runs() {    # runs DAEMON: its pid file names a process that was started with our configuration
    local pid
    pid=$(cat "$folder/run/$1.pid") && [[ $(conf_of "$pid") == "$conf" ]]
} 2>/dev/null

# In starting order: each waits for the one before it.
daemons() { printf '%s\n' munged ${accounting:+mariadb slurmdbd} slurmctld; seq -f 'n%g' "$nodes"; }

# ── up ──────────────────────────────────────────────────────────────────────────────────────────

check_machine() {
    local program pid
    for program in slurmctld slurmd munged ${accounting:+slurmdbd mariadbd} pgrep useradd; do
        command -v "$program" >/dev/null || die "$program is not installed" \
            "apt-get install slurm-wlm slurmdbd munge mariadb-server procps passwd"
    done
    [[ ! -e /etc/slurm/slurm.conf ]] || die "this machine has a Slurm of its own (/etc/slurm/slurm.conf)" \
        "use a machine that has none"
    [[ -z ${SLURM_CONF-} || $SLURM_CONF == "$conf" ]] || ours "$SLURM_CONF" ||
        die "SLURM_CONF names another Slurm ($SLURM_CONF)" "unset SLURM_CONF, or use a machine that has none"
    for pid in $(pgrep --exact --runstates DRST 'slurm(ctld|d)'); do
        ours "$(conf_of "$pid")" || die "a Slurm of its own runs on this machine (process $pid)" \
            "use a machine that has none"
    done
}

check_place() {
    [[ $folder =~ ^/[A-Za-z0-9._/-]{1,70}$ ]] || die "--folder $folder cannot hold Slurm's sockets" \
        "choose a path of at most 70 plain letters"
    [[ ! -e $folder ]] || die "$folder exists and is not a cluster" "remove it, or choose another --folder"
    runuser -u nobody -- test -x "$(dirname "$folder")" || die "ordinary users cannot enter $(dirname "$folder")" \
        "choose a --folder that they can"
    local p
    for ((p = port; p <= port + 2 + nodes; p++)); do
        ! listens $p || die "port $p is in use" "choose other ports with --port"
    done
}

cgroups_work() {    # memory limits need two controllers of cgroup v1, which a container may see and not own
    local controller
    for controller in /sys/fs/cgroup/{memory,freezer}; do
        [[ -e $controller/tasks ]] && mkdir "$controller/tuner-probe" && rmdir "$controller/tuner-probe" || return 1
    done
} 2>/dev/null

configure() {
    mkdir "$folder" "$folder"/{run,log,state,spool,gpu,home}
    (umask 077; head -c 1024 /dev/urandom >"$folder/munge.key")
    # Slurm wants the GPUs to be devices, and never opens them.
    mknod "$folder/gpu/gpu0" c 195 0
    mknod "$folder/gpu/gpu1" c 195 1
    echo "NodeName=n[1-$nodes] Name=gpu File=$folder/gpu/gpu[0-1] Flags=nvidia_gpu_env" >"$folder/gres.conf"
    printf '%s\n' CgroupPlugin=cgroup/v1 ConstrainRAMSpace=yes ConstrainSwapSpace=yes >"$folder/cgroup.conf"
    [[ -z $accounting ]] || configure_accounting
    local user_made=
    if ! id "$user" &>/dev/null; then
        useradd --no-create-home --home-dir "$folder/home" --shell /bin/bash "$user"
        user_made=yes
    fi
    chown "$user:" "$folder/home"
    declare -p nodes accounting port user user_made >"$settings"
    { echo "$mark"; slurm_conf; } >"$conf"    # last: with it the folder is a cluster
}

slurm_conf() {
    local tracking=linuxproc task=none host megabytes
    host=$(uname -n)
    host=${host%%.*}    # the way Slurm cuts it; addresses are given, so it need not resolve
    if cgroups_work; then tracking=cgroup task=cgroup; fi
    megabytes=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
    cat <<-END
		ClusterName=throwaway
		SlurmctldHost=$host(127.0.0.1)
		SlurmctldPort=$port
		SlurmUser=root
		AuthInfo=socket=$folder/run/munge.socket,cred_expire=5    # a requeued job waits 5 s, not 120 s
		StateSaveLocation=$folder/state
		SlurmdSpoolDir=$folder/spool/%n
		SlurmctldPidFile=$folder/run/slurmctld.pid
		SlurmdPidFile=$folder/run/%n.pid
		SlurmctldLogFile=$folder/log/slurmctld
		SlurmdLogFile=$folder/log/%n
		SlurmdParameters=config_overrides
		SlurmdTimeout=20
		KillWait=5
		MinJobAge=10
		ReturnToService=2
		MaxArraySize=100001
		MaxJobCount=200000
		SelectType=select/cons_tres
		SelectTypeParameters=CR_Core_Memory
		DefMemPerCPU=$((megabytes / 4))
		SchedulerParameters=batch_sched_delay=0,sched_interval=1
		PreemptType=preempt/partition_prio
		PreemptMode=REQUEUE
		ProctrackType=proctrack/$tracking
		TaskPlugin=task/$task
		GresTypes=gpu
		NodeName=DEFAULT CPUs=4 RealMemory=$megabytes Gres=gpu:2
		NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 3))-$((port + 2 + nodes))]
		PartitionName=main Nodes=ALL Default=YES PriorityTier=1
		PartitionName=hi Nodes=ALL PriorityTier=10 PreemptMode=off
	END
    [[ -z $accounting ]] || cat <<-END
		AccountingStorageType=accounting_storage/slurmdbd
		AccountingStorageHost=127.0.0.1
		AccountingStoragePort=$((port + 1))
		AccountingStoragePass=socket=$folder/run/munge.socket
		AccountingStorageTRES=gres/gpu
		JobAcctGatherType=jobacct_gather/linux
	END
}

configure_accounting() {
    local password
    password=$(head -c 16 /dev/urandom | sha256sum | head -c 32)
    (
        umask 077    # slurmdbd insists; and the password is in both
        cat >"$folder/slurmdbd.conf" <<-END
			DbdHost=localhost
			DbdPort=$((port + 1))
			SlurmUser=root
			AuthInfo=socket=$folder/run/munge.socket
			LogFile=$folder/log/slurmdbd
			PidFile=$folder/run/slurmdbd.pid
			StorageType=accounting_storage/mysql
			StorageHost=127.0.0.1
			StoragePort=$((port + 2))
			StorageUser=slurm
			StoragePass=$password
		END
        cat >"$folder/database.sql" <<-END
			CREATE USER IF NOT EXISTS slurm@127.0.0.1 IDENTIFIED BY '$password';
			GRANT ALL ON slurm_acct_db.* TO slurm@127.0.0.1;
		END
        mariadb-install-db --no-defaults --user=root --skip-test-db --datadir="$folder/database" &>"$folder/log/tables"
    )
}

start() {    # start DAEMON, and wait until it answers
    case $1 in
        munged)
            munged --origin=127.0.0.1 --key-file="$folder/munge.key" --seed-file="$folder/munge.seed" \
                --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" --log-file="$folder/log/munged"
            ;;
        mariadb)
            setsid mariadbd --no-defaults --user=root --datadir="$folder/database" --init-file="$folder/database.sql" \
                --bind-address=127.0.0.1 --port=$((port + 2)) --skip-name-resolve \
                --socket="$folder/run/mariadb.socket" --pid-file="$folder/run/mariadb.pid" \
                &>"$folder/log/mariadb" </dev/null &
            wait_for mariadb listens $((port + 2))
            ;;
        slurmdbd) slurmdbd && wait_for slurmdbd listens $((port + 1)) ;;
        slurmctld) slurmctld && wait_for slurmctld scontrol ping ;;
        *) slurmd -N "$1" ;;
    esac
}

nodes_are_up() {
    (($(sinfo --noheader --Node --responding --partition=main --states=idle,alloc,mix,comp | wc -l) == nodes))
}

up() {
    check_machine
    ours "$conf" || { check_place; configure; }
    export SLURM_CONF=$conf
    source "$settings"
    local daemon
    for daemon in $(daemons); do
        runs "$daemon" || start "$daemon" || die "$daemon did not start" "read $folder/log, then take it down"
    done
    wait_for "the nodes" nodes_are_up
    say "$nodes nodes are up; jobs are submitted by $user: runuser -u $user -- sbatch …"
}

# ── status, down ────────────────────────────────────────────────────────────────────────────────

status() {
    local daemon all=0
    for daemon in $(daemons); do
        if runs "$daemon"; then echo "$daemon runs"; else echo "$daemon does not run"; all=1; fi
    done
    echo "user: $user"
    if grep -q proctrack/cgroup "$conf"; then
        echo "memory limits: enforced by cgroup v1"
    else
        echo "memory limits: none (no memory controller of cgroup v1 here)"
    fi
    sinfo || all=1
    return $all
}

processes() {    # of this cluster: its daemons, and what its jobs started; not a shell that merely uses it
    local process
    for process in /proc/[0-9]*; do
        grep -qzxF "SLURM_CONF=$conf" "$process/environ" || continue
        if grep -qxE 'munged|mariadbd|slurm.*' "$process/comm" || grep -qz ^SLURM_JOB_ID= "$process/environ"; then
            echo "${process#/proc/}"
        fi
    done
} 2>/dev/null

none_left() {    # nothing of it is worth saving, so nothing is asked to save it
    local pids
    pids=$(processes)
    [[ -z $pids ]] || { xargs kill -KILL <<<"$pids"; return 1; }
}

down() {
    wait_for "the cluster's end" none_left
    [[ -z $user_made ]] || userdel "$user" || say "$user still has processes, and stays"
    pgrep --exact --runstates DRST slurmd >/dev/null ||
        find /sys/fs/cgroup/*/slurm_n* -depth -type d -exec rmdir {} + 2>/dev/null || true
    rm -rf --one-file-system "$folder"
}

# ── the command line ────────────────────────────────────────────────────────────────────────────

folder=${TMPDIR:-/tmp}/tuner-slurm nodes=4 accounting=yes user=tuner-user port=26810
(($# > 0)) || usage
command=$1
shift
while (($# > 0)); do
    case $1 in
        --no-accounting) accounting= ;;
        --folder | --nodes | --user | --port) (($# > 1)) || usage; declare "${1#--}=$2"; shift ;;
        *) usage ;;
    esac
    shift
done
[[ $command =~ ^(up|status|down)$ && $user =~ ^[a-z_][a-z0-9_-]*$ ]] || usage
[[ $nodes =~ ^[1-9][0-9]?$ && $port =~ ^[1-9][0-9]{3,4}$ ]] || usage
((EUID == 0)) || die "only root can run jobs as another user" "run it with sudo"
folder=$(realpath -sm "$folder") conf=$folder/slurm.conf settings=$folder/settings
umask 022
cd /    # the caller's folder may be closed to the ordinary user

case $command in
    up)
        up >&2
        echo "export SLURM_CONF=$conf"
        ;;
    *)
        ours "$conf" || { say "no cluster in $folder"; [[ $command == down ]]; exit; }
        source "$settings"
        export SLURM_CONF=$conf
        "$command"
        ;;
esac
