"""Log a model so that it can be loaded anywhere, register it, and find it again."""

from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any, Final

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array
from sqlalchemy.exc import SQLAlchemyError

import recsys_vae
from recsys_vae.errors import InputError, reason
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import Recommender
from recsys_vae.tracking.downloads import downloaded
from recsys_vae.tracking.runs import make_store, quiet, reachable_store

REGISTERED_NAME: Final = "recsys-vae"
CHALLENGER: Final = "challenger"
_SCHEMES: Final = (
    "models:",
    "runs:",
    "mlflow-artifacts:",
    "file:",
    "s3:",
    "gs:",
    "http:",
    "https:",
)
_NOT_IN_NAMES: Final = "/:'\"?#@"
_REQUIREMENTS: Final = (
    "joblib", "mlflow", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "scipy",
    "threadpoolctl", "torch", "tqdm",
)  # fmt: skip

_NOT_OF_THE_STORE: Final = ("file:", "s3:", "gs:", "http:", "https:")

_PARAMS: Final = ParamSchema(
    [
        ParamSpec("k", DataType.integer, 10),
        ParamSpec("mask_seen", DataType.boolean, True),
        ParamSpec("allow", DataType.string, [], shape=(-1,)),
        ParamSpec("block", DataType.string, [], shape=(-1,)),
        ParamSpec("count_known", DataType.boolean, False),
        ParamSpec("as_numbers", DataType.boolean, False),
    ]
)


def _signature(items: IdMap) -> ModelSignature:
    """Say what goes in and out.

    A history may be of any type: MLflow would convert ids one by one, refuse a list of the other
    type and one that is null, and read ragged columns of JSON wrongly; the model looks for itself.
    """
    kind = DataType.long if items.kind == "integer" else DataType.string
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), "history"), ColSpec(AnyType(), "rated", required=False)]),
        outputs=Schema([ColSpec(Array(kind), "items"), ColSpec(Array(DataType.double), "scores")]),
        params=_PARAMS,
    )


def _requirements(model: Recommender) -> list[str]:
    names = [*_REQUIREMENTS, "implicit"] if model.name == "als" else list(_REQUIREMENTS)
    # A local build label such as +cpu exists in no registry.
    return [f"{name}=={version(name).split('+')[0]}" for name in names]


def log_model(model: Recommender, folder: Path) -> str:
    """Log a saved model to the active run as a pyfunc without pickle.

    Args:
        model: the fitted model.
        folder: where `save_model` wrote it.

    Returns:
        The URI to load it by.
    """
    example = pd.DataFrame({"history": [model.items.ids(range(min(3, len(model.items)))).tolist()]})
    with reachable_store():
        info = mlflow.pyfunc.log_model(
            name="model",
            input_example=(example, {"k": 10}),
            signature=_signature(model.items),
            metadata={"history": f"list of {model.items.kind} ids", "items": len(model.items)},
            **_pyfunc_of(model, folder),
        )
    return str(info.model_uri)


def pack_model(model: Recommender, folder: Path, out: Path) -> None:
    """Write a saved model as a pyfunc of this version, without a run or a store.

    What is asked of it is not checked against a schema, which would cost as much as a fifth of the
    answer: it is for callers that know the type of their columns.

    Args:
        model: the fitted model.
        folder: where `save_model` wrote it.
        out: the folder to make.
    """
    signature = ModelSignature(params=_PARAMS)
    # Without requirements: MLflow would compare them again with what is installed at each load.
    pyfunc = _pyfunc_of(model, folder) | {"pip_requirements": []}
    mlflow.pyfunc.save_model(path=str(out), signature=signature, **pyfunc)


def _pyfunc_of(model: Recommender, folder: Path) -> dict[str, Any]:
    return {
        "python_model": str(Path(__file__).with_name("served.py")),
        "artifacts": {"model": str(folder)},
        "pip_requirements": _requirements(model),
        "code_paths": [str(Path(recsys_vae.__file__).parent)],
    }


def check_register_name(name: str) -> None:
    """Refuse, before any work, a name that MLflow's registry would not take.

    Raises:
        InputError: the name is empty, or holds what MLflow's URIs and searches give a meaning to.
    """
    if not name.strip() or set(name) & set(_NOT_IN_NAMES) or name in (".", ".."):
        special = " ".join(_NOT_IN_NAMES)
        raise InputError(f"--register '{name}' is no model name: leave out {special}")


def register(uri: str, name: str) -> str:
    """Add a logged model to the registry, if it is not there, and call it `challenger`.

    Args:
        uri: from `log_model`.
        name: of the registered model; made where there is none.

    Returns:
        The URI of the new version.
    """
    with reachable_store(), redirect_stderr(StringIO()):  # MLflow prints what we say ourselves
        client = mlflow.MlflowClient()
        versions = client.search_model_versions(f"name = '{name}'")
        known = [int(one.version) for one in versions if one.source == uri]
        number = max(known) if known else mlflow.register_model(uri, name).version
        client.set_registered_model_alias(name, CHALLENGER, str(number))
    return f"models:/{name}/{number}"


def model_folder(reference: str) -> Path:
    """Find the folder of a model.

    Args:
        reference: a folder, or an MLflow URI such as "models:/recsys-vae@challenger".

    Returns:
        A folder that `load_model` reads; for a remote URI, a copy that is gone when the process
        ends.

    Raises:
        InputError: there is no such model.
    """
    if not reference.startswith(_SCHEMES):
        return Path(reference)
    quiet()
    try:
        if not reference.startswith(_NOT_OF_THE_STORE):
            make_store()
        found = downloaded(reference)
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        raise InputError(
            f"--model {reference} cannot be loaded ({reason(error)}): check the name, the alias "
            "and MLFLOW_TRACKING_URI"
        ) from error
    inside = sorted(found.glob("artifacts/*/model.json"))
    return inside[0].parent if inside else found
