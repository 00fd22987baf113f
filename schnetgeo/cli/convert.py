"""The command schnetgeo convert."""

from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.parser import Parser
from schnetgeo.errors import InputError


def make_parser() -> Parser:
    parser = Parser(
        description="Read a model of PyTorch Geometric, SchNetPack, TorchMD-Net or the TensorFlow "
        "code of 2018, none of which need be installed, and write a model file."
    )
    parser.add_argument("model", type=str, help="file of torch.save, or a TensorFlow checkpoint")
    parser.add_argument("-o", "--out", type=str, required=True, help="file to write, .safetensors")
    parser.add_argument(
        "--unit", type=str | None, help="of what it predicts, such as eV; such files do not say"
    )
    parser.add_argument("--target", type=str, default="energy", help="what it predicts")
    return parser


def run(options: Namespace) -> None:
    from schnetgeo.interop import read

    out = Path(options.out)
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: a model file ends in .safetensors; change the name")
    potential = read(options.model, options.unit, options.target)
    potential.save(out)
    source = potential.notes.get("source", "unknown")
    print(f"{source}: {potential.model.extra_repr()}, {', '.join(map(str, potential.targets))}")
    print(out)
