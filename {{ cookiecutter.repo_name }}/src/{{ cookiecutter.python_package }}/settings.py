"""Project settings, see https://docs.kedro.org/en/stable/configure/configuration_basics/."""

from .tracking.config import CONFIG_PATTERNS
from .tracking.hooks import MLRunHooks
from .tracking.secrets import mlrun_secret

HOOKS = (MLRunHooks(),)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": CONFIG_PATTERNS,
    "custom_resolvers": {"mlrun.secret": mlrun_secret},
    # Into what base has; else one value of conf/local, or of --params, would replace all beside it.
    "merge_strategy": {"parameters": "soft"},
}
