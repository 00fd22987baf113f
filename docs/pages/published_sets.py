"""
QM9, MD17, rMD17 and ISO17
==========================

One command each, the minutes that it takes, and what came out. All numbers below are read from
results files in ``benchmarks/results`` while this page is made; none is typed.
"""

import json
from pathlib import Path

import pandas as pd

BENCHMARKS = Path("../../benchmarks")
rows = {
    path.stem: json.loads(path.read_text())
    for path in (BENCHMARKS / "results").glob("*.json")
}
literature = pd.read_csv(BENCHMARKS / "literature.csv")

# %%
# The first call downloads a set, checks its sums and reads it; ``--data FILE``
# names a copy at hand. Each command leaves ``results.json``, ``report.html``, the
# model and a picture in its folder, and trains only what is not finished when it is
# called again.
#
# MD17
# ----
#
# Ten molecules in motion. The task is to learn energies and forces from 1,000
# frames:
#
# .. code-block:: sh
#
#    python -m benchmarks.md17 --molecules ethanol --num-train 950 --num-val 50 \
#        --max-minutes 30 --out runs/ethanol


def molecules(names, dataset):
    """A row for each training of a results file, with SchNet's published errors beside it."""
    known = literature.query(
        f"dataset == '{dataset}' and num_train == 1000 and model == 'SchNet'"
    )
    known = (
        known[known.labels == "energies and forces"]
        .set_index(["subject", "quantity"])
        .value
    )
    table = []
    for row in (
        row
        for name in names
        for row in rows[name]
        if row["model"] in ("SchNet", "PaiNN")
    ):
        molecule, has_energies = row["molecule"], row["task"] != "forces"
        table.append({
            "molecule": molecule.replace("_", " "),
            "model": row["model"],
            "frames": row["num_train"],
            "minutes": f"{row['seconds'] / 60:.0f}",
            "energy": f"{row['energy_mae_kcal_mol']:.3f}" if has_energies else "",
            "forces": f"{row['force_mae_kcal_mol_A']:.2f}",
            "energy, 2017": known.get((molecule, "energy"), "") if has_energies else "",
            "forces, 2017": known.get((molecule, "forces"), ""),
        })  # fmt: skip
    return pd.DataFrame(table).set_index("molecule").sort_index(kind="stable")


# %%
# Mean absolute errors in kcal/mol and kcal/mol/Å, one core; "2017" is SchNet as
# published, trained on 1,000 frames. Rows without an energy were trained on forces
# alone, of frames that were recovered from published models and whose energies are
# not those of DFT:

molecules(["md17_ethanol", "md17_recovered"], "MD17")

# %%
# Revised MD17
# ------------
#
# The same molecules, computed anew with tight thresholds, with published splits:
#
# .. code-block:: sh
#
#    python -m benchmarks.rmd17 --molecules ethanol aspirin --split 1 --max-minutes 30

molecules(["rmd17"], "RevisedMD17").drop(columns=["energy, 2017", "forces, 2017"])

# %%
# QM9
# ---
#
# 130,831 small molecules at rest, with their properties. Energies of more
# molecules, one training of less than five minutes on one core for each point:
#
# .. code-block:: sh
#
#    python -m benchmarks.qm9 --target U0 --num-train 1000 2000 4000 --seed 0 1 --max-minutes 5

import matplotlib.pyplot as plt

figure, ax = plt.subplots()
schnet = pd.DataFrame([row for row in rows["qm9_u0"] if row["model"] == "SchNet"])
for seed, part in schnet.groupby("seed"):
    ax.loglog(
        part.num_train, part.energy_mae_kcal_mol, "o-", label=f"SchNet, seed {seed}"
    )
ax.axhline(1, color="0.6", linestyle="--", linewidth=1, label="chemical accuracy")
ax.set(xlabel="training molecules", ylabel="MAE of U0, kcal/mol")
ticks = sorted(set(schnet.num_train))
ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
ax.set_xticks([], minor=True)
ax.set_yticks([1, 2, 3], ["1", "2", "3"])
ax.set_yticks([], minor=True)
ax.legend()
plt.show()

# %%
# All twelve targets, each with its usual readout:
#
# .. code-block:: sh
#
#    python -m benchmarks.qm9 --target all --models SchNet PaiNN --max-minutes 60


def in_unit(row):
    """The error in the unit that papers give, and that unit."""
    if "mae" in row:
        return row["mae"], row["unit"]
    return row["energy_mae_kcal_mol"] * 43.3641, "meV"


table = {}
for row in rows["qm9_targets"]:
    if (
        row["readout"] != "Heads"
    ):  # one model for each target; the first row has the usual readout
        error, unit = in_unit(row)
        line = table.setdefault(row["target"], {"unit": unit})
        line.setdefault(row["model"], f"{error:.3g}")
        for paper in row["published"]:
            if paper["model"] in ("SchNet", "PaiNN") and paper["unit"] == unit:
                line.setdefault(
                    f"{paper['model']}, published", f"{paper['value']:g}"
                )
seconds = max(row["seconds"] for row in rows["qm9_targets"] if row["task"] == "mu")
size = rows["qm9_targets"][0]["num_train"]
print(
    f"{size:,} training molecules and {seconds:.0f} seconds for each of ours, on one core;"
)
print("published are those of about 110,000 molecules")
columns = ["unit", "SchNet", "PaiNN", "SchNet, published", "PaiNN, published"]
pd.DataFrame(table).T.reindex(columns=columns).fillna("")

# %%
# So these rows show that readouts and units are right, not what the models can do.
#
# ISO17
# -----
#
# Isomers of one formula, in motion. The test is on isomers that training has not
# seen:
#
# .. code-block:: sh
#
#    python -m benchmarks.iso17 --folds test_within test_other --max-minutes 600

iso17 = [row for part in rows.values() if isinstance(part, list) for row in part
         if row.get("dataset") == "ISO17" and row["model"] in ("SchNet", "PaiNN")]  # fmt: skip
print(
    f"{len(iso17)} trainings of ISO17 are in the results so far; published are, as MAE:"
)
published = literature.query(
    "dataset == 'ISO17' and quantity in ('energy', 'forces')"
)
published.set_index("subject")[
    ["model", "labels", "quantity", "value", "unit"]
].fillna("")

# %%
# ``--protocol milestone1`` of these commands trains the fully connected network of
# the milestone report; ``python -m benchmarks.milestone1`` says why its numbers are
# no targets. :doc:`what_numbers_mean` tells what an error means.
