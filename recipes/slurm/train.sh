#!/bin/bash
# A recipe on one node of a Slurm cluster, or on several: one launcher per node, one process per GPU.
#
#   sbatch recipes/slurm/train.sh recipes/ppo.py --config ppo.yaml --resume_from_checkpoint latest
#   sbatch --nodes 2 recipes/slurm/train.sh recipes/ppo.py --config ppo.yaml --resume_from_checkpoint latest
#
# Submit it with the environment of rlhf active, from a folder that all nodes can read and write.
# Add --partition and --account as your cluster asks for them. Ten minutes before the time limit
# Slurm sends SIGTERM; the run then writes a checkpoint, and this script queues the job again.
#SBATCH --job-name=rlhf
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=1-00:00:00
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail

mapfile -t HOSTS < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
MAIN_ADDRESS=${HOSTS[0]}
MAIN_PORT=$((20000 + SLURM_JOB_ID % 10000)) # two jobs on one node have different ports
NUM_PROCESSES=$((SLURM_JOB_NUM_NODES * SLURM_GPUS_ON_NODE))
export MAIN_ADDRESS MAIN_PORT NUM_PROCESSES

# If one node fails, the others end by themselves and name it; after two minutes Slurm ends them.
status=0
srun --kill-on-bad-exit=0 --wait=120 --cpus-per-task="$SLURM_CPUS_PER_TASK" bash -c '
  exec rlhf launch --num_machines "$SLURM_JOB_NUM_NODES" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$MAIN_ADDRESS" --main_process_port "$MAIN_PORT" \
    --num_processes "$NUM_PROCESSES" "$@"' rlhf "$@" || status=$?
if [ "$status" -eq 75 ]; then # stopped after a checkpoint
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
