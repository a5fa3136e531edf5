"""The settings of one run, built once and passed down; the only reader of the environment in orch.

Theory of operation. A setting comes from the first place that gives it: flags, `ORCH_*` variables,
`.opencode/orch.toml` of the workspace, `$XDG_CONFIG_HOME/orch/config.toml` of the user, the default. A model
or limit for every role in a higher place beats one for a single role in a lower one. Instructions add up:
the user's come first, then the workspace's. The workspace is not trusted with the user's keys: what names
providers or widens what a child process sees counts only in the user's own file or the environment. Whatever
cannot be used is a `ConfigError` that names its source and its key; nothing is guessed or silently dropped.
`load` only reads; that a model's provider exists is `model_for`'s question, so that a run that needs no model
needs no provider.

Files: `tables` is the schema of the files, `complaints` what is said of one that does not fit, `files` reads
them, `providers` knows the endpoints, `sources` puts all together, `settings` is what comes out.
"""

from orch.config.providers import GETTING_STARTED, check_provider, has_provider, model_for
from orch.config.settings import Flags, ModelFacts, ModelRef, Provider, ProviderKind, Secret, Settings
from orch.config.sources import environment, load, project_path, user_path
from orch.config.tables import ONLY_USER, ProjectFile, UserFile

__all__ = [
    "GETTING_STARTED",
    "ONLY_USER",
    "Flags",
    "ModelFacts",
    "ModelRef",
    "ProjectFile",
    "Provider",
    "ProviderKind",
    "Secret",
    "Settings",
    "UserFile",
    "check_provider",
    "environment",
    "has_provider",
    "load",
    "model_for",
    "project_path",
    "user_path",
]
