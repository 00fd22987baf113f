"""One call that checks whether the labels of a data set belong together."""

from collections.abc import Iterator

import numpy as np

from schnetgeo.data.consistency.balance import balance_findings, constraint_findings
from schnetgeo.data.consistency.copies import copy_findings, split_findings
from schnetgeo.data.consistency.energies import energy_findings, work_test
from schnetgeo.data.consistency.evidence import Evidence, gather
from schnetgeo.data.consistency.frames import Frames, groups
from schnetgeo.data.consistency.report import Finding, Report
from schnetgeo.data.consistency.sizes import size_findings
from schnetgeo.data.consistency.stresses import stress_findings, stress_slope
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
    evidence = None
    if dataset.has_label("forces"):
        found = list(groups(dataset))
        report.findings.extend(constraint_findings(found))
        report.findings.extend(balance_findings(found))
        evidence = _gathered(found, report)
    else:
        report.untested.append("there are no forces to compare the energies with")
    report.findings.extend(size_findings(dataset, evidence))
    return report


def _gathered(found: list[Frames], report: Report) -> Evidence | None:
    if not all(frames.energy is not None for frames in found):
        report.untested.append("there are no energies to compare the forces with")
        return None
    evidence = gather(found)
    if evidence is None:
        report.untested.append("no three structures have the same atoms in the same order")
        return None
    test = work_test(evidence)
    if test is None:
        report.untested.append(
            "frames are too far apart for the work of the forces between them, "
            f"{np.median(evidence.distance):.2g} Å"
        )
    else:
        report.facts.append(str(test))
        report.findings.extend(energy_findings(test))
    report.findings.extend(_stress(evidence, 1.0 if test is None else test.slope, report))
    return evidence


def _stress(evidence: Evidence, factor: float, report: Report) -> Iterator[Finding]:
    if not evidence.strain_work.any():
        return
    measured = stress_slope(evidence, factor)
    if measured is None:
        report.untested.append("cells change too little to compare the stress with")
        return
    slope, volume = measured
    report.facts.append(f"energies change {slope:.3g} times as much as the work of the stress")
    yield from stress_findings(slope, volume)
