"""Commands that start jobs, and look after them."""
