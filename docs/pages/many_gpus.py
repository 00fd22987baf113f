"""
Many GPUs and nodes
===================

One GPU is taken where there is one. More of them are a matter of how the same command is started.
"""

# %%
# .. code-block:: sh
#
#    # one GPU, or the CPU
#    schnetgeo train --data own.extxyz --max-minutes 60 --out runs/own
#
#    # four GPUs
#    torchrun --nproc-per-node 4 -m schnetgeo train --data own.extxyz --max-minutes 60
#
#    # two nodes of four: the same on each
#    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d \
#        --rdzv-endpoint node1:29500 -m schnetgeo train --data own.extxyz --max-minutes 60
#
# Under Slurm:
#
# .. code-block:: sh
#
#    #SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 4
#    srun torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d \
#        --rdzv-endpoint $(hostname):29500 -m schnetgeo train --data own.extxyz --resume
#
# ``batch_size`` is of all processes together: they share the structures of a step,
# and their gradients are averaged with the right weights. So two processes do what
# one does. Here on a CPU, 40 steps with one and with two processes:

import os
import subprocess
import sys

OPTIONS = (
    "-m schnetgeo train --dataset Demo --num-train 200 --num-val 40 --max-steps 40 --batch-size 20 "
    "--model.channels 16 --model.num-layers 1 --device cpu --precision 64 --threads 1"
)


def train(out, *launcher):
    """Run a training in processes of its own."""
    subprocess.run(
        [sys.executable, *launcher, *OPTIONS.split(), "--out", out],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


train("runs/one")
train("runs/two", "-m", "torch.distributed.run", "--nproc-per-node", "2")

import schnetgeo as sg

one, two = (
    sg.load(f"runs/{name}/model.safetensors").state_dict()
    for name in ("one", "two")
)
difference = max(
    (one[k] - two[k]).abs().max().item() for k in one if one[k].numel()
)
print(f"largest difference of any weight: {difference:.1e}")
assert difference < 1e-8

# %%
# In Python the same is ``TrainingConfig(devices=4)``, or a script of yours under
# ``torchrun``.
#
# When the time is up
# -------------------
#
# Clusters end jobs. A checkpoint is written every ``--checkpoint-every`` steps, and
# when a job is told to end; with ``--resume`` the same command goes on where it
# was, on a CPU bit for bit. So put ``--resume`` into the script from the start:
# without a checkpoint it begins.
#
# What to expect
# --------------
#
# Several GPUs help where one has enough to do. :doc:`why_fast` has the time of a
# step against the number of molecules: where it does not grow with them, one GPU is
# not busy, and a larger ``--batch-size`` on it is the first thing to try. Where
# other work takes some of the cores of a CPU, ``--threads 1`` is faster: threads
# that wait for a busy core stop all others.
