"""A loss as text, on the command line and in YAML."""

from schnetgeo.errors import InputError
from schnetgeo.train.loss import Error, FunctionLoss, Loss, LossFunction, huber, mae, mse
from schnetgeo.user_code import named_function

_FORM = "TARGET[/atom][:WEIGHT[:ERROR]], such as energy:0.01 or forces:1:huber=0.05"


def as_loss(loss: Loss | FunctionLoss | LossFunction | str) -> Loss | FunctionLoss:
    """A loss from itself, a function of (prediction, batch), or text as on the command line.

    The text is TARGET[/atom][:WEIGHT[:ERROR]] with an error mse, mae, huber=DELTA or the dotted
    path of a function; or PATH[:WEIGHT] with the dotted path of a function of prediction and batch.

    Raises:
        InputError: for anything else.
    """
    if isinstance(loss, Loss | FunctionLoss):
        return loss
    if not isinstance(loss, str):
        if not callable(loss):
            raise InputError(f"a loss must be a Loss, a function or text, got {loss!r:.60}")
        return FunctionLoss(loss)
    name, *rest = loss.split(":")
    target, _, per = name.partition("/")
    if len(rest) > 2 or per not in ("", "atom"):
        raise InputError(f"{loss!r:.80} is no loss: give {_FORM}")
    weight = _number(rest[0], loss) if rest else 1.0
    if "." in target:
        return FunctionLoss(named_function(target), weight)
    error = _error(rest[1], loss) if len(rest) > 1 else mse
    return Loss(target, error, weight, per or "structure")


def _error(text: str, loss: str) -> Error:
    if text in ("mse", "mae"):
        return {"mse": mse, "mae": mae}[text]
    name, _, delta = text.partition("=")
    if name == "huber":
        return huber(_number(delta, loss))
    if "." in text:
        return named_function(text)
    raise InputError(
        f"{loss!r:.80}: unknown error {text!r:.40}; known: mse, mae, huber=DELTA, or the dotted "
        "path of a function"
    )


def _number(text: str, loss: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{loss!r:.80}: {text!r:.40} is no number; give {_FORM}") from None
