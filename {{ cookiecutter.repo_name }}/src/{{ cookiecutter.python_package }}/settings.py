"""Project settings, see https://docs.kedro.org/en/stable/configure/configuration_basics/."""

from kedro_mlrun import MLRunHooks

HOOKS = (MLRunHooks(),)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Into what base has; else one value of conf/local, or of --params, would replace all beside it.
    "merge_strategy": {"parameters": "soft"},
}
