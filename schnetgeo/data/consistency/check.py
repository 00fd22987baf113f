"""One call that checks whether the labels of a data set belong together."""

import numpy as np

from schnetgeo.data.consistency.balance import balance_findings, constraint_findings
from schnetgeo.data.consistency.copies import copy_findings, split_findings
from schnetgeo.data.consistency.energies import (
    NEAR,
    WorkTest,
    closure_findings,
    energy_findings,
    work_test,
)
from schnetgeo.data.consistency.evidence import gather
from schnetgeo.data.consistency.frames import Frames, groups
from schnetgeo.data.consistency.report import Report
from schnetgeo.data.consistency.sizes import size_findings
from schnetgeo.data.consistency.stresses import stress_findings, without_strain
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split


def check_data(dataset: StructureDataset, split: Split | None = None) -> Report:
    """Whether energies, forces and stresses belong together, in eV and Å, and to these structures.

    Energies are compared with the work of the forces, and of the stress where cells change, from
    each frame to its nearest neighbors among those with the same atoms in the same order; net
    force and torque must vanish; sizes tell units; copies must have the same labels. Up to 2,000
    frames are compared.

    Args:
        dataset: structures with labels.
        split: tested structures must not be copies of trained ones.

    Returns:
        Findings with the structures concerned and what would explain them, empty for data without
        faults, and what could not be tested.
    """
    report = Report(dataset.name, [], [], [])
    report.findings.extend(copy_findings(dataset))
    if split is not None:
        report.findings.extend(split_findings(dataset, split))
    test = None
    if dataset.has_label("forces"):
        frames = list(groups(dataset))
        report.findings.extend(constraint_findings(frames))
        report.findings.extend(balance_findings(frames))
        test = _compare(frames, report)
    else:
        report.untested.append("there are no forces to compare the energies with")
    report.findings.extend(size_findings(dataset, test))
    return report


def _compare(frames: list[Frames], report: Report) -> WorkTest | None:
    """Energies with the work of forces and stress, where there are near frames."""
    evidence = gather(frames) if all(part.energy is not None for part in frames) else None
    if evidence is None:
        report.untested.append("there are no frames of the same atoms with energy and forces")
        return None
    volume = float(np.median(evidence.volume))
    evidence, stress = without_strain(evidence)
    if stress is not None:
        report.facts.append(f"energies change {stress:.3g} times as much as the work of the stress")
        report.findings.extend(stress_findings(stress, volume))
    test, wrong = work_test(evidence), closure_findings(evidence)
    report.findings.extend(wrong)
    if wrong:
        return None
    if test is None:
        report.untested.append(
            f"too few frames are so near ({NEAR} Å) that the work of the forces between them is "
            "certain"
        )
        return None
    report.facts.append(str(test))
    report.findings.extend(energy_findings(test))
    return test
