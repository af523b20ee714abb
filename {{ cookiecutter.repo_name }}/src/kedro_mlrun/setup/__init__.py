"""How a project gets this package, and a newer one."""
