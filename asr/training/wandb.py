"""The writer for Weights & Biases, an optional package."""

from __future__ import annotations

from pathlib import Path

from asr import files
from asr.config import Config
from asr.errors import UserError
from asr.training.writers import Row, Writer


class WeightsAndBiases(Writer):
    """Sends the rows to the project that `train.wandb` names.

    A resumed run folder continues the same Weights & Biases run. Raises `UserError` if the package
    is not installed or cannot start.
    """

    def __init__(self, folder: Path, config: Config, resuming: bool):
        try:
            import wandb
        except ModuleNotFoundError:
            raise UserError(
                f"train.wandb={config.train.wandb}: Weights & Biases is not installed: "
                "pip install 'asr[wandb]', or leave train.wandb out"
            ) from None
        id_file = folder / "wandb.id"
        try:
            self._run = wandb.init(
                project=config.train.wandb,
                name=config.name,
                id=id_file.read_text() if resuming and id_file.exists() else None,
                resume="allow",
                dir=folder,
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(console="off"),  # the progress line owns the console
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"train.wandb={config.train.wandb}: {reason}") from None
        files.write(id_file, self._run.id)

    def row(self, step: int, epoch: int, row: Row) -> None:
        known = {name: value for name, value in row.items() if value is not None}
        self._run.log({"epoch": epoch} | known, step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)
