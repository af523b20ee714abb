"""Kedro's settings of the project, see https://docs.kedro.org/en/stable/configure/."""

from kedro_mlrun import MLRunHooks

HOOKS = (MLRunHooks(),)

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Merge into base, so that one value of conf/local or --params does not replace its siblings.
    "merge_strategy": {"parameters": "soft"},
}
